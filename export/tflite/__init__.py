"""Keras networks to TFLite, and TFLite graphs in fewer bits."""
