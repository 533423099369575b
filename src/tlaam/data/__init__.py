"""Reading labelled images: every layout is read into one type."""
