"""Models on the Hugging Face hub: their names, and downloading them."""
