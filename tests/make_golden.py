"""Makes tests/golden/museval.json: museval's own scores of made-up signals, for machines without ffmpeg, which museval needs.

python tests/make_golden.py
"""

import json
from importlib.metadata import version
from pathlib import Path

from test_bsseval import RATE, made_up, museval_scores

if __name__ == "__main__":
    scores = {metric: values.round(9).tolist() for metric, values in museval_scores(*made_up(0), RATE).items()}
    golden = {"museval": version("museval"), "scores": scores}
    (Path(__file__).parent / "golden" / "museval.json").write_text(json.dumps(golden, indent=1) + "\n")
