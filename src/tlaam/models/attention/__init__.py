"""Channel attention, and where it is put into a backbone."""
