"""Changes of playback speed inside the training step, the pitch changing with it as on tape, for steps on a GPU.

A GPU's step is done before a core has resampled a batch of `bands`: 0.2 s. On a CPU the mixer's threads resample, with soxr:
they have cores to spare where a step has one thread, and the step itself would take a tenth longer (`conv-norm`, two cores).

Positions are whole numbers of 2 ** -`fraction_bits`, which float32 could not tell apart after a few seconds.
"""

import keras
from keras import ops

TAPS = 4  # samples that one is interpolated from
# Of places in excerpts. With 32 bits TensorFlow would compute on the host, and copy places to the GPU in each step. Batches'
# integers are cast to it in any case: Keras builds on several devices from the mean of their first batches, in float64.
INDEX = "int64" if keras.backend.backend() == "tensorflow" else "int32"


def fraction_bits(samples: int) -> int:
    """Bits after the point of a position in an excerpt of so many samples, in 31 bits, at up to twice the speed.

    Example:
        >>> fraction_bits(6 * 44100)
        11
    """
    return 30 - samples.bit_length()


def as_step(speed: float, samples: int) -> int:
    """A playback speed in units of 2 ** -`fraction_bits`(samples).

    Example:
        >>> as_step(0.5, 6 * 44100)
        1024
    """
    return round(speed * (1 << fraction_bits(samples)))


def needed(samples: int, step: int) -> int:
    """Samples to read for an excerpt of so many, played at a speed of `step`.

    Example:
        >>> needed(1000, as_step(1.0, 1000))
        1003
    """
    return ((samples - 1) * step >> fraction_bits(samples)) + TAPS


def played(waves, steps, samples: int):
    """Excerpts at their speeds, interpolated by cubic splines through neighbouring samples (E. Catmull, R. Rom, 1974).

    Half a decibel is lost at 11 kHz, where images are 23 dB below the signal (46 dB at 5 kHz): nothing beside what gains and
    tilts do to an excerpt.

    Args:
        waves: float32 (batch, sources, read, channels), where `read` is at least `needed` of each step.
        steps: speeds by `as_step`, int32 (batch, sources).
        samples: of each result.

    Returns:
        float32 (batch, sources, samples, channels). The first sample is the second that was read.
    """
    bits = fraction_bits(samples)
    batch, sources, read, channels = waves.shape
    positions = ops.cast(steps[:, :, None], INDEX) * ops.arange(samples, dtype=INDEX)
    rows = ops.reshape(ops.arange(batch * sources, dtype=INDEX) * read, (batch, sources, 1))
    first = ops.right_shift(positions, bits) + rows
    flat = ops.reshape(waves, (-1, channels))
    a, b, c, d = (ops.take(flat, first + tap, axis=0) for tap in range(TAPS))
    x = (ops.cast(ops.bitwise_and(positions, (1 << bits) - 1), "float32") * 2.0**-bits)[..., None]
    return b + 0.5 * x * (c - a + x * (2 * a - 5 * b + 4 * c - d + x * (3 * (b - c) + d - a)))
