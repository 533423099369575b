"""Attacks on the whole product, repeatable by a seed; README.md says how to run them and how to add some."""
