"""Accuracy on tasks with languages off and on: its table and its figure."""
