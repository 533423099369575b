"""Public data sets, read from their official folders as they are."""
