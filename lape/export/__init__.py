"""Checkpoints whose own weights do what lape does to a running model, for tools that know nothing of lape."""
