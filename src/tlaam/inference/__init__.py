"""The one way in which a trained model answers: PyTorch and ONNX behind one protocol."""
