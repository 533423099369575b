"""From a trained model to one ONNX file that answers the same."""
