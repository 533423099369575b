"""Cleaning: one list of suspects in a data set, and the manifest that decisions on them make."""
