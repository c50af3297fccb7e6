"""Segments of a song for a waveform graph: how long they are, and how far they overlap."""

from kerasep.inference.manifest import Manifest


def margin(manifest: Manifest) -> int:
    """Hops at the end of a segment whose stems the rest of a song would change, as far as the network's context goes.

    Where windows of the network begin every so many frames, those of all segments begin where those of the song do.
    """
    hops = manifest.context_frames + manifest.spectrogram.fft // manifest.spectrogram.hop
    return -(-hops // _grid(manifest)) * _grid(manifest)


def stride(manifest: Manifest) -> int:
    """Hops from one segment of a song to the next, at most 0 where the graph takes no more than two margins."""
    if not manifest.samples:
        return manifest.block_frames
    hops = manifest.samples // manifest.spectrogram.hop - 2 * margin(manifest)
    return hops // _grid(manifest) * _grid(manifest)


def least(manifest: Manifest) -> int:
    """Samples that a graph for any number of them takes at least."""
    return max(manifest.minimum_frames * manifest.spectrogram.hop, manifest.spectrogram.fft)


def _grid(manifest: Manifest) -> int:
    return manifest.step_frames if manifest.window_frames and manifest.context_frames else 1
