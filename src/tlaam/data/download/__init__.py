"""Public data sets by name: archives, their download and unpacking."""
