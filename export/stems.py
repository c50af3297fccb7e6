"""Stems of the same music by two files: how far they agree, and what that is in SDR."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from export.clips import Clip
from kerasep.evaluation.bsseval import frame_sdr
from kerasep.inference.artifact import Artifact
from kerasep.inference.open import open_separator
from kerasep.signal.levels import agreement_db

Stems = dict[str, np.ndarray]  # by target, float32 (samples, channels)


def separated(artifact: Artifact, clips: Sequence[Clip]) -> list[Stems]:
    """Stems of clips, with the mask and filter that the manifest has by default."""
    separator = open_separator(artifact)
    what = f"{artifact.manifest.name}, {artifact.path.stem}"
    bar = tqdm(clips, desc=what, unit="clip", leave=False, disable=None)
    return [separator(clip.mixture, clip.rate) for clip in bar]


def compared(stems: Sequence[Stems], reference: Sequence[Stems], clips: Sequence[Clip]) -> dict[str, Any]:
    """Stems against the reference's, of the same clips.

    Returns:
        `agreement_db`, all targets of a clip together: the `median` over clips and the `least`; and `sdr`, by target whose true
        stems are known: medians over clips in dB of the reference (`float32`) and of the stems, the `median_loss` and the
        `largest_loss` of a clip.
    """
    agreements = [
        agreement_db((ours[target], theirs[target]) for target in theirs) for ours, theirs in zip(stems, reference, strict=True)
    ]
    result: dict[str, Any] = {"agreement_db": {"median": float(np.median(agreements)), "least": min(agreements)}, "sdr": {}}
    known = [target for target in reference[0] if any(clip.stems.get(target, np.zeros(1)).any() for clip in clips)]
    if known:
        before, after = (
            np.array([_sdr(clip, its, known) for clip, its in zip(clips, all_of_them, strict=True)])
            for all_of_them in (reference, stems)
        )
        loss = before - after
        for place, target in enumerate(known):
            result["sdr"][target] = {
                "float32": float(np.nanmedian(before[:, place])),
                "median": float(np.nanmedian(after[:, place])),
                "median_loss": float(np.nanmedian(loss[:, place])),
                "largest_loss": float(np.nanmax(loss[:, place])),
            }
    return result


def _sdr(clip: Clip, stems: Stems, targets: Sequence[str]) -> list[float]:
    """Medians over frames of a second, as BSSEval v4 has them."""
    scores = frame_sdr({t: clip.stems[t] for t in targets}, {t: stems[t] for t in targets}, clip.rate)
    return [float(np.nanmedian(scores[target])) if not np.isnan(scores[target]).all() else np.nan for target in targets]
