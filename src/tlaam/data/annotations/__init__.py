"""What label tools and competitions write: one reader a format, each of which ends in `annotated.labelled_images`."""
