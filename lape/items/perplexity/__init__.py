"""Tables and figures of perplexity under deactivation."""
