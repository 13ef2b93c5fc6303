"""Content quality: a language model rates the answers."""
