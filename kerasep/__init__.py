"""Music source separation from Keras to ONNX Runtime.

    import kerasep
    separator = kerasep.load("bands")
    stems = separator(audio, rate)   # {"vocals": ..., "drums": ..., "bass": ..., "other": ...}

`audio` is (samples, channels) or (samples,): floats, full scale at 1, or PCM as int16 or int32. Every stem has its shape, in
float32.
`separator.separate_file("song.mp3", "out/")` writes files; `kerasep.separate` does it all in one call.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kerasep import hub
from kerasep.errors import KerasepError, UsageError
from kerasep.inference.open import open_separator
from kerasep.inference.separator import Separator
from kerasep.inference.sound import wrong_rate
from kerasep.signal.audio import read

__version__ = "0.1.0"
__all__ = ["KerasepError", "Separator", "UsageError", "load", "separate"]


def load(
    model: str | Path = hub.DEFAULT,
    *,
    targets: Sequence[str] | None = None,
    mask: str | None = None,
    exponent: float | None = None,
    wiener: int | None = None,
    residual: bool = False,
    threads: int | None = None,
    provider: str = "auto",
    accept_licence: bool = False,
) -> Separator:
    """Open a separator. What is not chosen is as the model's manifest has it.

    Stems with their residual add up to the mixture, to the last digits of float32, at any rate and in any channels. Without it,
    those of masks that share the mixture (all targets, ratio or binary) lack what the network does not hear: what is above half
    its rate, and, where it is mono, what channels do not have in common. A Wiener filter withholds a little more
    (`kerasep.signal.wiener`).

    Args:
        model: a name that `kerasep models` lists, or a file that kerasep packed or exported. Published weights are fetched and
            converted on first use.
        targets: which stems to give, all if None.
        mask: "none" (estimated magnitudes with the mixture's phase), "ratio" or "binary".
        exponent: of the ratio mask.
        wiener: iterations of the Wiener filter, 0 for none. With a filter, the mask only makes its start.
        residual: give one more stem, "residual": the mixture less the chosen targets' stems, sample by sample. A filter then
            shares the mixture among these targets and a rest, as Open-Unmix's does; the residual is that rest, with what the
            filter withholds and what the network does not hear.
        threads: for the network, OMP_NUM_THREADS or all cores if None.
        provider: what runs an ONNX file: "auto" (a GPU where one opens the file, else the CPU), or ONNX Runtime's name for it
            without "ExecutionProvider", with options of its own if need be: "cpu", "cuda:device_id=1", "openvino".
        accept_licence: accept the licence of published weights that are not free for every use, such as `umxl`; needed once,
            where no terminal is there to ask, or KERASEP_ACCEPT_LICENCE=1 in the environment.

    Raises:
        UsageError: no such model, target or provider, a choice that does not fit the model, or a licence not accepted.
        KerasepError: the file cannot be used, or its weights cannot be fetched.

    Example:
        >>> import kerasep
        >>> kerasep.load("conv").targets
        ('vocals', 'drums', 'bass', 'other')
    """
    return open_separator(hub.load(model, threads, provider, accept_licence), targets, mask, exponent, wiener, residual)


def separate(
    audio: np.ndarray | str | Path,
    rate: int | None = None,
    model: str | Path = hub.DEFAULT,
    *,
    targets: Sequence[str] | None = None,
    mask: str | None = None,
    exponent: float | None = None,
    wiener: int | None = None,
    residual: bool = False,
    provider: str = "auto",
) -> dict[str, np.ndarray]:
    """Separate a signal or a file into stems.

    Args:
        audio: (samples, channels) or, mono, (samples,), floats with full scale at 1 or PCM as int16 or int32; or the path of an
            audio file.
        rate: of an array, in Hz, 1000 to 768000. A file has its own.
        model, targets, mask, exponent, wiener, residual, provider: see `load`.

    Returns:
        A float32 array per target, of the shape and rate of the signal.

    Raises:
        UsageError: an array without a rate, a file with one, an array or a rate that is none of sound's, or as `load`.
        KerasepError: the file or the samples cannot be used.

    Example:
        >>> import kerasep, numpy as np
        >>> stems = kerasep.separate(np.zeros(44100), 44100, "conv", targets=["drums"])
        >>> stems["drums"].shape
        (44100,)
    """
    if isinstance(audio, str | Path):
        if rate is not None:
            raise UsageError(f"{audio}: a file has its own rate: leave rate out")
        path = audio
        audio, rate = read(path)
        if wrong := wrong_rate(rate):
            raise KerasepError(f"{path}: {wrong}")
    elif rate is None:
        raise UsageError("an array has no rate of its own: give rate, in Hz")
    separator = load(model, targets=targets, mask=mask, exponent=exponent, wiener=wiener, residual=residual, provider=provider)
    return separator(audio, rate)
