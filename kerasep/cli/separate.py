"""`kerasep separate`: audio files into stems."""

import argparse
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

from tqdm import tqdm

from kerasep.cli.options import Choice, Commands, add_command, add_model_options, add_output, say_provider
from kerasep.errors import KerasepError, KerasepWarning, UsageError, printable, say
from kerasep.files import sweep
from kerasep.hub import load
from kerasep.inference.files import Format, separate_file
from kerasep.inference.separator import Separator
from kerasep.inference.stream import StreamSeparator
from kerasep.names import song_name, title
from kerasep.program import end_with

Result = tuple[list[str], list[Path]]  # lines for standard error, and stems


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "separate", run, "Separate audio files into stems: DIR/<song>/<target>.wav")
    add_model_options(parser)
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="audio or video files, - for standard input")
    add_output(parser, "separated")
    parser.add_argument("--format", choices=tuple(map(str, Format)), default="wav", help="(default: %(default)s)")
    parser.add_argument("--float32", action="store_true", help="32-bit floating point instead of 16-bit samples")
    parser.add_argument("--stream", action="store_true", help="frame by frame, as live audio arrives; needs a step graph")
    parser.add_argument("--overwrite", action="store_true", help="replace stems that are there already")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="songs at a time (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    if arguments.jobs < 1:
        raise UsageError(f"--jobs {arguments.jobs}: one song at a time is the least")
    if arguments.stream and arguments.wiener:
        raise UsageError("a stream has no Wiener filter, which learns from seconds of sound: leave --wiener or --stream out")
    if arguments.stream and arguments.jobs > 1:
        raise UsageError("a stream is one song at a time: leave --jobs or --stream out")
    choice = Choice.of(arguments)
    # Opened before any song is: what is wrong with the choice is wrong for all of them.
    _opened.cache_clear()
    separator = _opened(choice, arguments.stream)
    say_provider(separator.artifact)
    if isinstance(separator, StreamSeparator):
        say(f"latency {1000 * separator.latency / separator.rate:.0f} ms")
    failed = 0
    for lines, paths in _results(arguments, choice):
        for line in lines:
            say(line)
        for path in paths:
            print(printable(str(path)))
        failed += not paths
    return 1 if failed else 0


@cache  # a process opens it once
def _opened(choice: Choice, stream: bool) -> Separator:
    """The separator of all songs. A stream takes a step graph, whatever else could separate."""
    if not stream:
        return choice.separator()
    artifact = load(choice.model, provider=choice.provider)
    return StreamSeparator(artifact, choice.targets, choice.mask, choice.exponent, choice.residual)


def _results(arguments: argparse.Namespace, choice: Choice) -> Iterator[Result]:
    """What became of each song, as it is done. One that fails does not stop the others."""
    tasks: list[tuple[Path, Path]] = []
    taken: dict[Path, Path] = {}
    for path in arguments.inputs:
        folder = arguments.output / song_name(path)
        if folder in taken:
            yield [f"{path}: its stems would replace those of {taken[folder]}: rename one of them"], []
        else:
            taken[folder] = path
            tasks.append((path, folder))
    if arguments.jobs == 1:
        yield from (_separate(*task, choice, arguments) for task in tasks)
        return
    import joblib  # takes as long to import as a short song to separate

    started = {"initializer": _begin, "initargs": (os.getpid(),)}
    parallel = joblib.Parallel(n_jobs=min(arguments.jobs, len(tasks)) or 1, return_as="generator_unordered", **started)
    try:
        delayed = (joblib.delayed(_separate)(*task, choice, arguments) for task in tasks)
        with closing(parallel(delayed)) as results:  # ends the other processes, whatever ends this one
            yield from tqdm(results, total=len(tasks), unit="song", disable=None)
    finally:
        for parent in (arguments.output, Path(tempfile.gettempdir())):
            sweep(parent)


def _begin(parent: int) -> None:
    """What each of several processes does first."""
    end_with(parent)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore: Python would complain of it, were this process killed


def _separate(path: Path, folder: Path, choice: Choice, arguments: argparse.Namespace) -> Result:
    """Separate a song: the lines to print on standard error, and its stems, none where it failed."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", KerasepWarning)
        lines: list[str] = []
        stems: dict[str, Path] = {}
        try:
            stems = separate_file(
                _opened(choice, arguments.stream),
                path,
                folder,
                format=arguments.format,
                float32=arguments.float32,
                overwrite=arguments.overwrite,
                progress=arguments.jobs == 1,
            )
            if (name := title(path)) != folder.name:
                lines.append(f"{path}: not every system takes the name {name!r}: its stems are in {folder}")
        except UsageError:  # holds for every song
            raise
        except KerasepError as error:
            lines.append(str(error))
    return [str(warning.message) for warning in found if issubclass(warning.category, KerasepWarning)] + lines, list(
        stems.values()
    )
