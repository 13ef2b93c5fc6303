"""PV, parameter variation: train a copy of the model on each language, select what changed, set it to zero."""
