"""One opened file, several threads: each gets its own song's estimates, on either runtime."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import networks
import numpy as np
import pytest


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_threads_get_their_own_estimates(form):
    """Songs of several lengths: where one thread's shapes or samples reach another's run, its estimates are other ones."""
    artifact = networks.artifact("same", form)
    random = np.random.default_rng(0)
    songs = [random.exponential(size=(frames, 129, 2)).astype(np.float32) for frames in (20, 31, 20, 47)]
    expected = [artifact.estimate(song) for song in songs]
    together = Barrier(len(songs))

    def repeatedly(song: np.ndarray) -> list[dict[str, np.ndarray]]:
        together.wait()
        return [artifact.estimate(song) for _ in range(30)]

    with ThreadPoolExecutor(len(songs)) as pool:
        for known, found in zip(expected, pool.map(repeatedly, songs), strict=True):
            for estimates in found:
                for target, values in known.items():
                    np.testing.assert_allclose(estimates[target], values, rtol=1e-4, atol=1e-5)
