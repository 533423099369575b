"""How well a trained model names and finds."""
