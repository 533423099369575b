"""Export of a trained model to one ONNX file that gives the same answers."""
