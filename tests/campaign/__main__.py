"""python -m tests.campaign: damaged inputs, full disks and processes that are ended; numbers for docs/reliability.md.

Prints each fault as it is found. Full disks need root, videos ffmpeg.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=300, help="damaged inputs (default: %(default)s)")
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="of tests/campaign/cases.py (default: all in turns)")
    parser.add_argument("--kills", type=int, default=3, help="of each command (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all chance (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="(default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="where the numbers go")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="campaign-") as scratch:
        shared = Path(scratch) / "shared"
        (shared / "made").mkdir(parents=True)
        os.environ["KERASEP_TESTS_FOLDER"] = str(shared / "made")  # read when tests/shared.py is imported
        from tests.campaign import cases, kills, page
        from tests.campaign.workers import damaged

        cases.prepare(shared)
        results = []
        for name, command in kills.commands(shared).items() if arguments.kills else ():
            found = kills.ended(name, command, arguments.kills, arguments.seed, Path(scratch) / name)
            print(name, len(found), [result for result in found if result["faults"]], flush=True)
            results += found
        kinds = arguments.kinds or list(cases.KINDS)
        results += damaged(kinds, arguments.cases, arguments.seed, Path(scratch), shared, arguments.workers)
    numbers = page.summed(results, [number.name for number in kills.SIGNALS])
    print(page.tables(numbers))
    if arguments.output:
        settings = {"cases": arguments.cases, "kills": arguments.kills, "seed": arguments.seed}
        arguments.output.write_text(json.dumps(settings | numbers, indent=1) + "\n", encoding="utf-8")
    return 1 if any(result["faults"] for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
