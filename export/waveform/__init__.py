"""The transform, masks and filter as a graph around a network."""
