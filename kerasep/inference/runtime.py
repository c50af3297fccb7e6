"""What runs a graph, behind one way of asking: named arrays in, named arrays out."""

import mmap
import threading
import warnings
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kerasep.errors import KerasepError, UsageError, first_line
from kerasep.inference.ort import onnxruntime
from kerasep.inference.providers import CPU, Provider, open_session, runtimes
from kerasep.threads import workers

KEY = "kerasep"  # of the manifest among a file's metadata
Arrays = dict[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]


class Runtime(Protocol):
    """An opened file.

    Attributes:
        manifest: JSON that is embedded in the file under `KEY`, None if there is none.
        inputs, outputs: of the graph, by name, with their shapes, 0 for any size.
        provider: short name of what runs it (`kerasep.inference.providers`).
        skipped: why a better provider does not, where it was left to choose.
    """

    manifest: str | None
    inputs: Shapes
    outputs: Shapes
    provider: str
    skipped: tuple[str, ...]

    def run(self, feeds: Arrays) -> Arrays:
        """All outputs for all inputs, float32; from any thread.

        Raises:
            KerasepError: the graph cannot be run on them.
        """


class OnnxRuntime:
    """An ONNX file on ONNX Runtime."""

    def __init__(self, path: Path, threads: int | None, provider: Provider) -> None:
        self.path = path
        options = onnxruntime().SessionOptions()
        options.log_severity_level = 4  # errors arrive as exceptions
        options.intra_op_num_threads = threads or 0
        # Threads that wait in a busy loop make an LSTM a quarter faster; between two blocks the cores belong to the transforms.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if len(several := runtimes()) > 1:
            text = f"{' and '.join(several)} overwrite each other: pip uninstall {' '.join(several)}, then install one of them"
            warnings.warn(text, stacklevel=2)
        self.session, self.provider, self.skipped = open_session(path, options, provider)
        self.manifest = self.session.get_modelmeta().custom_metadata_map.get(KEY)
        self.inputs = {node.name: _sizes(node.shape) for node in self.session.get_inputs()}
        self.outputs = {node.name: _sizes(node.shape) for node in self.session.get_outputs()}

    def run(self, feeds: Arrays) -> Arrays:
        try:
            return dict(zip(self.outputs, self.session.run(list(self.outputs), feeds), strict=True))
        except Exception as error:  # all that ONNX Runtime's errors have in common
            raise KerasepError(f"{self.path}: ONNX Runtime cannot run it on this ({first_line(error)})") from error


class LiteRT:
    """A TFLite file on LiteRT, whose XNNPACK does what it can.

    An interpreter has one set of tensors, which one thread at a time may fill, run and read.
    """

    provider: str = CPU
    skipped: tuple[str, ...] = ()

    def __init__(self, path: Path, threads: int | None, provider: Provider) -> None:
        if provider.name not in ("auto", CPU):
            raise UsageError(f"{path}: provider {provider.name} is for ONNX files: LiteRT runs this one on the CPU")
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise KerasepError("LiteRT is not installed: pip install 'kerasep[tflite]'") from error
        try:
            interpreter = Interpreter(str(path), num_threads=workers(threads))  # which checks the file as well
            self.manifest = _metadata(path)
            runner = interpreter.get_signature_runner()
            given, made = runner.get_input_details(), runner.get_output_details()
        except Exception as error:  # flatbuffers and LiteRT raise whatever they stumble over
            raise KerasepError(f"{path}: not a TFLite file that this LiteRT can run: export it again") from error
        self.inputs = {name: _signature(tensor) for name, tensor in given.items()}
        self.outputs = {name: _signature(tensor) for name, tensor in made.items()}
        self.path = path
        self._interpreter = interpreter
        self._alone = threading.Lock()
        self._places = {name: tensor["index"] for name, tensor in (given | made).items()}
        self._shapes: Shapes = {}

    def run(self, feeds: Arrays) -> Arrays:
        with self._alone:
            try:
                return self._run(feeds)
            except (RuntimeError, ValueError) as error:
                raise KerasepError(f"{self.path}: LiteRT cannot run it on this ({first_line(error)})") from error

    def _run(self, feeds: Arrays) -> Arrays:
        shapes = {name: array.shape for name, array in feeds.items()}
        if shapes != self._shapes:
            self._shapes = {}  # should it stop half-way, the next run begins anew
            for name, shape in shapes.items():
                self._interpreter.resize_tensor_input(self._places[name], shape)
            self._interpreter.allocate_tensors()
            self._shapes = shapes
        for name, array in feeds.items():
            self._interpreter.set_tensor(self._places[name], array)
        self._interpreter.invoke()
        made = {name: self._interpreter.tensor(self._places[name])() for name in self.outputs}
        # All in one piece of memory, which the C library keeps for the next time. Pieces for each, as LiteRT's own signature
        # runner makes them, it hands back to the system again and again, and that takes as long as a small network.
        memory = np.empty(sum(array.size for array in made.values()), np.float32)
        parts = np.split(memory, np.cumsum([array.size for array in made.values()])[:-1])
        outputs = {name: part.reshape(made[name].shape) for name, part in zip(made, parts, strict=True)}
        for name, array in made.items():
            outputs[name][...] = array
        return outputs


RUNTIMES: dict[str, type[OnnxRuntime] | type[LiteRT]] = {".onnx": OnnxRuntime, ".tflite": LiteRT}


def _sizes(shape: list[int | str]) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else 0 for size in shape)


def _signature(tensor: dict[str, Any]) -> tuple[int, ...]:
    return tuple(max(0, int(size)) for size in tensor["shape_signature"])


def _metadata(path: Path) -> str | None:
    """What a TFLite file has under `KEY`."""
    from ai_edge_litert.schema_py_generated import Model

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        model = Model.GetRootAsModel(content, 0)
        for place in range(model.MetadataLength()):
            entry = model.Metadata(place)
            if entry.Name() == KEY.encode():
                return bytes(model.Buffers(entry.Buffer()).DataAsNumpy()).decode()
    return None
