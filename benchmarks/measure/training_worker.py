"""A worker of `benchmarks.measure.training`.

python -m benchmarks.measure.training_worker step RECIPE TARGET,... ROOT STEPS    then a line "live" or "cached" for each turn
python -m benchmarks.measure.training_worker {transform,memory} ROOT    transform on TensorFlow alone
"""

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasep.datasets.musdb import SOURCES, songs
from kerasep.signal.stft import stft
from kerasep.training import engine
from kerasep.training.callbacks import Clock
from kerasep.training.data import Batch, Mixer
from kerasep.training.learner import Transform
from kerasep.training.recipe import RECIPES
from kerasep.training.trainer import prepare, train

REPETITIONS = 9


def step(name: str, targets: str, root: str, steps: str) -> None:
    """The size of a batch; then, for each line, seconds of steps: "live" on batches as they are made, "cached" on one batch."""
    recipe = RECIPES[name]
    _without_tf32()
    learner, mixer, _ = prepare(recipe, tuple(targets.split(",")), songs(Path(root), "train"), seed=0, devices=1)
    # One go more than is counted: the batch of the first cannot be made in advance.
    count = (int(steps) + 1) * learner.steps_per_execution
    cached = _cached(mixer(0), count)
    sources = {
        "live": lambda turn: engine.batches(mixer, turn * count, (turn + 1) * count),
        "cached": lambda turn: cached(),
    }

    def run(side: str, turn: int) -> list[float]:
        clock = Clock()
        learner.fit(sources[side](turn), epochs=1, callbacks=[clock], verbose=0, **engine.FIT)
        return clock.steps[1:]

    run("cached", 0), run("live", 0)  # warm up
    size = {"batch": recipe.batch, "audio_seconds_per_step": recipe.batch * recipe.seconds}
    _answer({**size, "targets": targets.count(",") + 1, "device": engine.names()[0]})
    for turn, line in enumerate(sys.stdin, 1):
        _answer(run(line.strip(), turn))


def _without_tf32() -> None:
    """Full float32 in products on a GPU, as PyTorch's side has it."""
    if keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")
    else:
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(False)


def _cached(batch: Batch, count: int) -> Callable[[], Any]:
    """The same batch again and again."""
    if keras.backend.backend() == "jax":
        import jax

        placed = jax.device_put(batch)
        return lambda: ((placed,) for _ in range(count))
    import tensorflow as tf

    tensors = {part: tf.constant(value) for part, value in batch.items()}
    return lambda: engine.ahead(tf.data.Dataset.from_tensors((tensors,)).repeat(count))


def transform(root: str) -> None:
    """Seconds to make the magnitudes of a batch of `conv`, three ways."""
    import tensorflow as tf

    recipe = RECIPES["conv"]
    spectrogram = recipe.spectrogram
    mixer = Mixer(songs(Path(root), "train"), recipe, seed=0)
    batch = mixer(0)
    layer = Transform(spectrogram, ("vocals",), recipe.samples, tilted=False, phase_sensitive=False)
    graph = tf.function(layer, jit_compile=True)

    def host() -> None:
        """NumPy on a thread for each core, from the same excerpts."""

        def example(index: int) -> tuple[np.ndarray, np.ndarray]:
            excerpts = batch["excerpts"][index].astype(np.float32) / 32768
            waves = np.stack([excerpt @ gain for excerpt, gain in zip(excerpts, batch["gains"][index], strict=True)])
            both = (waves.sum(axis=0), waves[SOURCES.index("vocals")])
            mixture, target = (np.abs(stft(wave, spectrogram, centred=False)) for wave in both)
            return mixture, target

        with ThreadPoolExecutor() as pool:
            examples = list(pool.map(example, range(recipe.batch)))
        for part in zip(*examples, strict=True):
            np.stack(part)

    # Complex spectrograms of all songs in memory, of which excerpts are copied, mixed and turned into magnitudes.
    frames = 1 + (recipe.samples - spectrogram.fft) // spectrogram.hop
    shape = (8, len(SOURCES), frames + 40, spectrogram.bins, spectrogram.channels)
    random = np.random.default_rng(0)
    spectra = (random.standard_normal(shape, np.float32) + 1j * random.standard_normal(shape, np.float32)).astype(np.complex64)

    @tf.function(jit_compile=True)
    def mix(excerpts, gains):
        scaled = excerpts * tf.cast(gains, tf.complex64)
        return tf.abs(tf.reduce_sum(scaled, axis=1)), tf.abs(scaled[:, SOURCES.index("vocals")])

    def kept() -> None:
        places = random.integers(8, size=(recipe.batch, 4)), random.integers(40, size=(recipe.batch, 4))
        chosen = [
            [spectra[song, source, start : start + frames] for source, (song, start) in enumerate(zip(*both, strict=True))]
            for both in zip(*places, strict=True)
        ]
        finish(mix(np.array(chosen), np.ones((recipe.batch, 4, 1, 1, 1), np.float32)))

    def finish(results) -> None:
        """Wait for the device."""
        for result in results:
            float(tf.reshape(result, -1)[0])

    ways = {"host": host, "in the step": lambda: finish(graph(batch)), "kept spectrograms": kept}
    samples: dict[str, list[float]] = {way: [] for way in ways}
    for repetition in range(1 + REPETITIONS):
        for way, run in ways.items():
            start = time.perf_counter()
            run()
            if repetition:
                samples[way].append(time.perf_counter() - start)
    _answer(samples)


def memory(root: str) -> None:
    """Train `conv` for a few steps on a whole data set, validation and all; the number of songs, then wait to be measured."""
    recipe = RECIPES["conv"].override(["steps=10", "epochs.vocals=1"])
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        record = train(recipe, ("vocals",), [Path(root)], Path(folder) / "run")
    _answer(sum(map(len, record["songs"].values())))
    sys.stdin.read()


def _answer(content: object) -> None:
    print(json.dumps(content), flush=True)


if __name__ == "__main__":
    commands: dict[str, Callable[..., None]] = {"step": step, "transform": transform, "memory": memory}
    commands[sys.argv[1]](*sys.argv[2:])
