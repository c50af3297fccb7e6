"""Training steps of PyTorch's Open-Unmix for `benchmarks.measure.training`, run by the Python of its environment.

python torch_training_worker.py DEVICE THREADS    answers versions, then seconds of steps for each line

A step is that of its training script: transforms of mixture and target, network, mean squared error, backward, Adam.
"""

import importlib.metadata
import json
import sys
import time
import types

sys.modules.setdefault("torchaudio", types.ModuleType("torchaudio"))  # openunmix imports it for what is not used here

import torch  # noqa: E402
from openunmix.model import OpenUnmix  # noqa: E402
from openunmix.transforms import ComplexNorm, make_filterbanks  # noqa: E402

BATCH, SAMPLES, STEPS = 16, 6 * 44100, 5


def main() -> None:
    device = torch.device(sys.argv[1])
    torch.set_num_threads(int(sys.argv[2]))
    torch.backends.cudnn.allow_tf32 = False  # as for products, where it is PyTorch's default
    torch.manual_seed(0)
    stft, _ = make_filterbanks(n_fft=4096, n_hop=1024, center=False)
    encoder = torch.nn.Sequential(stft, ComplexNorm(mono=False)).to(device)
    model = OpenUnmix(nb_bins=2049, nb_channels=2, hidden_size=512, nb_layers=3, max_bin=1487).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    mixture = torch.rand(BATCH, 2, SAMPLES, device=device) - 0.5
    target = mixture * 0.3

    def step() -> float:
        start = time.perf_counter()
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(encoder(mixture)), encoder(target))
        loss.backward()
        optimizer.step()
        float(loss)  # waits for the device
        return time.perf_counter() - start

    step(), step()
    print(json.dumps({name: importlib.metadata.version(name) for name in ("torch", "openunmix")}), flush=True)
    for _ in sys.stdin:
        print(json.dumps([step() for _ in range(STEPS)]), flush=True)


if __name__ == "__main__":
    main()
