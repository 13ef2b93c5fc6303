"""Which neurons belong to a language, and how sure that is: selection, controls, stability, released files."""
