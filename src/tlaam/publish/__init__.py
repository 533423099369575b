"""What is sent to the Hugging Face hub: folder, card, upload."""
