"""`kerasep evaluate`: a system's scores on MUSDB18."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kerasep.cli.options import Commands, add_command, add_model_options, say_provider

if TYPE_CHECKING:
    from kerasep.evaluation.systems import System


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "evaluate", run, "Score a model, or anything else that gives stems, on MUSDB18")
    add_model_options(parser)
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="MUSDB18 or MUSDB18-HQ")
    parser.add_argument("--subset", choices=("train", "validation", "test"), default="test", help="(default: %(default)s)")
    parser.add_argument(
        "--is-wav", action="store_true", help="read folders of WAV files alone, where .stem.mp4 files are there too"
    )
    parser.add_argument("--remix", action="store_true", help="take the sum of the true stems for the mixture")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--estimates", type=Path, metavar="DIR", help="score DIR/<song>/<target>.wav instead of a model")
    instead.add_argument("--oracle", choices=("irm", "ibm", "mwf"), help="score ideal masks or the ideal filter instead")
    instead.add_argument("--mixture", action="store_true", help="score the mixture divided evenly instead")
    parser.add_argument("--metrics", choices=("sdr", "all"), default="all", help="SDR alone is faster (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="songs at a time (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="go on where an earlier call stopped")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where the scores go")


def run(arguments: argparse.Namespace) -> int:
    from kerasep.evaluation.evaluate import Metrics, evaluate_system
    from kerasep.evaluation.report import write_report

    summary = evaluate_system(
        _system(arguments),
        arguments.root,
        arguments.subset,
        arguments.output,
        metrics=Metrics(arguments.metrics),
        jobs=arguments.jobs,
        resume=arguments.resume,
        is_wav=arguments.is_wav,
        remix=arguments.remix,
    )
    for target, values in summary["median"].items():
        print(f"{target:>8}", *(f"{metric} {value:6.2f} dB" for metric, value in values.items() if "_" not in metric))
    write_report([arguments.output], arguments.output)
    print(f"medians of {summary['songs']} songs: {arguments.output}/report.md")
    return 0


def _system(arguments: argparse.Namespace) -> "System":
    """What is to be scored."""
    from kerasep.datasets.musdb import SOURCES
    from kerasep.evaluation.systems import Estimates, Ideal, Mixture, Model, Oracle

    chosen = tuple(arguments.targets) if arguments.targets else None
    targets = chosen or SOURCES
    if arguments.estimates:
        return Estimates(arguments.estimates, targets)
    if arguments.oracle:
        return Oracle(Ideal(arguments.oracle), arguments.exponent or 1.0, targets)
    if arguments.mixture:
        return Mixture(targets)
    choice = (arguments.mask, arguments.exponent, arguments.wiener, arguments.residual)
    model = Model(arguments.model, chosen, *choice, arguments.provider)
    say_provider(model.separator().artifact)
    return model
