"""Small tools without a word on images or models: atomic files, locks, bounded reading, checksums, YAML, text."""
