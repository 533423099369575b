"""Networks: the two-level model, its modules, and the systems it is compared with."""
