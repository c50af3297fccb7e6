"""Sound as callers hand it over: float32 samples and a rate, or one line that says what is wrong with them."""

from typing import Any

import numpy as np

from kerasep.errors import KerasepError, UsageError, first_line

RATES = (1000, 768_000)  # Hz. At rates far below a network's, a second of sound becomes hours of it.
FULL_SCALE = {2: 2**15, 4: 2**31}  # of PCM, by the bytes of a signed integer


def whole(audio: Any) -> np.ndarray:
    """A whole signal as float32 (samples, channels), full scale at 1.

    Args:
        audio: (samples, channels) or, mono, (samples,): floats with full scale at 1, or signed PCM of 16 or 32 bits.

    Raises:
        UsageError: another type or shape, no samples, or more than two channels.
        KerasepError: NaN or infinite samples.

    Example:
        >>> whole(np.array([-32768, 16384], np.int16)).tolist()
        [[-1.0], [0.5]]
    """
    samples = _floats(audio)
    shape = samples.shape
    if samples.ndim not in (1, 2):
        raise UsageError(f"audio must be (samples, channels) or, mono, (samples,), not {shape}")
    if not samples.size:
        raise UsageError(f"audio holds no samples: its shape is {shape}")
    if samples.ndim == 1:
        return samples[:, None]
    if shape[1] > 2 and shape[0] < shape[1]:
        raise UsageError(f"audio must be (samples, channels), not {shape}: transpose it, audio.T")
    if shape[1] > 2:
        raise UsageError(f"audio has {shape[1]} channels, mono or stereo is needed: mix it down first")
    return samples


def piece(audio: Any, channels: int) -> np.ndarray:
    """The next samples of a signal as `whole` has them, (samples, channels), which may be none.

    Raises:
        UsageError, KerasepError: as `whole`.
    """
    samples = _floats(audio)
    if samples.ndim != 2 or samples.shape[1] != channels:
        raise UsageError(f"the stream takes (samples, {channels}), not {samples.shape}")
    return samples


def wrong_rate(rate: Any) -> str:
    """Why a signal cannot have this rate; nothing if it can."""
    if isinstance(rate, bool) or not isinstance(rate, int | float | np.integer | np.floating):
        return f"a rate is a number, in Hz, not of type {type(rate).__name__}"
    least, most = RATES
    return "" if least <= rate <= most else f"a rate of {rate} Hz is not that of sound, {least} to {most} Hz: give the true one"


def _floats(audio: Any) -> np.ndarray:
    try:
        array = np.asarray(audio)
    except (TypeError, ValueError) as error:  # rows of different lengths, or what is on another device
        raise UsageError(f"audio is no array of numbers: {first_line(error)}") from error
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "i" and size in FULL_SCALE:
        return array.astype(np.float32) / np.float32(FULL_SCALE[size])
    if kind != "f":
        raise UsageError(f"audio is of type {array.dtype}: floats, full scale at 1, are needed, or PCM as int16 or int32")
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and said to be
        samples = array.astype(np.float32, copy=False)
    if not np.isfinite(samples).all():
        raise KerasepError("audio holds NaN or infinite samples: repair it first")
    return samples
