"""`kerasep info`: a model's manifest."""

import argparse
import json
from typing import Any

from kerasep.cli.options import Commands, add_command, add_licence_option
from kerasep.errors import printable
from kerasep.hub import load
from kerasep.inference.placement import placement
from kerasep.inference.usage import described


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "info", run, "Print a model's manifest, and which of its nodes a provider runs")
    parser.add_argument("model", metavar="NAME|FILE")
    add_licence_option(parser)
    parser.add_argument(
        "--provider", metavar="NAME[:KEY=VALUE,...]", help="also: the nodes that it runs, and those left to the CPU"
    )


def run(arguments: argparse.Namespace) -> int:
    artifact = load(arguments.model)
    more: dict[str, Any] = {"bytes": artifact.path.stat().st_size}
    if arguments.provider:
        more["nodes"] = placement(artifact, arguments.provider)
    text = json.dumps(described(artifact.manifest) | more, indent=1, ensure_ascii=False)
    print("\n".join(map(printable, text.split("\n"))))
    return 0
