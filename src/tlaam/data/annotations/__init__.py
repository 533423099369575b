"""Formats of label tools and competitions: one reader per format, each ending in `annotated.labelled_images`."""
