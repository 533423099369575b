"""The object level: from feature maps to a heat map and a box."""
