"""Inference: the only way to a prediction, with PyTorch and ONNX behind one protocol."""
