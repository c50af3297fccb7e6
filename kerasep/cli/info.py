"""`kerasep info`: a model's manifest."""

import argparse
import json

from kerasep.cli.options import Commands, add_command
from kerasep.hub import load
from kerasep.inference.usage import described


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "info", run, "Print a model's manifest")
    parser.add_argument("model", metavar="NAME|FILE")


def run(arguments: argparse.Namespace) -> int:
    artifact = load(arguments.model)
    size = {"bytes": artifact.path.stat().st_size}
    print(json.dumps(described(artifact.manifest) | size, indent=1, ensure_ascii=False))
    return 0
