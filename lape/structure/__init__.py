"""Structure: where in a model the languages meet."""
