"""What to feed a separator's graph and what comes out, in words and formulas: a manifest for readers who don't have kerasep."""

from typing import Any

from kerasep.inference.manifest import INPUT, NEXT, PRESENT, Manifest
from kerasep.inference.segments import least, margin, stride
from kerasep.signal.stft import WINDOWS, Spectrogram

EDGES = {
    "reflect": "its reflection, without repeating the first and the last sample",
    "zeros": "zeros",
    "window": "zeros",
}


def usage(manifest: Manifest) -> dict[str, Any]:
    """A manifest's `usage`: names, types and shapes of the graph's tensors, and sentences that say how to run it."""
    named = ("batch", "channels", "samples") if manifest.graph == "waveform" else ("batch", "frames", 0, 0)
    tensors = {
        "inputs": {name: _tensor(shape, named) for name, shape in manifest.inputs().items()},
        "outputs": {name: _tensor(shape, named) for name, shape in manifest.outputs().items()},
    }
    if manifest.graph == "waveform":
        return tensors | _waveform(manifest)
    return tensors | {
        "feed": _feed(manifest.spectrogram),
        "frames": _step(manifest) if manifest.graph == "step" else _frames(manifest),
        "take": _take(manifest),
    }


def described(manifest: Manifest) -> dict[str, Any]:
    """A manifest and how to use what it describes, as it stands in files."""
    return manifest.to_json() | {"usage": usage(manifest)}


def _tensor(shape: tuple[int, ...], named: tuple[str | int, ...]) -> dict[str, Any]:
    return {"type": "float32", "shape": [size or free for size, free in zip(shape, named, strict=False)]}


def _waveform(manifest: Manifest) -> dict[str, Any]:
    spectrogram, hop = manifest.spectrogram, manifest.spectrogram.hop
    ends, step = margin(manifest) * hop, stride(manifest) * hop
    channels = "left and right" if spectrogram.channels == 2 else "the mean of all channels"
    length = f"exactly {manifest.samples}" if manifest.samples else f"any number that {hop} divides, {least(manifest)} or more"
    segment = {"samples": manifest.samples or step + 2 * ends, "step": step, "margin": ends}
    free = {"fixed": bool(manifest.samples), "multiple": hop, "least": least(manifest)}
    return {
        "feed": f"{INPUT}: audio at {spectrogram.rate} Hz, full scale at 1, axes batch, channels ({channels}), samples: "
        f"{length}. Fill up with zeros behind the last.",
        "frames": f"A song may go in as a whole, where the graph takes its length, or in segments {step} samples apart, each "
        f"of {segment['samples']}: of a segment's stems drop the first and last {ends} samples, but keep "
        "those of the song's own ends.",
        "segment": segment | free,
        "take": "Each output is a target's stem, axes as the input's.",
    }


def _feed(spectrogram: Spectrogram) -> str:
    fft, hop = spectrogram.fft, spectrogram.hop
    terms = [f"{a:g} cos({2 * k} pi n / {fft})" if k else f"{a:g}" for k, a in enumerate(WINDOWS[spectrogram.window])]
    window = terms[0] + "".join(f" {'+-'[k % 2]} {term}" for k, term in enumerate(terms) if k)
    channels = "both channels" if spectrogram.channels == 2 else "the mean of all channels"
    return (
        f"{INPUT}: magnitudes of the short-time Fourier transform of {channels} of audio at {spectrogram.rate} Hz, full scale "
        f"at 1, axes batch, frames, bins, channels. Put {spectrogram.start} samples before the signal and {spectrogram.end} "
        f"after it: {EDGES[spectrogram.padding]}. Frame t is samples {hop} t to {hop} t + {fft - 1} of that, each times "
        f"the window w(n) = {window}; its {fft}-point transform, not scaled, gives bins 0 to {fft // 2}."
    )


def _frames(manifest: Manifest) -> str:
    context, window, step = manifest.context_frames, manifest.window_frames, manifest.step_frames
    if not window:
        more = f" At least {manifest.minimum_frames}: fill up with zeros after the last." if manifest.minimum_frames > 1 else ""
        exact = "depends on" if manifest.context_exact else "needs, as was measured,"
        return (
            f"Any number of frames.{more} A frame's estimate {exact} {context} frames to either side: a long song can be run "
            f"in blocks, each with {context} frames of its neighbours around it, whose estimates are dropped."
        )
    cut = f"Exactly {window} frames: cut a song into windows {step} frames apart, the first from its first frame, the last "
    cut += "filled up with zeros."
    if manifest.margin_frames:
        margin = manifest.margin_frames
        return f"{cut} Of each window drop the first and last {margin} estimates, but keep those of the song's own ends."
    if step < window:
        overlap = window - step
        return (
            f"{cut} Put estimates together in order: over the {overlap} frames that a window shares with what is there, its "
            f"share rises linearly from 0 in the first to 1 in the last."
        )
    return cut


def _step(manifest: Manifest) -> str:
    ahead = manifest.look_ahead_frames
    states = f"Start with zeros in every state; what comes out as STATE{NEXT} goes in as STATE with the next frame."
    if not ahead:
        return f"One frame at a time, in order. {states} What comes out belongs to the frame that went in."
    least = manifest.minimum_frames
    more = f" A song of fewer than {least} frames is filled up with zeros after the last, {PRESENT} 1." if least > 1 else ""
    return (
        f"One frame at a time, in order, with {PRESENT} 1. {states} What comes out belongs to the frame {ahead} frames before: "
        f"drop the first {ahead} outputs, and after the last frame feed {ahead} frames of zeros with {PRESENT} 0.{more}"
    )


def _take(manifest: Manifest) -> str:
    spectrogram, count = manifest.spectrogram, len(manifest.targets)
    outputs = "Each output is a target's magnitudes, axes as the input's."
    if manifest.graph == "step":
        outputs = (
            f"Each target's output times {INPUT} of the frame it belongs to is its estimate: magnitudes, axes as {INPUT}'s."
        )
    power = "" if manifest.exponent == 1 else f" ** {manifest.exponent:g}"
    nothing = f"1/{count}" if manifest.unclaimed == "shared" else "0"
    gains = {
        "none": "the target's gain is its estimate over the mixture's magnitude (0 where that is 0)",
        "ratio": f"a target's gain is its estimate{power} over the sum of all targets'{power} ({nothing} where that is 0)",
        "binary": "a target's gain is 1 where its estimate is the largest, of equals the first output's alone, else 0",
    }[manifest.mask]
    wiener = f" (By default kerasep runs {manifest.wiener} iteration(s) of a Wiener filter on that.)" if manifest.wiener else ""
    return (
        f"{outputs} For a stem, {gains}; multiply the mixture's complex "
        f"transform by the gain{wiener}; transform each frame back, times the window again; add frames up {spectrogram.hop} "
        f"samples apart; divide by the sum of the squared windows; drop the first {spectrogram.start} samples and what lies "
        "beyond the signal."
    )
