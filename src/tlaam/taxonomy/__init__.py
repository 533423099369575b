"""Answers at a rank that is sure enough: taxonomies, the promise, and which classes live where. NumPy only."""
