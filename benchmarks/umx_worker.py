"""Our Open-Unmix for `benchmarks.umx`: seconds from waveform to stems, for as many filter iterations as a line says.

python -m benchmarks.umx_worker MODEL.onnx AUDIO.npy
"""

import json
import re
import sys
import time
from pathlib import Path

import numpy as np

from kerasep.separator import Separator
from kerasep.zoo import load


def main() -> None:
    artifact, audio = load(sys.argv[1]), np.load(sys.argv[2], allow_pickle=False)
    separators = {str(wiener): Separator(artifact, wiener=wiener) for wiener in (0, 1)}
    for line in sys.stdin:
        if line.strip() == "end":
            status = Path("/proc/self/status").read_text()
            answer: object = {"peak_megabytes": int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) * 1024 / 1e6}
        else:
            start = time.perf_counter()
            separators[line.strip()].separate(audio, artifact.manifest.spectrogram.rate)
            answer = time.perf_counter() - start
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
