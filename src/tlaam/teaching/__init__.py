"""A finished model taught another class, without training and without PyTorch (docs/teaching.md)."""
