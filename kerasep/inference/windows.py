"""Windows of a spectrogram, for networks that take one number of frames, and their estimates put together again."""

import numpy as np


def cut(spectrogram: np.ndarray, frames: int, step: int) -> np.ndarray:
    """Windows of `frames` frames, `step` apart, that cover a spectrogram; the last one is filled up with zeros.

    Args:
        spectrogram: (frames, bins, channels).

    Returns:
        (windows, frames, bins, channels).
    """
    count = 1 + max(0, -(-(len(spectrogram) - frames) // step))
    missing = (count - 1) * step + frames - len(spectrogram)
    filled = np.pad(spectrogram, ((0, missing), (0, 0), (0, 0)))
    return np.stack([filled[start : start + frames] for start in range(0, count * step, step)])


def crossfade(windows: np.ndarray, step: int) -> np.ndarray:
    """One spectrogram from windows `step` frames apart: each fades in linearly over what those before it left.

    P. Chandna et al., "Monoaural audio source separation using deep convolutional neural networks", LVA/ICA 2017.

    Args:
        windows: (windows, frames, bins, channels).

    Returns:
        (frames, bins, channels), as many as the windows cover.
    """
    frames = windows.shape[1]
    overlap = frames - step
    fade = np.linspace(0, 1, overlap, dtype=np.float32)[:, None, None]
    whole = np.empty((step * (len(windows) - 1) + frames, *windows.shape[2:]), np.float32)
    whole[:frames] = windows[0]
    for number, window in enumerate(windows[1:], 1):
        place = whole[number * step :]
        place[:overlap] += fade * (window[:overlap] - place[:overlap])
        place[overlap:frames] = window[overlap:]
    return whole


def middles(windows: np.ndarray, margin: int) -> np.ndarray:
    """One spectrogram from windows that overlap by two margins, without the margins but for the first and the last.

    Args:
        windows: (windows, frames, bins, channels).

    Returns:
        (frames, bins, channels), as many as the windows cover.
    """
    frames = windows.shape[1]
    inner = windows[:, margin : frames - margin].reshape(-1, *windows.shape[2:])
    return np.concatenate([windows[0, :margin], inner, windows[-1, frames - margin :]])
