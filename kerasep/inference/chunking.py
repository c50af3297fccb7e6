"""Where songs are cut into what a graph takes, and put together again. Nothing else does.

blocks      of a spectrogram, each with some frames of its neighbours: memory does not grow with a song
windows     of a block, for a graph that takes one number of frames
segments    of a waveform, for a graph that takes samples: joined at their margins, or blended
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from kerasep.inference.graphs import Segments, SpectrogramGraph
from kerasep.signal.spectrogram import Spectrogram

Arrays = dict[str, np.ndarray]
Run = Callable[[np.ndarray], Arrays]  # from a batch of magnitudes to each target's
Segmentwise = Callable[[np.ndarray], Arrays]  # from a segment of a waveform to each target's


def with_context(blocks: Iterable[np.ndarray], context: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Each block with up to `context` frames of its neighbours. Only the last block may be shorter than `context`.

    Example:
        >>> [tuple(map(len, parts)) for parts in with_context([np.zeros(4), np.zeros(4), np.zeros(2)], 3)]
        [(0, 4, 3), (3, 4, 2), (3, 2, 0)]
    """
    stream = iter(blocks)
    block = next(stream, None)
    if block is None:
        return
    before = block[:0]
    while block is not None:
        following = next(stream, None)
        yield before, block, block[:0] if following is None else following[:context]
        before = np.concatenate([before, block])[-context:] if context else block[:0]
        block = following


def estimate(run: Run, graph: SpectrogramGraph, magnitudes: np.ndarray) -> Arrays:
    """Estimates of a stretch of a song by a graph that takes what `graph` says.

    Args:
        run: from mixture to estimates, all (batch, frames, bins, channels).
        graph: says how many frames and how large a batch it takes.
        magnitudes: of the mixture, float32 (frames, bins, channels).

    Returns:
        Each target's magnitudes, (frames, bins, channels).
    """
    frames, windows = len(magnitudes), graph.windows
    if windows:
        batch = cut(magnitudes, windows.frames, windows.stride)
    else:
        batch = _filled(magnitudes, max(0, graph.blocks.minimum - frames))[None]
    size = graph.batch or len(batch)
    filled = _filled(batch, -len(batch) % size)
    parts = [run(filled[start : start + size]) for start in range(0, len(filled), size)]
    estimates = {}
    for target in parts[0]:
        output = parts[0][target] if len(parts) == 1 else np.concatenate([part[target] for part in parts])
        if windows is None:
            whole = output[0]
        elif windows.margin:
            whole = middles(output[: len(batch)], windows.margin)
        else:
            whole = crossfade(output[: len(batch)], windows.stride)
        estimates[target] = whole[:frames]
    return estimates


def cut(spectrogram: np.ndarray, frames: int, stride: int) -> np.ndarray:
    """Windows of `frames` frames, `stride` apart, that cover a spectrogram; the last one is filled up with zeros.

    Args:
        spectrogram: (frames, bins, channels).

    Returns:
        (windows, frames, bins, channels).

    Example:
        >>> cut(np.zeros((7, 5, 2)), 4, 2).shape
        (3, 4, 5, 2)
    """
    count = 1 + max(0, -(-(len(spectrogram) - frames) // stride))
    missing = (count - 1) * stride + frames - len(spectrogram)
    filled = np.pad(spectrogram, ((0, missing), (0, 0), (0, 0)))
    return np.stack([filled[start : start + frames] for start in range(0, count * stride, stride)])


def crossfade(windows: np.ndarray, stride: int) -> np.ndarray:
    """One spectrogram from windows `stride` frames apart: each fades in linearly over what those before it left.

    P. Chandna et al., "Monoaural audio source separation using deep convolutional neural networks", LVA/ICA 2017.

    Args:
        windows: (windows, frames, bins, channels).

    Returns:
        (frames, bins, channels), as many as the windows cover.
    """
    frames = windows.shape[1]
    overlap = frames - stride
    fade = np.linspace(0, 1, overlap, dtype=np.float32)[:, None, None]
    whole = np.empty((stride * (len(windows) - 1) + frames, *windows.shape[2:]), np.float32)
    whole[:frames] = windows[0]
    for number, window in enumerate(windows[1:], 1):
        place = whole[number * stride :]
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


def segments_of(spectrogram: Spectrogram, context: int, stride: int, block: int, minimum: int, samples: int = 0) -> Segments:
    """Segments for a waveform graph around a network on spectrograms.

    Args:
        spectrogram: inside the graph.
        context: frames to either side that a frame's estimate depends on.
        stride: frames from one of the network's windows to the next, whose grid segments must keep; 1 without windows.
        block: frames at a time, where the graph takes any number of samples.
        minimum: the fewest frames that the network takes.
        samples: that the graph takes, 0 for any number that the hop divides.

    Raises:
        ValueError: so many samples are no more than two margins.
    """
    hop = spectrogram.hop
    grid = stride if context else 1
    margin = -(-(context + spectrogram.fft // hop) // grid) * grid
    hops = (samples // hop - 2 * margin) // grid * grid if samples else block
    if hops < 1:
        raise ValueError(f"{samples} samples are no more than two margins of {margin * hop}")
    least = max(minimum * hop, spectrogram.fft)
    return Segments(samples or (hops + 2 * margin) * hop, hops * hop, margin * hop, hop, least)


def cut_segments(pieces: Iterable[np.ndarray], segments: Segments, channels: int) -> Iterator[tuple[np.ndarray, slice]]:
    """Segments of a song that arrives in pieces (samples, channels), and which samples of each are to be kept.

    The last segment has what is left.
    """
    held = np.zeros((0, channels), np.float32)
    start = 0
    for piece in pieces:
        held = np.concatenate([held, piece])
        while len(held) > segments.samples:
            yield held[: segments.samples], slice(start, segments.margin + segments.stride)
            held, start = held[segments.stride :], segments.margin
    if len(held):
        yield held, slice(start, len(held))


def blend_segments(pieces: Iterable[np.ndarray], segments: Segments, channels: int, run: Segmentwise) -> Iterator[Arrays]:
    """Stems of a song that arrives in pieces, from segments that are averaged where they overlap.

    A segment counts most in its middle. What of one reaches beyond the song's end is given sound from before it, so that what
    is left of the song stands in its middle: as demucs has it (A. Defossez, "Hybrid Spectrogram and Waveform Source
    Separation", 2021, and its `apply.py`).

    Args:
        pieces: (samples, channels).
        segments: without margins.
        channels: of the pieces.
        run: from a segment, (segments.samples, channels), to each target's stem of it.

    Yields:
        The next samples of each target, (samples, channels).
    """
    size, stride = segments.samples, segments.stride
    weights = np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1)).astype(np.float32)[:, None]
    weights /= weights.max()
    total = np.zeros((size, 1), np.float32)
    sums: Arrays = {}
    held, first, at = np.zeros((0, channels), np.float32), 0, 0  # `first` is held's place in the song, `at` the next segment's

    def segment(length: int) -> Arrays:
        """The stems of the next segment, of which the song has so many samples, as far as they are final."""
        nonlocal total, held, first, at
        spare = size - length
        begin = at - spare // 2
        whole = held[max(begin - first, 0) : begin - first + size]
        before = max(first - begin, 0)  # the song's own beginning, or it would be held
        stems = run(np.pad(whole, ((before, size - before - len(whole)), (0, 0))))
        total[:length] += weights[:length]
        for target, stem in stems.items():
            kept = sums.setdefault(target, np.zeros((size, channels), np.float32))
            kept[:length] += weights[:length] * stem[spare // 2 :][:length]
        done = min(stride, length)  # no later segment reaches these
        made = {target: kept[:done] / total[:done] for target, kept in sums.items()}
        for target, kept in sums.items():
            sums[target] = np.concatenate([kept[stride:], np.zeros((stride, channels), np.float32)])
        total = np.concatenate([total[stride:], np.zeros((stride, 1), np.float32)])
        at += stride
        if (dropped := at - size // 2 - first) > 0:  # no segment reaches further back
            held, first = held[dropped:], first + dropped
        return made

    for piece in pieces:
        held = np.concatenate([held, piece])
        while first + len(held) >= at + size:
            yield segment(size)
    end = first + len(held)
    while at < end:
        yield segment(min(size, end - at))


def filled_length(samples: int, segments: Segments, fixed: bool) -> int:
    """Samples that a segment of so many must be filled up to, for a graph to take it."""
    if fixed:
        return segments.samples
    return max(segments.least, -(-samples // segments.multiple) * segments.multiple)


def _filled(array: np.ndarray, missing: int) -> np.ndarray:
    """With zeros added along the first axis."""
    return np.pad(array, ((0, missing), *((0, 0),) * (array.ndim - 1))) if missing else array
