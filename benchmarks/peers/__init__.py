"""Our separators compared with the PyTorch originals, each of which runs in a separate virtual environment."""
