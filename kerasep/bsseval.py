"""Objective scores of separated stems.

SDR of BSSEval v4 (F. Stöter, A. Liutkus and N. Ito, LVA/ICA 2018) compares a stem with its reference sample by sample; no
distortion filters are involved, so it is the plain ratio of energies, frame by frame.
"""

import numpy as np


def frame_sdr(references: dict[str, np.ndarray], estimates: dict[str, np.ndarray], rate: int) -> dict[str, np.ndarray]:
    """10 log10(sum ref^2 / sum (ref - est)^2) in each frame of one second, in dB.

    Args:
        references: each target's true stem, (samples, channels).
        estimates: each target's separated stem, of the same shape.
        rate: samples in a second, the length of a frame and of its hop. What is left after the last whole frame is not
            scored; a song shorter than a frame is one frame.

    Returns:
        (frames,) float64 per target. A frame where any reference or any estimate is silent is NaN for all of them, as
        museval has it.
    """
    length = min(rate, min(map(len, references.values())))
    power = {target: _energy(reference, length) for target, reference in references.items()}
    heard = np.all([*(p > 0 for p in power.values()), *(_energy(e, length) > 0 for e in estimates.values())], axis=0)
    scores = {}
    for target, reference in references.items():
        error = _energy(reference.astype(np.float64) - estimates[target], length)
        with np.errstate(divide="ignore", invalid="ignore"):
            scores[target] = np.where(heard, 10 * np.log10(power[target] / error), np.nan)
    return scores


def _energy(samples: np.ndarray, length: int) -> np.ndarray:
    """Energy of each frame of `length` samples, over all channels, (frames,)."""
    frames = len(samples) // length
    return np.square(samples[: frames * length].astype(np.float64)).reshape(frames, -1).sum(axis=1)
