"""Processes that measure on request, so that several can take turns and a slow moment of the machine hits all alike."""

import contextlib
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Mapping
from typing import Any

from kerasep.errors import KerasepError
from kerasep.machine import peak_megabytes


class Worker:
    """A process that does what a line says and answers with a line of JSON. A context manager: the process ends with it."""

    def __init__(self, command: list[str], environment: Mapping[str, str] = {}) -> None:
        self._command = command
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed with the worker
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._said}
        self._process: Any = subprocess.Popen(command, text=True, encoding="utf-8", env={**os.environ, **environment}, **pipes)  # noqa: S603

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._said.close()

    def ask(self, line: str) -> Any:
        """Send a line and wait for the answer.

        Raises:
            KerasepError: the process ended without one, with the last line that it wrote on standard error.
        """
        with contextlib.suppress(BrokenPipeError):  # it ended before: `answer` says why
            print(line, file=self._process.stdin, flush=True)
        return self.answer()

    def answer(self) -> Any:
        """The next answer: the first of a worker that begins with one, without a question."""
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._said.seek(0)
            last = next((said.strip() for said in reversed(self._said.readlines()) if said.strip()), "it said nothing")
            raise KerasepError(f"{' '.join(self._command)}: ended early: {last}")
        return json.loads(line)

    def peak_megabytes(self) -> float:
        """The most memory the process has had so far, in megabytes of 10^6 bytes; call it before the process ends."""
        return peak_megabytes(self._process.pid)


def summary(samples: list[float]) -> str:
    """Median and range of seconds, to print."""
    return f"{statistics.median(samples):.3f} s ({min(samples):.3f} to {max(samples):.3f})"
