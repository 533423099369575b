"""Separate networks that the paper compares with: RA-CNN, MA-CNN, TASN."""
