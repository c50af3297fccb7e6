"""Training on GPUs, as far as it shows without one: TensorFlow is told that there is one, and traced; JAX lowers for CUDA."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL

from kerasep.datasets.musdb import SOURCES, songs
from kerasep.errors import KerasepError
from kerasep.training import engine
from kerasep.training.callbacks import Clock, Guard
from kerasep.training.recipe import RECIPES, Recipe
from kerasep.training.trainer import prepare
from kerasep.training.validation import OnDevice

TINY = {
    "bands": ["options.layout=[[1,1],[1,2],[1,4]]", "options.size=12", "options.blocks=1", "loss=l1", "loss_options={}"],
    "openunmix": ["network=openunmix", "options={}", "options.hidden=8", "options.depth=1"],
    "openunmix, one way": [
        "network=openunmix",
        "options={}",
        "options.hidden=8",
        "options.depth=1",
        "options.bidirectional=false",
    ],
    "conv": [],
}


def tiny(name: str, *settings: str) -> Recipe:
    if name == "bands":
        base = RECIPES["bands"].override(["spectrogram.fft=256", "spectrogram.hop=64", "augment.tilt=0"])
    else:
        base = RECIPES["conv-norm"].override(SMALL)
    return base.override(["batch=4", "seconds=0.2", "steps=2", *(f"epochs.{s}=1" for s in SOURCES), *TINY[name], *settings])


@pytest.fixture
def a_gpu(monkeypatch):
    """TensorFlow lists a GPU; what is run runs on the CPU, without cuDNN."""
    listed = tf.config.list_logical_devices

    def devices(device_type=None):
        gpu = tf.config.LogicalDevice("/device:GPU:0", "GPU")
        return listed("CPU") if device_type == "CPU" else [gpu] if device_type == "GPU" else [*listed(), gpu]

    monkeypatch.setattr(tf.config, "list_logical_devices", devices)


def learner_of(recipe: Recipe, root: Path, devices: int = 1):
    learner, mixer, _ = prepare(recipe, ("vocals", "drums"), songs(root, "train"), seed=0, devices=devices)
    return learner, mixer


def operators(function) -> list:
    """Of a traced function, and of the functions that it calls: nodes."""
    graph = function.graph.as_graph_def()
    return [*graph.node, *(node for inner in graph.library.function for node in inner.node_def)]


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("bands", "mixed_bfloat16"),
        pytest.param("bands", "float32", marks=pytest.mark.slow),
        pytest.param("openunmix", "mixed_float16", marks=pytest.mark.slow),
        pytest.param("openunmix, one way", "mixed_bfloat16", marks=pytest.mark.slow),
    ],
)
def test_lstms_are_cudnns_kernels_on_a_gpu(name, precision, hq_root, a_gpu, monkeypatch):
    """In a step, and in validation; neither is compiled by XLA, which has no such kernel; no loop has a matrix product left."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Keras warns where it drops XLA
        learner, mixer = learner_of(tiny(name, f"precision={precision}"), hq_root)
    assert not learner.jit_compile
    batch = {part: tf.constant(value) for part, value in mixer(0).items()}
    step = tf.function(lambda batch: learner.train_step((batch,))).get_concrete_function(batch)
    nodes = operators(step)
    kinds = [node.op for node in nodes]
    assert kinds.count("CudnnRNNV3") and kinds.count("CudnnRNNBackpropV3") == kinds.count("CudnnRNNV3")
    assert all(node.attr["T"].type == tf.float32.as_datatype_enum for node in nodes if node.op == "CudnnRNNV3")
    bodies = [f for f in step.graph.as_graph_def().library.function if "while_body" in f.signature.name]
    assert not any(node.op in ("MatMul", "BatchMatMulV2") for body in bodies for node in body.node_def)
    lists = [node for node in nodes if node.op.startswith("TensorList")]
    assert not any(node.attr["element_dtype"].type == tf.int16.as_datatype_enum for node in lists)
    asked = {}
    monkeypatch.setattr(tf, "function", lambda f, **options: asked.update(options))
    OnDevice(learner, tiny(name))
    assert asked["jit_compile"] is False


def test_a_network_without_lstms_is_compiled_on_a_gpu(hq_root, a_gpu):
    learner, _ = learner_of(tiny("conv"), hq_root)
    assert learner.jit_compile and engine.can_compile(learner.network)


@pytest.mark.slow
def test_jax_lowers_every_step_for_cuda():
    """Training and validation, with LSTMs in cuDNN's kernel, in every precision; in a process with a stand-in for cuDNN."""
    script = Path(__file__).parents[1] / "lower_for_cuda.py"
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert lines.pop() == "asynchronous True"
    assert len(lines) == 9 and all(int(count) > 0 for line in lines for count in line.split()[-2:]), lines


def test_one_device_unless_more_are_asked_for(a_gpu):
    assert engine.devices() == 1


def test_batch_normalisation_needs_more_than_a_few_examples(hq_root):
    with pytest.raises(
        KerasepError, match="batch 4 on 2 devices: batch normalisation would see 2 examples at a time: add --set"
    ):
        engine.check_parts(learner_of(tiny("conv"), hq_root)[0].network, 4, 2)
    plain = learner_of(tiny("conv", "options.batch_norm=false"), hq_root)[0].network
    engine.check_parts(plain, 4, 2)


def test_what_trains_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(engine, "NVIDIA", (tmp_path / "driver",))
    assert engine.surroundings(1) == f"tensorflow {tf.__version__} on cpu"
    (tmp_path / "driver").touch()
    reason = "its CUDA libraries are not installed, or do not load: pip install 'kerasep[train-cuda]'"
    assert engine.surroundings(1).endswith(f"on cpu, although there is an NVIDIA GPU: {reason}")
    monkeypatch.setattr(tf.sysconfig, "get_build_info", lambda: {"is_cuda_build": False})
    assert engine.surroundings(1).endswith("this build of TensorFlow is for CPUs alone")
    monkeypatch.setattr(engine, "names", lambda: ["H100", "H100"])
    assert engine.surroundings(1).endswith("on H100") and engine.surroundings(2).endswith("on H100, H100")


def test_data_threads_keep_to_a_containers_share(monkeypatch):
    """Affinity, control groups' quotas, and what joblib's own variable says: joblib knows them all."""
    for cores, threads in (("1", 1), ("2", 1)):
        monkeypatch.setenv("LOKY_MAX_CPU_COUNT", cores)
        assert engine.workers() == threads
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "16")
    assert engine.workers() == 15


def test_an_epoch_is_made_of_whole_goes(a_gpu):
    """Keras would take the missing steps from the next epoch."""
    assert {steps: engine.steps_per_loss(steps) for steps in (1, 7, 100, 172, 344, 2130)} == {
        1: 1,
        7: 7,
        100: 10,
        172: 4,
        344: 8,
        2130: 10,
    }


def test_places_are_computed_on_the_gpu(hq_root, a_gpu):
    """TensorFlow's kernels for GPUs add and multiply integers of 32 bits in the host's memory."""
    recipe = tiny("conv", "augment.speed=0.1", "jit=false")
    learner, mixer, _ = prepare(recipe, ("vocals",), songs(hq_root, "train"), 0, 1, stems_on_device=True)
    graph = tf.function(learner.transform).get_concrete_function(mixer(0)).graph
    sums = [op.outputs[0] for op in graph.get_operations() if op.type in ("AddV2", "Mul", "Range")]
    assert [places for places in sums if places.dtype == tf.int64 and places.shape.num_elements() > 10_000]
    assert not [places for places in sums if places.dtype == tf.int32 and places.shape.num_elements() != 1]


@pytest.mark.slow
def test_no_step_waits_for_the_loss(hq_root, tmp_path, a_gpu, monkeypatch):
    """TensorFlow runs some steps in one go, which give the same weights as one by one. (Of JAX: `lower_for_cuda`.)"""
    recipe = tiny("conv", "jit=false", "steps=6", "options.dropout=0")
    weights = []
    for steps in (1, 3):
        monkeypatch.setattr(engine, "STEPS_PER_LOSS", steps)
        learner, mixer = learner_of(recipe, hq_root)
        assert learner.steps_per_execution == steps
        clock = Clock()
        batches = tf.data.Dataset.from_tensors(({part: tf.constant(value) for part, value in mixer(0).items()},)).repeat(6)
        learner.fit(batches, steps_per_epoch=6, epochs=1, verbose=0, callbacks=[clock], **engine.FIT)
        assert len(clock.steps) == 6 // steps
        weights.append(learner.network.get_weights())
    assert all(np.array_equal(one, other) for one, other in zip(*weights, strict=True))


def test_a_loss_that_is_no_number_ends_the_run_within_its_epoch(tmp_path):
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse", steps_per_execution=3)
    ended = []

    class End(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            ended.append(epoch)

    x = np.ones((8, 2), np.float32)
    with pytest.raises(KerasepError, match="the loss became nan in step"):
        model.fit(x, np.full((8, 1), np.nan, np.float32), batch_size=1, verbose=0, callbacks=[Guard(tmp_path), End()])
    assert not ended
