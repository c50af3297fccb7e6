"""A residual is what the targets leave of the mixture: with it, stems of every kind of graph add up at any rate."""

import copy
import tracemalloc
from dataclasses import replace

import networks
import numpy as np
import pytest
from conftest import agreement
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signals import noise

from kerasep.errors import UsageError
from kerasep.inference.open import open_separator
from kerasep.inference.residual import Residual
from kerasep.inference.stream import StreamSeparator

RATES = [8000, 22050, 44100, 48000, 96000]
KINDS = {  # of separator: the file, and the choices
    "ratio": (("same",), {}),
    "no mask": (("same",), {"mask": "none", "targets": ["vocals"]}),
    "filter": (("same",), {"wiener": 1}),
    "filter, some targets": (("same",), {"mask": "none", "wiener": 2, "targets": ["drums"]}),
    "mono": (("windows",), {}),
    "step": (("causal", "onnx", "step"), {}),
    "waveform": (("same", "onnx", "waveform"), {}),
}


def opened(kind: str):
    file, choices = KINDS[kind]
    return open_separator(networks.artifact(*file), **choices, residual=True)


def joined(separator, pieces, rate, channels) -> dict[str, np.ndarray]:
    given = list(separator.blocks(pieces, rate, channels))
    return {target: np.concatenate([stems[target] for stems in given]) for target in separator.targets}


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", KINDS)
def test_stems_and_residual_add_up(kind, rate, channels):
    audio = noise(20_001, channels)
    separator = opened(kind)
    assert separator.targets[-1] == "residual" and separator.settings()["residual"] is True
    stems = separator(audio, rate)
    assert stems["residual"].dtype == np.float32 and np.abs(stems["residual"]).max() > 0
    assert agreement(audio, sum(stems.values())) > 120


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_pieces_of_any_length(data):
    separator = opened(data.draw(st.sampled_from(list(KINDS))))
    rate, channels = data.draw(st.sampled_from(RATES)), data.draw(st.sampled_from([1, 2]))
    audio = noise(data.draw(st.integers(1, 30_000)), channels)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(audio)), max_size=5)))
    stems = joined(separator, np.split(audio, cuts), rate, channels)
    assert agreement(audio, sum(stems.values())) > 120


@pytest.mark.parametrize("kind", ["ratio", "filter, some targets", "step", "waveform"])
def test_the_other_stems_are_as_without(kind):
    """A filter alone makes others of them: it shares the mixture among the chosen ones and the rest."""
    file, choices = KINDS[kind]
    with_residual = opened(kind)(noise(9000), 48000)
    without = open_separator(networks.artifact(*file), **choices)(noise(9000), 48000)
    alike = [np.array_equal(with_residual[target], stem) for target, stem in without.items()]
    assert not any(alike) if "wiener" in choices else all(alike)


def test_a_stream_gives_it_hop_by_hop():
    stream, audio = StreamSeparator(networks.artifact("causal", graph="step"), residual=True), noise(5000)
    buffer, pieces = np.empty((64, 2), np.float32), []
    for start in range(0, 4992, 64):
        buffer[:] = audio[start : start + 64]  # as live audio has it: one buffer, filled again and again
        pieces.append(stream.push(buffer))
    pieces += [stream.push(audio[4992:]), stream.finish()]
    assert agreement(audio, np.concatenate([sum(piece.values()) for piece in pieces])) > 120


def test_loud_stems_cost_no_digits():
    """Where targets take many times what there is, the residual takes it back."""
    audio, left = noise(1000), Residual()
    stems = [noise(999)[:0], noise(1000)[::-1] * np.float32(1e4)]
    left.hear(audio)
    assert not len(left.of(stems[:1]))
    assert agreement(audio, stems[1] + left.of(stems[1:])) > 60  # of 1e4: as many digits as float32 has


def test_no_more_of_the_mixture_is_held_than_a_block_needs():
    separator = open_separator(networks.artifact("same"), residual=True)

    peaks = []
    for seconds in (10, 40):
        tracemalloc.start()
        for _ in separator.blocks((noise(44100) for _ in range(seconds)), 44100, 2):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_what_cannot_be():
    with pytest.raises(UsageError, match="no targets: choose from vocals, drums"):
        open_separator(networks.artifact("same"), targets=[], residual=True)
    artifact = copy.copy(networks.artifact("same"))
    artifact.manifest = replace(artifact.manifest, targets=("vocals", "residual"))
    with pytest.raises(UsageError, match="has a target 'residual' of its own: leave --residual out"):
        open_separator(artifact, residual=True)
