"""Answering: what computes it, PyTorch or ONNX Runtime, and the file that the latter needs alone."""
