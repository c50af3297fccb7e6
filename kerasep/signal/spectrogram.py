"""How a network sees sound: the sizes of its short-time Fourier transform, and the windows."""

from dataclasses import dataclass

import numpy as np

from kerasep.checks import short, whole_numbers

RATES = (1000, 384_000)  # in Hz
FFT = 1 << 16  # samples in a window, at most
OVERLAP = 64  # windows that a sample is in, at most

# Generalised cosine windows, w(n) = sum_k (-1)^k a_k cos(2 pi k n / N), periodic as an STFT wants them.
# Blackman-Harris: F. Harris, Proc. IEEE 1978, table 1, 4-term.
WINDOWS = {"hann": (0.5, 0.5), "blackmanharris": (0.35875, 0.48829, 0.14128, 0.01168)}

# What a signal is extended by at either end: zeros or its reflection, and how many windows of it. "window" is that of Spleeter
# (R. Hennequin et al., JOSS 2020), whose weights lose up to 0.8 dB on a short clip when they are fed in another way.
PADDINGS = {"reflect": 0.5, "zeros": 0.5, "window": 1.0}


@dataclass(frozen=True)
class Spectrogram:
    """How a network sees sound. It travels from recipe to checkpoint to manifest to separator, so nothing guesses it.

    Attributes:
        rate: sample rate in Hz.
        channels: audio channels the network takes (1 or 2).
        fft: samples in a window.
        hop: samples from one frame to the next; it divides `fft` at least twice.
        window: "hann" or "blackmanharris".
        padding: "reflect" or "zeros", half a window at either end; or "window", a whole one of zeros.

    Raises:
        ValueError: a value is out of range.
    """

    rate: int = 44100
    channels: int = 2
    fft: int = 4096
    hop: int = 1024
    window: str = "hann"
    padding: str = "reflect"

    def __post_init__(self) -> None:
        whole_numbers(self, "spectrogram ", rate=RATES, channels=(1, 2), fft=(2, FFT), hop=(1, FFT))
        if self.fft % 2 or self.fft % self.hop or self.fft < 2 * self.hop:
            raise ValueError(f"hop {self.hop} must divide an even fft, {self.fft}, at least twice")
        if self.fft > OVERLAP * self.hop:
            raise ValueError(f"hop {self.hop} must be at least {self.fft // OVERLAP}, fft / {OVERLAP}")
        if self.window not in list(WINDOWS):
            raise ValueError(f"unknown window {short(self.window)}: choose from {', '.join(WINDOWS)}")
        if self.padding not in list(PADDINGS):
            raise ValueError(f"unknown padding {short(self.padding)}: choose from {', '.join(PADDINGS)}")

    @property
    def bins(self) -> int:
        """Frequencies from 0 Hz to half the rate, both included."""
        return self.fft // 2 + 1

    @property
    def start(self) -> int:
        """Samples before a signal's first."""
        return int(PADDINGS[self.padding] * self.fft)

    @property
    def end(self) -> int:
        """Samples after a signal's last.

        Spleeter has no window of zeros alone at the end, hence the one less. Where windows overlap by half alone it is a hop
        more: the last samples would else be seen through the end of one window, and dividing by that is ill-conditioned.
        """
        return self.start - (self.padding == "window") + (self.hop if self.fft < 4 * self.hop else 0)

    def frames(self, samples: int) -> int:
        """Frames of a signal of so many samples."""
        return 1 + (samples + self.start + self.end - self.fft) // self.hop


def window(name: str, length: int) -> np.ndarray:
    """A periodic window of `length` samples, float32."""
    phase = 2 * np.pi * np.arange(length) / length
    terms = [(-1) ** k * a * np.cos(k * phase) for k, a in enumerate(WINDOWS[name])]
    values: np.ndarray = np.sum(terms, axis=0).astype(np.float32)
    return values
