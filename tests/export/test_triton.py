"""Model repositories against the message that Triton reads them into; the example client against a server of the protocol."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import networks
import numpy as np
import onnx
import pytest
import soundfile
from conftest import ROOT

from export import triton
from kerasep.errors import UsageError
from kerasep.inference.artifact import Artifact, sha256
from kerasep.inference.open import open_separator

CLIENT = ROOT / "export" / "examples" / "triton" / "client.py"


def _run(*command, **options) -> subprocess.CompletedProcess:
    """A Python command with tritonclient, which wants other versions of some packages than TensorFlow does."""
    folder = os.environ.get("KERASEP_TRITONCLIENT")
    if not folder:
        pytest.skip("KERASEP_TRITONCLIENT is not set")
    environment = os.environ | {"PYTHONPATH": folder}
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done


def model_config(text: str) -> dict[str, Any]:
    """The text as Triton's own message, in JSON as a server gives it."""
    code = (
        "import sys; from google.protobuf import json_format, text_format; "
        "from tritonclient.grpc.model_config_pb2 import ModelConfig; "
        "message = text_format.Parse(sys.stdin.read(), ModelConfig()); "
        "print(json_format.MessageToJson(message, preserving_proto_field_name=True))"
    )
    return json.loads(_run("-c", code, input=text).stdout)


@pytest.mark.parametrize(
    ("name", "graph", "batch", "most", "dims", "warm"),
    [
        ("conv", "spectrogram", 0, 32, [-1, 129, 2], [None, 129, 2]),
        ("deepconvsep", "spectrogram", 0, 32, [30, 129, 1], [30, 129, 1]),
        pytest.param("conv", "spectrogram", 4, 0, [4, -1, 129, 2], [4, None, 129, 2], marks=pytest.mark.slow),
        ("conv", "waveform", 0, 0, [1, 2, -1], [1, 2, None]),
    ],
)
def test_a_repository_is_one(name, graph, batch, most, dims, warm, tmp_path):
    file = networks.artifact(name, graph=graph, batch=batch).path
    folder = triton.add(file, tmp_path / "models")
    manifest = Artifact(file).manifest
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == [
        f"models/{manifest.name}/1/model.onnx",
        f"models/{manifest.name}/config.pbtxt",
    ]
    assert sha256(folder / "1" / "model.onnx") == sha256(file)
    config = model_config((folder / "config.pbtxt").read_text())
    assert (config["name"], config["platform"], config.get("max_batch_size", 0)) == (folder.name, "onnxruntime_onnx", most)
    assert ("dynamic_batching" in config) == bool(most)
    model = onnx.load(folder / "1" / "model.onnx").graph
    assert [tensor["name"] for tensor in config["input"]] == [tensor.name for tensor in model.input]
    assert {tensor["name"] for tensor in config["output"]} == {tensor.name for tensor in model.output}
    for tensor in (*config["input"], *config["output"]):
        assert [int(size) for size in tensor["dims"]] == dims and tensor["data_type"] == "TYPE_FP32"
    (warm_up,) = config["model_warmup"]
    found = [int(size) for size in warm_up["inputs"]["mixture"]["dims"]]
    assert [size if known else None for size, known in zip(found, warm, strict=True)] == warm
    assert warm_up["inputs"]["mixture"]["zero_data"] and min(found) > 0
    assert config["parameters"]["sha256"]["string_value"] == sha256(file)


def test_what_triton_does_not_take(tmp_path):
    file = networks.artifact("conv").path
    triton.add(file, tmp_path)
    with pytest.raises(UsageError, match="conv: is there already"):
        triton.add(file, tmp_path)
    with pytest.raises(UsageError, match="Triton runs ONNX files"):
        triton.add(networks.artifact("conv", "tflite").path, tmp_path)
    with pytest.raises(UsageError, match="a step graph has states"):
        triton.add(networks.artifact("bands-ahead", graph="step").path, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["conv"]


class Server(BaseHTTPRequestHandler):
    """What the example asks of a server: KServe's protocol, version 2, with Triton's extension for binary tensors."""

    artifact: Artifact
    config: dict
    lengths: list[int]

    def log_message(self, *_):
        pass

    def _answer(self, content: bytes, **headers: str) -> None:
        self.send_response(200)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        assert self.path == "/v2/models/conv/config"
        self._answer(json.dumps(self.config).encode())

    def do_POST(self):
        assert self.path == "/v2/models/conv/infer"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        split = int(self.headers["Inference-Header-Content-Length"])
        (asked,) = json.loads(body[:split])["inputs"]
        assert asked["datatype"] == "FP32" and asked["parameters"]["binary_data_size"] == len(body) - split
        mixture = np.frombuffer(body[split:], "<f4").reshape(asked["shape"])
        self.lengths.append(mixture.shape[2])
        outputs = self.artifact.run(mixture)
        described = [
            {"name": name, "datatype": "FP32", "shape": array.shape, "parameters": {"binary_data_size": array.nbytes}}
            for name, array in outputs.items()
        ]
        head = json.dumps({"model_name": "conv", "outputs": described}).encode()
        content = head + b"".join(array.tobytes() for array in outputs.values())
        self._answer(content, Inference_Header_Content_Length=str(len(head)))


@pytest.mark.parametrize("seconds", [0.1, 3.0])
def test_the_example_client_gives_what_kerasep_gives(seconds, tmp_path):
    artifact = networks.artifact("conv", graph="waveform", frames=300, batch=1)
    Server.artifact, Server.lengths = artifact, []
    Server.config = model_config(triton.config(artifact.manifest, "0"))
    music = np.random.default_rng(0).normal(0, 0.1, (int(seconds * 44100), 2)).astype(np.float32)
    soundfile.write(tmp_path / "song.wav", music, 44100, "FLOAT")
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        _run(CLIENT, f"127.0.0.1:{server.server_port}", "conv", tmp_path / "song.wav")
        server.shutdown()
    assert set(Server.lengths) == {artifact.manifest.graph.segments.samples}
    for target, expected in open_separator(artifact)(music, 44100).items():
        stem, rate = soundfile.read(tmp_path / f"song-{target}.wav", dtype="float32")
        assert rate == 44100 and np.array_equal(stem, expected)
