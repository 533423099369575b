"""Changing the classes of a finished model, without training and without PyTorch (docs/teaching.md)."""
