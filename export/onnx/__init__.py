"""ONNX graphs in fewer bits."""
