"""Tables and figures of generated answers."""
