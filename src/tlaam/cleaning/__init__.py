"""Cleaning a data set: a single list of suspects, and a manifest made from the decisions on them."""
