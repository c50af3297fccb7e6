"""Waveform in, stems out, block by block: memory does not grow with the length of a song."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import soxr

from kerasep.errors import KerasepError, UsageError
from kerasep.inference.artifact import Artifact
from kerasep.inference.manifest import Manifest, check_mask
from kerasep.signal import masks
from kerasep.signal.audio import resampled
from kerasep.signal.stft import Spectrogram, Synthesis, stft_blocks
from kerasep.signal.wiener import wiener

RESIDUAL = "residual"


class BlockSeparator(ABC):
    """What gives the stems of a signal block by block.

    Attributes:
        artifact: what it runs.
        manifest: of the artifact.
        targets: the stems it gives.
        mask, exponent, wiener: how they are made, see `Separator`.
    """

    artifact: Artifact
    manifest: Manifest
    targets: tuple[str, ...]
    mask: str
    exponent: float
    wiener: int

    @abstractmethod
    def blocks(self, pieces: Iterable[np.ndarray], rate: int, channels: int) -> Iterator[dict[str, np.ndarray]]:
        """Separate a signal that arrives in pieces.

        Args:
            pieces: float32 (samples, channels) of any lengths.
            rate: sample rate in Hz.
            channels: 1 or 2. Mono is processed as two equal channels and comes back mono.

        Yields:
            The next samples of every target, as many in all as went in.
        """

    def separate(self, audio: np.ndarray, rate: int) -> dict[str, np.ndarray]:
        """Separate a whole signal.

        Args:
            audio: float (samples, channels) or, mono, (samples,); full scale at 1.
            rate: its sample rate in Hz.

        Returns:
            A float32 array of the same shape per target.

        Raises:
            KerasepError: no samples, more than two channels, or NaN or infinite samples.
        """
        audio = np.asarray(audio, np.float32)
        samples = audio[:, None] if audio.ndim == 1 else audio
        if samples.ndim != 2 or not 1 <= samples.shape[1] <= 2 or not len(samples):
            raise KerasepError(f"audio must be (samples, 1 or 2 channels) with at least one sample, not {audio.shape}")
        if not np.isfinite(samples).all():
            raise KerasepError("audio holds NaN or infinite samples: repair it first")
        stems = {target: np.empty_like(samples) for target in self.targets}
        done = 0
        for pieces in self.blocks([samples], rate, samples.shape[1]):
            for target, piece in pieces.items():
                stems[target][done : done + len(piece)] = piece
            done += len(piece)
        return {target: stem.reshape(audio.shape) for target, stem in stems.items()}


class Separator(BlockSeparator):
    """An artifact with a choice of mask and filter; what is not chosen is as the manifest has it."""

    def __init__(
        self,
        artifact: Artifact,
        targets: Iterable[str] | None = None,
        mask: str | None = None,
        exponent: float | None = None,
        wiener: int | None = None,
        residual: bool = False,
    ) -> None:
        """
        Args:
            artifact: the network.
            targets: which stems to give, all if None.
            mask: "none" (estimated magnitudes with the mixture's phase), "ratio" or "binary".
            exponent: of the ratio mask.
            wiener: iterations of the Wiener filter, 0 for none. With a filter the mask only makes its start.
            residual: give one more stem, "residual": what the chosen targets leave of the mixture. A filter then shares the
                mixture out among these alone, as Open-Unmix's does.

        Raises:
            UsageError: an unknown target or mask, a number out of range, or a graph that has its own.
        """
        if artifact.manifest.graph == "waveform":
            raise UsageError(f"{artifact.path}: makes its stems inside the graph: use kerasep.waveform.separator_of")
        self.artifact = artifact
        self.manifest = artifact.manifest
        chosen = self.manifest.chosen(targets)
        self.mask = self.manifest.mask if mask is None else mask
        self.exponent = self.manifest.exponent if exponent is None else exponent
        self.wiener = self.manifest.wiener if wiener is None else wiener
        self.residual = residual
        self.chosen = chosen
        self.targets = (*chosen, RESIDUAL) if residual else chosen
        try:
            check_mask(self.mask, self.exponent)
        except ValueError as error:
            raise UsageError(str(error)) from error
        if self.wiener < 0:
            raise UsageError(f"the Wiener filter's iterations must be 0 or more, not {self.wiener}")
        alone = len(self.manifest.targets) == 1
        if alone and self.mask != "none":
            raise UsageError(f"a {self.mask} mask shares out among targets and {self.manifest.name} has one: use mask none")
        if alone and self.wiener and not residual:
            raise UsageError(
                "a Wiener filter shares out among two stems or more, and there is one: add residual, or no iterations"
            )

    def blocks(self, pieces: Iterable[np.ndarray], rate: int, channels: int) -> Iterator[dict[str, np.ndarray]]:
        spectrogram = self.manifest.spectrogram
        given = Counted(pieces)
        fitted = (to_channels(piece, spectrogram.channels) for piece in given)
        taken = Counted(resampled(fitted, rate, spectrogram.rate, spectrogram.channels))
        inverses = {target: Synthesis(spectrogram, spectrogram.channels) for target in self.targets}
        outputs = {target: Output(spectrogram, rate, channels) for target in self.targets}

        def leave(target: str, spectrum: np.ndarray, gain: np.ndarray | None) -> np.ndarray:
            return outputs[target].push(inverses[target].push(spectrum, gain), taken.samples)

        spectra = stft_blocks(taken, spectrogram, self.manifest.block_frames)
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy and SciPy let go of the interpreter in long loops
            for before, block, after in _with_context(spectra, self.manifest.context_frames):
                estimates = self._estimates(before, block, after)
                for start in range(0, len(block), self.manifest.filter_frames):
                    stretch = slice(start, start + self.manifest.filter_frames)
                    parts = self._parts({target: estimate[stretch] for target, estimate in estimates.items()}, block[stretch])
                    ready = {target: pool.submit(leave, target, *part) for target, part in parts.items() if target in outputs}
                    del parts  # else they would be there until the next ones are, and with them twice the memory
                    yield {target: ready.pop(target).result() for target in self.targets}
        yield {t: output.finish(inverses[t].finish(), taken.samples, given.samples) for t, output in outputs.items()}

    def _estimates(self, before: np.ndarray, block: np.ndarray, after: np.ndarray) -> masks.Gains:
        """Estimated magnitudes of a block of frames, given the frames before and after it; all (frames, bins, channels).

        What follows goes by stretches of the filter's grid, whose arrays are small enough for their memory to be used again.
        """
        estimates = self.artifact.predict(np.concatenate([np.abs(part) for part in (before, block, after)]))
        return {target: estimate[len(before) : len(before) + len(block)] for target, estimate in estimates.items()}

    def stems(self, estimates: masks.Gains, mixture: np.ndarray) -> masks.Spectra:
        """Complex stems of a stretch of frames from all targets' estimates; all (frames, bins, channels)."""
        return wiener(self.gains(estimates, mixture), mixture, self.wiener, self.manifest.filter_frames)

    def _parts(self, estimates: masks.Gains, mixture: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
        """Each stem as a spectrum and a gain on it, which the inverse transform puts there in passing."""
        if self.wiener:
            return {target: (stem, None) for target, stem in self.stems(estimates, mixture).items()}
        return {target: (mixture, gain) for target, gain in self.gains(estimates, mixture).items()}

    def gains(self, estimates: masks.Gains, mixture: np.ndarray) -> masks.Gains:
        """What the masks make of the mixture, before any filter; arguments as for `stems`."""
        if self.mask == "ratio":
            gains = masks.ratio_gains(estimates, self.exponent, self.manifest.unclaimed)
        elif self.mask == "binary":
            gains = masks.binary_gains(estimates)
        else:
            gains = masks.magnitude_gains(estimates, np.abs(mixture))
        # A filter shares the mixture out among all targets, wanted or not, unless there is the residual to take the rest.
        if self.residual or self.wiener == 0:
            gains = {target: gains[target] for target in self.chosen}
        if self.residual:
            gains[RESIDUAL] = masks.residual_gain(gains)
        return gains


class Counted:
    """Passes pieces on and counts their samples."""

    def __init__(self, pieces: Iterable[np.ndarray]) -> None:
        self.pieces = pieces
        self.samples = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for piece in self.pieces:
            self.samples += len(piece)
            yield piece


class Output:
    """One stem on its way out, from the network's rate to the input's: its channels and its length."""

    def __init__(self, spectrogram: Spectrogram, rate: int, channels: int) -> None:
        self.channels = channels
        self.resampler = (
            soxr.ResampleStream(spectrogram.rate, rate, spectrogram.channels, dtype="float32")
            if rate != spectrogram.rate
            else None
        )
        self.inner = 0  # samples so far at the network's rate
        self.outer = 0  # samples so far at the input's

    def push(self, samples: np.ndarray, given: int) -> np.ndarray:
        """The next samples, as far as there were any: the last frames reach beyond the `given` ones."""
        samples = samples[: given - self.inner]
        self.inner += len(samples)
        return self._leave(samples, last=False)

    def finish(self, samples: np.ndarray, inner: int, outer: int) -> np.ndarray:
        """The last samples, so that there are `outer` in all, `inner` of them at the network's rate."""
        written = self.outer
        samples = self._leave(samples[: inner - self.inner], last=True)[: outer - written]
        return np.pad(samples, ((0, outer - written - len(samples)), (0, 0)))

    def _leave(self, samples: np.ndarray, last: bool) -> np.ndarray:
        if self.resampler is not None:
            samples = self.resampler.resample_chunk(np.ascontiguousarray(samples), last=last)
        self.outer += len(samples)
        return to_channels(samples, self.channels)


def to_channels(samples: np.ndarray, channels: int) -> np.ndarray:
    """Mono to two equal channels, stereo to its mean."""
    if samples.shape[1] == channels:
        return samples
    if channels == 2:
        return np.repeat(samples, 2, axis=1)
    return samples.mean(axis=1, keepdims=True)


def _with_context(blocks: Iterable[np.ndarray], context: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Each block with up to `context` frames of its neighbours. Only the last block may be shorter than `context`."""
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
