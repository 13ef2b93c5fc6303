"""Check a finished run: every hash, and that the numbers of each stage follow from those before it."""
