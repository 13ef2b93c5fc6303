"""Figures 6 and 7: where in a model the languages meet."""
