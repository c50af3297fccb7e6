"""`kerasep separate`: audio files into stems."""

import argparse
import sys
from pathlib import Path

from kerasep import Separator
from kerasep.cli.options import Commands, add_command, add_model_options, add_output, load_separator, say_provider
from kerasep.errors import KerasepError, UsageError
from kerasep.hub import load
from kerasep.inference.files import Format, separate_file
from kerasep.inference.stream import StreamSeparator


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "separate", run, "Separate audio files into stems: DIR/<song>/<target>.wav")
    add_model_options(parser)
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="audio or video files")
    add_output(parser, "separated")
    parser.add_argument("--format", choices=tuple(map(str, Format)), default="wav", help="(default: %(default)s)")
    parser.add_argument("--float32", action="store_true", help="32-bit floating point instead of 16-bit samples")
    parser.add_argument("--stream", action="store_true", help="frame by frame, as live audio arrives; needs a step graph")
    parser.add_argument("--overwrite", action="store_true", help="replace stems that are there already")


def run(arguments: argparse.Namespace) -> int:
    return _separate_all(_stream(arguments) if arguments.stream else load_separator(arguments), arguments)


def _stream(arguments: argparse.Namespace) -> StreamSeparator:
    """A step graph, whatever else could separate; says how late its stems come."""
    if arguments.wiener:
        raise UsageError("a stream has no Wiener filter, which learns from seconds of sound: leave --wiener or --stream out")
    choice = (arguments.targets, arguments.mask, arguments.exponent, arguments.residual)
    artifact = load(arguments.model, provider=arguments.provider)
    say_provider(artifact)
    stream = StreamSeparator(artifact, *choice)
    print(f"kerasep: latency {1000 * stream.latency / stream.rate:.0f} ms", file=sys.stderr)
    return stream


def _separate_all(separator: Separator, arguments: argparse.Namespace) -> int:
    """One song after the other; a song that fails is reported and does not stop the others."""
    failed = 0
    done: dict[Path, Path] = {}
    for path in arguments.inputs:
        folder = arguments.output / song_name(path)
        try:
            if folder in done:
                raise KerasepError(f"{path}: its stems would replace those of {done[folder]}: rename one of them")
            separate_file(
                separator,
                path,
                folder,
                format=arguments.format,
                float32=arguments.float32,
                overwrite=arguments.overwrite,
            )
            done[folder] = path
        except UsageError:  # holds for every song
            raise
        except KerasepError as error:
            print(f"kerasep: {error}", file=sys.stderr)
            failed += 1
    return 1 if failed else 0


def song_name(path: Path) -> str:
    """A file's name without its extensions.

    Example:
        >>> song_name(Path("music/song.stem.mp4"))
        'song'
    """
    return path.stem.removesuffix(".stem") or path.name
