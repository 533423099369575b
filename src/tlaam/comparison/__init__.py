"""Comparing systems under the same settings: the available systems, their runs, and the tables that compare them."""
