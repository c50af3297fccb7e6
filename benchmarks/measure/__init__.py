"""Speed and memory of our own code: networks, whole songs, streaming, scoring, training."""
