"""A model repository for NVIDIA's Triton Inference Server: python -m export RUN... -o DIR --triton REPOSITORY.

REPOSITORY/NAME/config.pbtxt     tensors, batching, a warm-up and the file's sha-256
REPOSITORY/NAME/1/model.onnx     version 1
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from kerasep.errors import UsageError
from kerasep.files import making
from kerasep.inference.artifact import Artifact, sha256
from kerasep.inference.graphs import INPUT, Shapes, SpectrogramGraph, StepGraph, WaveformGraph
from kerasep.inference.manifest import Manifest

MOST = 32  # requests in a batch


def add(file: Path, repository: Path) -> Path:
    """Put an ONNX file into a model repository, under its manifest's name.

    Args:
        file: a spectrogram or waveform graph.
        repository: a folder, made if missing.

    Returns:
        The model's folder.

    Raises:
        UsageError: another kind of file or graph, a name that is no folder's, or the repository has a model of that name.
        KerasepError: the file cannot be used, or the folder cannot be written.
    """
    if file.suffix != ".onnx":
        raise UsageError(f"{file}: Triton runs ONNX files: leave --triton or the other formats out")
    manifest = Artifact(file).manifest
    if isinstance(manifest.graph, StepGraph):
        raise UsageError(f"{file}: a step graph has states, which Triton would have to keep apart by listener: not supported")
    if not re.fullmatch(r"\w[\w.-]*", manifest.name, re.ASCII):
        raise UsageError(
            f"{file}: {manifest.name!r} cannot be the name of a model in Triton: choose letters and digits with --name"
        )
    folder = repository / manifest.name
    if folder.exists():
        raise UsageError(f"{folder}: is there already: remove it or name another repository")
    with making(folder) as made:
        (made / "1").mkdir()
        shutil.copyfile(file, made / "1" / "model.onnx")
        (made / "config.pbtxt").write_text(config(manifest, sha256(file)), encoding="utf-8")
    return folder


def config(manifest: Manifest, digest: str) -> str:
    """A model's config.pbtxt.

    A graph that takes any batch gets requests of one length put together, `MOST` at a time, and its first axis is Triton's. One
    that takes a single size has all its axes in its shapes.

    Args:
        manifest: of a spectrogram or waveform graph.
        digest: the file's sha-256.
    """
    batched = manifest.graph.shape[0] == 0
    lines = [
        f'name: "{manifest.name}"',
        'platform: "onnxruntime_onnx"',
        f"max_batch_size: {MOST if batched else 0}",
        *_tensors("input", manifest.inputs(), batched),
        *_tensors("output", manifest.outputs(), batched),
    ]
    if batched:
        lines.append("dynamic_batching { max_queue_delay_microseconds: 5000 }")
    # The first request would wait for memory and, on a GPU, for kernels to be chosen.
    warm_up = _dims([size or _usual(manifest) for size in manifest.graph.shape], batched)
    value = f"value {{ data_type: TYPE_FP32 dims: {warm_up} zero_data: true }}"
    lines += [
        f'model_warmup [ {{ name: "silence" batch_size: 1 inputs {{ key: "{INPUT}" {value} }} }} ]',
        _parameter("sha256", digest),
    ]
    if isinstance(manifest.graph, WaveformGraph):  # how a song is cut, for clients
        segments = manifest.graph.segments
        sizes = {"samples": segments.samples, "stride": segments.stride, "margin": segments.margin}
        lines += [_parameter(name, str(size)) for name, size in sizes.items()]
    return "\n".join([*lines, ""])


def _tensors(kind: str, shapes: Shapes, batched: bool) -> Iterator[str]:
    for name, shape in shapes.items():
        yield f'{kind} [ {{ name: "{name}" data_type: TYPE_FP32 dims: {_dims([size or -1 for size in shape], batched)} }} ]'


def _parameter(name: str, value: str) -> str:
    return f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}'


def _dims(shape: list[int], batched: bool) -> str:
    return f"[ {', '.join(map(str, shape[1:] if batched else shape))} ]"


def _usual(manifest: Manifest) -> int:
    """A length that the graph takes where it takes any: frames of a block, or samples of a segment."""
    graph = manifest.graph
    if isinstance(graph, WaveformGraph):
        return graph.segments.samples
    assert isinstance(graph, SpectrogramGraph)  # noqa: S101 - `add` takes no others
    return graph.blocks.frames
