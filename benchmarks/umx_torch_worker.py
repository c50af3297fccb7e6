"""PyTorch's Open-Unmix for `benchmarks.umx`, run by a Python that has torch and openunmix.

python umx_torch_worker.py FOLDER AUDIO.npy THREADS

Writes seeded weights as FOLDER/TARGET.pth, then answers each line: seconds from waveform to stems with so many iterations
of the filter.
"""

import importlib.metadata
import json
import re
import sys
import time
import types
from pathlib import Path

sys.modules.setdefault("torchaudio", types.ModuleType("torchaudio"))  # imported by openunmix, but not for this

import numpy as np  # noqa: E402
import torch  # noqa: E402
from openunmix.model import OpenUnmix, Separator  # noqa: E402

TARGETS = ("vocals", "drums", "bass", "other")


def main() -> None:
    folder, audio = Path(sys.argv[1]), np.load(sys.argv[2], allow_pickle=False)
    torch.set_num_threads(int(sys.argv[3]))
    torch.manual_seed(0)
    networks = {t: OpenUnmix(nb_bins=2049, nb_channels=2, hidden_size=512, nb_layers=3, max_bin=1487) for t in TARGETS}
    for target, network in networks.items():
        with torch.no_grad():
            network.output_mean.uniform_(0.2, 0.8)
        torch.save(network.state_dict(), folder / f"{target}.pth")
    separators = {}
    for niter in (0, 1):
        separators[str(niter)] = Separator(networks, niter=niter).eval()
        separators[str(niter)].freeze()
    waveform = torch.from_numpy(audio.T[None].copy())
    for line in sys.stdin:
        if line.strip() == "end":
            status = Path("/proc/self/status").read_text()
            versions = {name: importlib.metadata.version(name) for name in ("torch", "openunmix")}
            peak = int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) * 1024 / 1e6
            answer: object = {"peak_megabytes": peak, "versions": versions}
        else:
            start = time.perf_counter()
            with torch.no_grad():
                separators[line.strip()](waveform)
            answer = time.perf_counter() - start
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
