"""Trained runs to files for the runtimes they are to run on, each verified before it is written: python -m export."""
