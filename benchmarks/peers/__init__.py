"""Our separators compared with the PyTorch originals, each of which runs in a virtual environment of its own."""
