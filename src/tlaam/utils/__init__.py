"""General utilities, independent of images and models: atomic files, locks, bounded reading, checksums, YAML, text."""
