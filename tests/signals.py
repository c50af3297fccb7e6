"""Made-up signals that tests and scripts make again instead of storing them."""

import numpy as np


def noise(samples: int, channels: int = 2) -> np.ndarray:
    """Uniform, float32 (samples, channels), the same whenever the length is."""
    return np.random.default_rng(samples).uniform(-0.5, 0.5, (samples, channels)).astype(np.float32)


def clip(rate: int, seconds: float, channels: int, seed: int) -> np.ndarray:
    """Sines whose loudness comes and goes, at different places between the channels, and a little noise.

    float32 (samples, channels) with its peak at 0.8.
    """
    random = np.random.default_rng(seed)
    time = np.arange(round(rate * seconds)) / rate
    samples = 0.05 * random.normal(size=(len(time), channels))
    for _ in range(6):
        frequency, slow = rate * random.uniform(0.01, 0.4), random.uniform(0.2, 3)
        phase, slow_phase = random.uniform(0, 2 * np.pi, size=2)
        wave = np.sin(2 * np.pi * frequency * time + phase) * (1 + np.sin(2 * np.pi * slow * time + slow_phase)) / 2
        samples += wave[:, None] * random.uniform(0.1, 1, size=channels)
    return (0.8 * samples / np.abs(samples).max()).astype(np.float32)
