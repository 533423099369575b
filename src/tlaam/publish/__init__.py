"""Publishing a model to the Hugging Face hub: folder, model card and upload."""
