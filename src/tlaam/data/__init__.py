"""Where labelled images come from: every layout arrives as one type."""
