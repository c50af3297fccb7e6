"""Objective scores of anything that gives stems."""
