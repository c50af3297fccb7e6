"""Windows: cut, and put together again."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kerasep.inference.chunking import crossfade, cut


@given(st.integers(1, 90), st.integers(1, 20), st.integers(1, 20), st.integers(1, 2))
def test_windows_of_one_spectrogram_give_it_back(frames, window, step, channels):
    step = min(step, window)
    whole = np.random.default_rng(frames).normal(size=(frames, 3, channels)).astype(np.float32)
    windows = cut(whole, window, step)
    assert windows.shape[1:] == (window, 3, channels)
    assert len(windows) == 1 or (len(windows) - 2) * step + window < frames  # no window too many
    again = crossfade(windows, step)
    assert np.abs(again[:frames] - whole).max() < 1e-6 and not again[frames:].any()


def test_each_window_fades_in_over_those_before_it():
    windows = np.stack([np.full((6, 1, 1), value, np.float32) for value in (0, 1, 2)])
    # steps of 2: 4 frames of overlap, faded in by 0, 1/3, 2/3, 1
    first = [0, 0, 0, 1 / 3, 2 / 3, 1, 1, 1]
    expected = [*first[:4], first[4], first[5] + (2 - first[5]) / 3, first[6] + (2 - first[6]) * 2 / 3, 2, 2, 2]
    assert np.allclose(crossfade(windows, 2)[:, 0, 0], expected)
