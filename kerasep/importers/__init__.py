"""Other people's checkpoints as runs of these networks: to train on, to pack, to export."""
