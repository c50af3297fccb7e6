"""Figures of the thesis and of others, and genres, for reports."""
