"""The commands: `kerasep separate`, `demo`, `models`, `info`, `evaluate`, `report`, `train`, `import`, `pack`.

Each has a module with `add_parser`, its arguments, and `run`, its work. Exit codes: 0, 1 for work that failed, 2 for a wrong
call. Errors are one line each on standard error. A command imports what is heavy (matplotlib, SciPy, TensorFlow) when it runs.
"""

import argparse
import sys
from collections.abc import Sequence

import kerasep
from kerasep.cli import demo, evaluate, import_, info, models, pack, report, separate, train
from kerasep.program import reporting

COMMANDS = (separate, demo, models, info, evaluate, report, train, import_, pack)  # in the order `kerasep --help` lists them


@reporting("kerasep")
def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns its exit code.

    Example:
        >>> main(["models"])  # doctest: +SKIP
        0
    """
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        return code
    except ModuleNotFoundError as error:
        print(f"kerasep: {error.name} is not installed: pip install 'kerasep[train,convert]'", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("kerasep", description="Separate music into stems; train and pack separators.")
    parser.add_argument("--version", action="version", version=f"kerasep {kerasep.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser
