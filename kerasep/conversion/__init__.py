"""Trained runs to one verified ONNX file."""
