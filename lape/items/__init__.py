"""The tables and figures of the papers, one folder per family."""
