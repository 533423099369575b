"""The run folder: its files, history, data and environment."""
