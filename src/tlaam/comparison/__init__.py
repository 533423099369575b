"""Systems side by side, under the same settings: which there are, their runs, and the tables that compare them."""
