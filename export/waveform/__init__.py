"""Waveform graphs: a transform, masks or a filter, and the inverse transform in one graph with a network."""
