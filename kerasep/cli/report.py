"""`kerasep report`: scores compared in tables and pictures."""

import argparse
from pathlib import Path

from kerasep.cli.options import Commands, add_command, add_output


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "report", run, "Compare scores: tables, pictures, paired differences to the first")
    parser.add_argument("scores", nargs="+", type=Path, metavar="SCORES", help="folders that `kerasep evaluate` wrote")
    add_output(parser, "report")


def run(arguments: argparse.Namespace) -> int:
    from kerasep.evaluation.report import write_report

    write_report(arguments.scores, arguments.output)
    print(arguments.output / "report.md")
    return 0
