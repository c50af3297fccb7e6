"""How fast this machine multiplies matrices and copies memory: the yardstick of every time measured on it."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

SIZE = 1024  # of the matrices whose product is timed between the calls of a benchmark
BYTES = 1 << 26  # copied, likewise
CALIBRATION_SIZE = 2048  # of the matrices of `calibrate`: large enough for every core


def product(size: int) -> Callable[[], float]:
    """A function that multiplies two float32 matrices of size x size, and returns the seconds that took."""
    matrix = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)

    def run() -> float:
        start = time.perf_counter()
        np.matmul(matrix, matrix)
        return time.perf_counter() - start

    return run


def rates(threads: int) -> Callable[[], dict[str, float]]:
    """A function that returns the seconds of a product of matrices of `SIZE` and of a copy of `BYTES`.

    Args:
        threads: of the copy; those of the product are set in the environment, before NumPy is imported.
    """
    multiply = product(SIZE)
    source, target = (np.array_split(memory, threads) for memory in (np.ones(BYTES, np.uint8), np.empty(BYTES, np.uint8)))
    pool = ThreadPoolExecutor(threads)

    def run() -> dict[str, float]:
        seconds = multiply()
        start = time.perf_counter()
        list(pool.map(np.copyto, target, source))
        return {"product": seconds, "copy": time.perf_counter() - start}

    return run


def calibrate(repetitions: int = 3) -> str:
    """GFLOP/s of a float32 product on all cores and the time of one, medians: a line to quote with times measured here.

    Args:
        repetitions: after one that warms up.
    """
    size, multiply = CALIBRATION_SIZE, product(CALIBRATION_SIZE)
    multiply()
    seconds = statistics.median(multiply() for _ in range(repetitions))
    rate = 2 * size**3 / seconds / 1e9
    return f"{rate:.0f} GFLOP/s: a float32 product of {size} x {size} matrices in {1000 * seconds:.0f} ms"
