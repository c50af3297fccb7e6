"""Music source separation from Keras to ONNX Runtime.

    import kerasep
    stems = kerasep.separate(audio, rate)   # {"vocals": ..., "drums": ..., "bass": ..., "other": ...}

`audio` is (samples, channels) or (samples,), full scale at 1; every stem has its shape.
"""

from pathlib import Path
from typing import Any

import numpy as np

from kerasep.hub import DEFAULT, load

__version__ = "0.1.0"
__all__ = ["load", "separate"]


def separate(audio: np.ndarray, rate: int, model: str | Path = DEFAULT, **choices: Any) -> dict[str, np.ndarray]:
    """Separate a signal into stems; `kerasep.inference.separator.Separator` has the choices and the details."""
    from kerasep.inference.waveform import separator_of

    return separator_of(load(model), **choices).separate(audio, rate)
