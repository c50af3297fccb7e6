"""What people and accidents do to files and processes, done on purpose: `python -m tests.campaign`."""
