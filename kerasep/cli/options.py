"""Arguments that several commands share, and the separator they choose."""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import kerasep
from kerasep.errors import UsageError, say
from kerasep.hub import ACCEPT, DEFAULT
from kerasep.inference.artifact import Artifact
from kerasep.inference.masking import Mask
from kerasep.inference.providers import CPU

# What `ArgumentParser.add_subparsers` returns: argparse has no public name for it, and type checkers alone read this one.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Run = Callable[[argparse.Namespace], int]
MASKS = tuple(map(str, Mask))


def add_command(commands: Commands, name: str, run: Run, help: str) -> argparse.ArgumentParser:
    """The parser of a command that `run` does."""
    parser = commands.add_parser(name, help=help, description=help)
    parser.set_defaults(run=run)
    return parser


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Which model, which of its targets, and how its estimates become stems."""
    parser.add_argument("--model", default=DEFAULT, metavar="NAME|FILE", help="(default: %(default)s)")
    parser.add_argument("--targets", nargs="+", metavar="TARGET", help="stems to make (default: all)")
    parser.add_argument("--mask", choices=MASKS, help="how estimates become stems (default: the model's)")
    parser.add_argument("--exponent", type=float, metavar="P", help="of the ratio mask (default: the model's)")
    parser.add_argument("--softmask", action="store_const", dest="mask", const="ratio", help="the same as --mask ratio")
    parser.add_argument("--wiener", type=int, metavar="N", help="Wiener filter iterations (default: the model's)")
    parser.add_argument("--residual", action="store_true", help="one more stem: what the targets leave of the mixture")
    parser.add_argument(
        "--provider",
        default="auto",
        metavar="NAME[:KEY=VALUE,...]",
        help="what runs an ONNX file: auto, cpu, cuda, tensorrt, openvino, coreml, dml, ... (default: %(default)s)",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="(default: OMP_NUM_THREADS, or all cores)")
    add_licence_option(parser)


def add_licence_option(parser: argparse.ArgumentParser) -> None:
    """Whether the licence of published weights is accepted."""
    text = "accept the licence of published weights that are not free for every use (needed once, where nobody can be asked)"
    parser.add_argument("--accept-licence", action=_AcceptLicence, nargs=0, help=text)


class _AcceptLicence(argparse.Action):
    """Says so in the environment, where it reaches every process that a command starts."""

    def __call__(self, *_: Any) -> None:
        os.environ[ACCEPT] = "1"


def add_output(parser: argparse.ArgumentParser, default: str) -> None:
    """The folder that results go to."""
    parser.add_argument("-o", "--output", type=Path, default=Path(default), metavar="DIR", help="(default: %(default)s)")


@dataclass(frozen=True)
class Choice:
    """What the model options choose: a value that can be sent to another process, and opens a separator there."""

    model: str
    targets: tuple[str, ...] | None
    mask: str | None
    exponent: float | None
    wiener: int | None
    residual: bool
    provider: str

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> "Choice":
        if arguments.threads is not None:
            if arguments.threads < 1:
                raise UsageError(f"--threads {arguments.threads}: at least one")
            os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # of all that computes here, and in workers of --jobs
        values = {field.name: getattr(arguments, field.name) for field in fields(cls)}
        return cls(**values | {"targets": tuple(arguments.targets) if arguments.targets else None})

    def separator(self) -> kerasep.Separator:
        return kerasep.load(**{field.name: getattr(self, field.name) for field in fields(self)})


def load_separator(arguments: argparse.Namespace) -> kerasep.Separator:
    """The separator that the model options choose; says what runs it."""
    separator = Choice.of(arguments).separator()
    say_provider(separator.artifact)
    return separator


def say_provider(artifact: Artifact) -> None:
    """What runs a file, unless nothing but the CPU could; and why nothing better does."""
    runtime = artifact.runtime
    for reason in runtime.skipped:
        say(reason)
    if runtime.skipped or runtime.provider != CPU:
        say(f"{artifact.path.name} runs on {runtime.provider}")
