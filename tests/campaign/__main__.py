"""python -m tests.campaign: thousands of damaged inputs, kills and full disks; what came of them, as JSON and as a page."""

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

SECONDS, MEGABYTES = 60, 1000  # that bad input may take


def damaged(kinds: list[str], cases: int, seed: int, folder: Path, shared: Path, workers: int) -> list[dict]:
    """Run so many cases of each kind in turns, in processes that are started anew when one dies or hangs."""
    waiting: queue.Queue = queue.Queue()
    for number in range(cases):
        waiting.put((kinds[number % len(kinds)], seed + number))
    results: list[dict] = []

    def serve() -> None:
        worker = None
        while True:
            try:
                kind, number = waiting.get_nowait()
            except queue.Empty:
                if worker:
                    worker.kill()
                return
            worker = worker or start()
            place = folder / f"{kind}-{number}"
            place.mkdir()
            timer = threading.Timer(2 * SECONDS, worker.kill)
            timer.start()
            worker.stdin.write(f"{kind}\t{number}\t{place}\t{shared}\n")
            worker.stdin.flush()
            answer = worker.stdout.readline()
            timer.cancel()
            result = (
                json.loads(answer)
                if answer
                else {"faults": [f"the process died ({worker.wait()})"], "seconds": 0, "megabytes": 0}
            )
            if not answer:
                worker = None
            for limit, field in ((SECONDS, "seconds"), (MEGABYTES, "megabytes")):
                if result[field] > limit:
                    result["faults"].append(f"{result[field]} {field}")
            results.append({"kind": kind, "seed": number, **result})
            if result["faults"]:
                print(kind, number, result["faults"], result.get("said", "")[-300:], flush=True)
            shutil.rmtree(place, ignore_errors=True)
            if len(results) % 100 == 0:
                print(f"{len(results)} of {cases}", flush=True)

    def start() -> subprocess.Popen:
        command = [sys.executable, "-m", "tests.campaign.worker"]
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {
            "PYTHONPATH": path,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "KERASEP_TESTS_FOLDER": str(shared / "made"),
        }
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    threads = [threading.Thread(target=serve) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="of tests/campaign/cases.py (default: all in turns)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="campaign-") as name:
        shared = Path(name) / "shared"
        (shared / "made").mkdir(parents=True)
        os.environ["KERASEP_TESTS_FOLDER"] = str(shared / "made")
        from tests.campaign.cases import KINDS, prepare

        prepare(shared)
        start = time.monotonic()
        results = damaged(
            arguments.kinds or list(KINDS), arguments.cases, arguments.seed, Path(name), shared, arguments.workers
        )
    faulty = [result for result in results if result["faults"]]
    print(f"{len(results)} cases, {len(faulty)} faults, {time.monotonic() - start:.0f} s")
    print(Counter((result["kind"], result.get("code")) for result in results))
    print(
        "slowest",
        max((r["seconds"], r["kind"], r["seed"]) for r in results),
        "most memory",
        max((r["megabytes"], r["kind"], r["seed"]) for r in results),
    )


if __name__ == "__main__":
    main()
