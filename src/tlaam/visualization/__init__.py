"""Pictures of predictions, and charts."""
