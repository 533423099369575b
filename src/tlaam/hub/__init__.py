"""Models on the Hugging Face hub: their names, getting them, describing them and sending them there."""
