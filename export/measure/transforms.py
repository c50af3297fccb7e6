"""Waveform graphs against the same networks' spectrogram graphs with their transform in NumPy: time and agreement.

python -m export.measure.transforms --graphs conv.onnx conv-waveform.onnx --graphs ... -o docs/results/waveform.json
"""

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

from export.measure.timing import in_turns, surroundings
from kerasep.datasets import demo
from kerasep.errors import UsageError
from kerasep.files import write_json
from kerasep.inference.adapt import to_channels
from kerasep.inference.artifact import Artifact, sha256
from kerasep.inference.graphs import INPUT, WaveformGraph
from kerasep.inference.separator import SpectrogramSeparator
from kerasep.measurements import load_or_start, replace_row
from kerasep.program import reporting
from kerasep.signal.factored import Plan
from kerasep.signal.levels import agreement_db

SECONDS = 10  # at a time, of a graph that takes any number of samples


def measure(pairs: list[tuple[Path, Path]], output: Path) -> None:
    """Separate the same music both ways, in turns, with each (spectrogram graph, waveform graph), and add all times."""
    result = load_or_start(output, {**surroundings(), "graphs": []})
    for host, waveform in pairs:
        result["graphs"] = replace_row(result["graphs"], _graph(host, waveform))
        write_json(output, result)


def _graph(host: Path, waveform: Path) -> dict[str, Any]:
    separator, artifact = SpectrogramSeparator(Artifact(host)), Artifact(waveform)
    manifest, graph, spectrogram = artifact.manifest, artifact.manifest.graph, separator.graph.spectrogram
    if not isinstance(graph, WaveformGraph):
        raise UsageError(f"{waveform}: not a waveform graph: name the spectrogram graph first")
    multiple = graph.segments.multiple
    samples = graph.segments.samples if graph.fixed else SECONDS * graph.rate // multiple * multiple
    music = to_channels(np.resize(np.sum(list(demo.render().values()), axis=0), (samples, 2)), graph.channels)
    mixture = np.ascontiguousarray(music.T)[None]
    stems, expected = artifact.runtime.run({INPUT: mixture}), separator(music, graph.rate)
    agreement = min(agreement_db([(stems[target][0].T, expected[target])]) for target in manifest.targets)
    times = in_turns(
        {
            "host": lambda: separator(music, graph.rate),
            "waveform": lambda: artifact.runtime.run({INPUT: mixture}),
        }
    )
    ratio = statistics.median(times["waveform"]) / statistics.median(times["host"])
    print(f"{waveform.name}: {ratio:.2f} x the time of {host.name}, {agreement:.0f} dB")
    transform = Plan(spectrogram).per_second() * spectrogram.channels
    return {
        "name": manifest.name,
        "format": waveform.suffix[1:],
        "sha256": {"host": sha256(host), "waveform": sha256(waveform)},
        "bytes": waveform.stat().st_size,
        "seconds_of_audio": samples / graph.rate,
        "agreement_db": agreement,
        "multiply_adds_per_second": {
            "transform": transform,
            "network": separator.manifest.multiply_adds,
            "inverse": transform * len(manifest.targets),
        },
        "samples": times,
    }


@reporting("export.measure.transforms")
def main() -> None:
    parser = argparse.ArgumentParser("python -m export.measure.transforms", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--graphs", nargs=2, action="append", type=Path, required=True, metavar=("SPECTROGRAM", "WAVEFORM"))
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.json")
    given = parser.parse_args()
    measure(given.graphs, given.output)


if __name__ == "__main__":
    sys.exit(main())
