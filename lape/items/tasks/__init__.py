"""Accuracy on tasks under deactivation: its table and its figure."""
