"""`kerasep models`: which models can be used by name."""

import argparse

from kerasep.cli.options import Commands, add_command
from kerasep.hub import summaries


def add_parser(commands: Commands) -> None:
    add_command(commands, "models", run, "List the models that can be used by name")


def run(arguments: argparse.Namespace) -> int:
    rows = [("name", "targets", "parameters", "multiply-adds/s", "size", "origin", "licence"), *summaries()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0
