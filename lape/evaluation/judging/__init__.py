"""Content quality of answers, as another language model rates it."""
