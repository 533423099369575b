"""Pictures of answers, and charts."""
