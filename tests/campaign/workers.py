"""Processes that run cases, started anew when one dies or hangs."""

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SECONDS, MEGABYTES = 60, 1000  # that bad input may take


def damaged(kinds: list[str], cases: int, seed: int, folder: Path, shared: Path, workers: int) -> list[dict[str, Any]]:
    """Run so many cases of these kinds in turns: what `tests.campaign.worker` says of each."""
    waiting: queue.Queue[tuple[str, int]] = queue.Queue()
    for number in range(cases):
        waiting.put((kinds[number % len(kinds)], seed + number))
    results: list[dict[str, Any]] = []

    def serve() -> None:
        worker = None
        while not waiting.empty():
            try:
                kind, number = waiting.get_nowait()
            except queue.Empty:
                break
            place = folder / f"{kind}-{number}"
            place.mkdir()
            worker = worker or start(shared)
            result = {"kind": kind, "seed": number, **answer(worker, f"{kind}\t{number}\t{place}\t{shared}\n")}
            if worker.poll() is not None:
                worker = None
            results.append(result)
            if result["faults"]:
                print(kind, number, result["faults"], result["said"][-300:], flush=True)
            if len(results) % 100 == 0:
                print(f"{len(results)} of {cases}", file=sys.stderr, flush=True)
            shutil.rmtree(place, ignore_errors=True)
        if worker:
            worker.kill()
            worker.communicate()

    threads = [threading.Thread(target=serve) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def start(shared: Path) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", "KERASEP_TESTS_FOLDER": str(shared / "made")}
    command = [sys.executable, "-m", "tests.campaign.worker"]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, encoding="utf-8"
    )


def answer(worker: subprocess.Popen[str], line: str) -> dict[str, Any]:
    """What a worker says of a case; a fault where it dies, or takes too long or too much memory."""
    assert worker.stdin and worker.stdout
    timer = threading.Timer(2 * SECONDS, worker.kill)
    timer.start()
    worker.stdin.write(line)
    worker.stdin.flush()
    said = worker.stdout.readline()
    timer.cancel()
    if not said:
        return {"faults": [f"the process died ({worker.wait()})"], "seconds": 0, "megabytes": 0, "said": ""}
    result: dict[str, Any] = json.loads(said)
    for limit, field in ((SECONDS, "seconds"), (MEGABYTES, "megabytes")):
        if result[field] > limit:
            result["faults"].append(f"{result[field]} {field}")
    return result
