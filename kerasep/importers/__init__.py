"""Checkpoints of other projects become runs of these networks: to train further, to pack, to export."""
