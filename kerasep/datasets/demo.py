"""A short multitrack song of the project's own, rendered from scratch: music to demonstrate, calibrate and verify with."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import numpy as np

RATE = 44100
BEAT = 60 / 112  # seconds
BARS = 4
CHORDS = ((45, 52, 57, 60, 64), (41, 53, 57, 60, 65), (48, 52, 55, 60, 64), (43, 50, 55, 59, 62))  # Am F C G, in MIDI notes
MELODY = (  # (beat, note, beats)
    *((0.0, 69, 1.5), (1.5, 72, 1.0), (2.5, 71, 1.5), (4.0, 69, 1.0), (5.0, 65, 1.0), (6.0, 67, 1.75)),
    *((8.0, 67, 1.5), (9.5, 72, 1.0), (10.5, 76, 1.5), (12.0, 74, 1.0), (13.0, 71, 1.0), (14.0, 74, 1.75)),
)
VOWELS = ((730, 1090, 2440), (530, 1840, 2480), (570, 840, 2410), (300, 870, 2240))  # formants of a, e, o, u in Hz
PAN = {"vocals": 0.0, "drums": 0.1, "bass": 0.0, "other": -0.35}  # -1 left to 1 right


@cache
def render() -> Mapping[str, np.ndarray]:
    """The song's stems: four bars of drums, bass, chords ("other") and a sung vowel line.

    It is rendered once a process, which takes about a second: what it returns is read-only.

    Returns:
        float32 (samples, 2) at 44.1 kHz per target; their sum stays within full scale.

    Example:
        >>> {target: stem.shape for target, stem in render().items()}["vocals"]
        (378000, 2)
    """
    random = np.random.default_rng(7)
    samples = round(BARS * 4 * BEAT * RATE)
    mono = {
        "vocals": _vocals(samples, random),
        "drums": _drums(samples, random),
        "bass": _bass(samples),
        "other": _chords(samples),
    }
    stems = {}
    for target, signal in mono.items():
        angle = (PAN[target] + 1) * np.pi / 4
        signal = signal / np.sqrt(np.mean(np.square(signal)))
        stems[target] = np.stack([signal * np.cos(angle), signal * np.sin(angle)], axis=1)
    peak = np.abs(sum(stems.values())).max()
    scaled = {target: (0.9 / peak * stem).astype(np.float32) for target, stem in stems.items()}
    for stem in scaled.values():
        stem.setflags(write=False)
    return MappingProxyType(scaled)


def _hertz(note: float) -> float:
    return 440 * 2 ** ((note - 69) / 12)


def _envelope(seconds: float, attack: float, decay: float) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    release = np.clip((seconds - time) / 0.02, 0, 1)
    return np.minimum(time / attack, 1) * np.exp(-time / decay) * release


def _place(signal: np.ndarray, sound: np.ndarray, beat: float) -> None:
    start = round(beat * BEAT * RATE)
    sound = sound[: max(0, len(signal) - start)]
    signal[start : start + len(sound)] += sound


def _drums(samples: int, random: np.random.Generator) -> np.ndarray:
    signal = np.zeros(samples)
    time = np.arange(round(0.35 * RATE)) / RATE
    kick = np.sin(2 * np.pi * (50 * time + 6 * (1 - np.exp(-time / 0.03)))) * np.exp(-time / 0.12)
    for eighth in range(BARS * 8):
        beat = eighth / 2
        if eighth % 4 == 0 or eighth % 16 == 11:
            _place(signal, kick, beat)
        if eighth % 4 == 2:
            noise = random.standard_normal(len(time)) * np.exp(-time / 0.09)
            _place(signal, 0.5 * noise + 0.6 * np.sin(2 * np.pi * 190 * time) * np.exp(-time / 0.07), beat)
        hat = np.diff(random.standard_normal(len(time) + 1)) * np.exp(-time / 0.03)
        _place(signal, 0.15 * hat, beat)
    return signal


def _bass(samples: int) -> np.ndarray:
    signal = np.zeros(samples)
    for eighth in range(BARS * 8):
        note = CHORDS[eighth // 8][0] - 12 + (12 if eighth % 8 == 7 else 0)
        phase = 2 * np.pi * _hertz(note) * np.arange(round(0.95 * BEAT / 2 * RATE)) / RATE
        tone = sum(np.sin(k * phase) / k**1.7 for k in range(1, 9))
        _place(signal, tone * _envelope(0.95 * BEAT / 2, 0.005, 0.4)[: len(tone)], eighth / 2)
    return signal


def _chords(samples: int) -> np.ndarray:
    signal = np.zeros(samples)
    for bar, chord in enumerate(CHORDS):
        for stroke in (0, 1.5, 2.5):
            seconds = 1.2 * BEAT
            time = np.arange(round(seconds * RATE)) / RATE
            for note in chord[1:]:
                tone = sum(np.exp(-k / 3) * np.sin(2 * np.pi * k * _hertz(note) * time) for k in range(1, 12))
                _place(signal, tone * _envelope(seconds, 0.004, 0.5), 4 * bar + stroke)
    return signal


def _vocals(samples: int, random: np.random.Generator) -> np.ndarray:
    """A glottal pulse train with vibrato, shaped by the formants of sung vowels, and some breath."""
    signal = np.zeros(samples)
    for number, (beat, note, beats) in enumerate(MELODY):
        seconds = beats * BEAT
        time = np.arange(round(seconds * RATE)) / RATE
        vibrato = 0.3 * np.clip(time - 0.2, 0, 0.3) / 0.3 * np.sin(2 * np.pi * 5.5 * time)
        glide = -1.5 * np.exp(-time / 0.04)
        pitch = 440 * 2 ** ((note - 12 - 69 + vibrato + glide) / 12)
        phase = 2 * np.pi * np.cumsum(pitch) / RATE
        formants = tuple(zip(VOWELS[number % len(VOWELS)], (1.0, 0.6, 0.3), strict=True))  # (Hz, gain)
        tone = 0.02 * random.standard_normal(len(time))
        for k in range(1, 40):
            frequency = k * pitch
            resonance = sum(g / (1 + ((frequency - f) / (60 + f / 12)) ** 2) for f, g in formants)
            tone = tone + np.where(frequency < 15000, (0.03 + resonance) / k**0.5, 0) * np.sin(k * phase)
        _place(signal, tone * _envelope(seconds, 0.03, 3.0), beat)
    return signal
