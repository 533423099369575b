"""The part level: windows on the object image."""
