"""Processes that measure when they are told to, so that several sides can take turns and a slow moment hits all alike."""

import json
import os
import statistics
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kerasep.errors import KerasepError


@contextmanager
def worker(command: list[str], environment: Mapping[str, str] = {}, greets: bool = False) -> Iterator[Any]:
    """A process that answers each line with one line of JSON, when it has done what the line says.

    One that `greets` says a line first; it comes with what asks.
    """
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    pipes["env"] = {**os.environ, **environment}
    process: Any = subprocess.Popen(command, text=True, **pipes)  # noqa: S603

    def ask(line: str) -> Any:
        print(line, file=process.stdin, flush=True)
        return heard()

    def heard() -> Any:
        answer = process.stdout.readline()
        if not answer:
            raise KerasepError(f"{' '.join(command)}: ended early: run it by itself to see why")
        return json.loads(answer)

    try:
        yield (ask, heard()) if greets else ask
    finally:
        process.stdin.close()
        process.wait()


def shown(samples: list[float]) -> str:
    """Median and range, for people."""
    return f"{statistics.median(samples):.3f} s ({min(samples):.3f} to {max(samples):.3f})"
