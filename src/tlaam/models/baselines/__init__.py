"""Networks of their own that the source compares with: RA-CNN, MA-CNN, TASN."""
