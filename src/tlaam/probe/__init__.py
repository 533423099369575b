"""Linear classifiers on frozen features: the start of every training run, and the baseline that it must beat."""
