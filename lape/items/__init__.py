"""The tables and figures of the papers, one folder a family."""
