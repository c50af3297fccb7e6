"""Measurements of exported files, for docs/export.md."""
