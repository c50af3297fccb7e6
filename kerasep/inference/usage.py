"""How to run a separator's graph, for readers who don't have kerasep: as values for a program, and explained in words.

The words are made of the values: `text` says nothing that the rest of `usage` does not.
"""

from typing import Any

from kerasep.inference.graphs import INPUT, NEXT, PRESENT, SpectrogramGraph, StepGraph, WaveformGraph
from kerasep.inference.manifest import Manifest
from kerasep.inference.masking import Mask, Unclaimed
from kerasep.signal.spectrogram import WINDOWS

Values = dict[str, Any]


def described(manifest: Manifest) -> Values:
    """A manifest and how to use what it describes, as it stands in files."""
    return manifest.to_json() | {"usage": usage(manifest)}


def usage(manifest: Manifest) -> Values:
    """A manifest's `usage`, as JSON values.

    Returns:
        inputs, outputs: types and shapes of the graph's tensors, sizes that are free by name. Then, for spectrogram and step
        graphs, `transform`, `frames` and `stems`; for waveform graphs, `audio` and `segment`; and `text`, their explanation.
    """
    graph = manifest.graph
    free = ("batch", "channels", "samples") if isinstance(graph, WaveformGraph) else ("batch", "frames", "", "")
    values: Values = {
        "inputs": {name: _tensor(shape, free) for name, shape in manifest.inputs().items()},
        "outputs": {name: _tensor(shape, free) for name, shape in manifest.outputs().items()},
    }
    if isinstance(graph, WaveformGraph):
        segments = graph.segments
        values["audio"] = {"rate": graph.rate, "channels": graph.channels, "normalised": graph.normalised}
        values["segment"] = {
            "samples": segments.samples,
            "stride": segments.stride,
            "margin": segments.margin,
            "fixed": graph.fixed,
            "multiple": segments.multiple,
            "least": segments.least,
            "blended": graph.blended,
        }
        return values | {"text": _waveform_text(values["audio"], values["segment"])}
    values["transform"] = _transform(graph)
    values["frames"] = _step(graph) if isinstance(graph, StepGraph) else _frames(graph)
    masking = graph.masking
    values["stems"] = {
        "targets": len(manifest.targets),
        "outputs": "masks" if isinstance(graph, StepGraph) and graph.masks else "magnitudes",
        "mask": str(masking.mask),
        "exponent": masking.exponent,
        "unclaimed": str(masking.unclaimed),
        "wiener": 0 if isinstance(graph, StepGraph) else masking.wiener,
    }
    frames_text = _step_text if isinstance(graph, StepGraph) else _frames_text
    text = {
        "feed": _feed_text(values["transform"]),
        "frames": frames_text(values["frames"]),
        "take": _take_text(values["stems"], values["transform"]),
    }
    return values | {"text": text}


def _tensor(shape: tuple[int, ...], free: tuple[str, ...]) -> Values:
    return {"type": "float32", "shape": [size or name for size, name in zip(shape, free, strict=False)]}


def _transform(graph: SpectrogramGraph | StepGraph) -> Values:
    """The short-time Fourier transform. `window`: a of the window sum_k (-1)^k a_k cos(2 pi k n / fft)."""
    spectrogram = graph.spectrogram
    return {
        "rate": spectrogram.rate,
        "channels": spectrogram.channels,
        "fft": spectrogram.fft,
        "hop": spectrogram.hop,
        "window": list(WINDOWS[spectrogram.window]),
        "padding": "reflect" if spectrogram.padding == "reflect" else "zeros",
        "before": spectrogram.start,
        "after": spectrogram.end,
    }


def _frames(graph: SpectrogramGraph) -> Values:
    windows = graph.windows
    if windows is None:
        return {"minimum": graph.blocks.minimum, "context": graph.blocks.context, "exact": graph.blocks.exact}
    overlap = 0 if windows.margin else windows.frames - windows.stride
    return {"window": windows.frames, "stride": windows.stride, "margin": windows.margin, "crossfade": overlap}


def _step(graph: StepGraph) -> Values:
    return {"look_ahead": graph.look_ahead, "minimum": graph.minimum, "states": list(graph.states)}


def _waveform_text(audio: Values, segment: Values) -> dict[str, str]:
    channels = "left and right" if audio["channels"] == 2 else "the mean of all channels"
    length = f"any number that {segment['multiple']} divides, {segment['least']} or more"
    if segment["fixed"]:
        length = f"exactly {segment['samples']}"
    level, back = "full scale at 1", ""
    if audio["normalised"]:
        level = "less its mean and divided by its standard deviation, both of the mean of its channels over the whole song"
        back = ", and what was taken from the song is given back: times the standard deviation, plus the mean"
    apart = f"in segments {segment['stride']} samples apart, each of {segment['samples']}"
    if segment["blended"]:
        frames = (
            f"A song goes in {apart}. Where the song ends n samples before a segment does, the segment begins n / 2 samples "
            "(rounded down) earlier, and of its stems as many are dropped; zeros stand for what is not the song. Add up the "
            "segments' stems times weights that rise from 1 in steps of 1 to the middle of a segment and fall again, and "
            "divide by the sum of the weights; a segment that began earlier has the first of the weights."
        )
    else:
        frames = (
            f"A song may go in as a whole, where the graph takes its length, or {apart}: of a segment's stems drop the first "
            f"and last {segment['margin']} samples, but keep those of the song's own ends."
        )
    return {
        "feed": f"{INPUT}: audio at {audio['rate']} Hz, {level}, axes batch, channels ({channels}), samples: "
        f"{length}. Fill up with zeros after the last.",
        "frames": frames,
        "take": f"Each output is a target's stem, axes as the input's{back}.",
    }


def _feed_text(transform: Values) -> str:
    fft, hop = transform["fft"], transform["hop"]
    terms = [f"{a:g} cos({2 * k} pi n / {fft})" if k else f"{a:g}" for k, a in enumerate(transform["window"])]
    window = terms[0] + "".join(f" {'+-'[k % 2]} {term}" for k, term in enumerate(terms) if k)
    edges = "zeros" if transform["padding"] == "zeros" else "its reflection, without repeating the first and the last sample"
    channels = "both channels" if transform["channels"] == 2 else "the mean of all channels"
    return (
        f"{INPUT}: magnitudes of the short-time Fourier transform of {channels} of audio at {transform['rate']} Hz, full "
        f"scale at 1, axes batch, frames, bins, channels. Put {transform['before']} samples before the signal and "
        f"{transform['after']} after it: {edges}. Frame t is samples {hop} t to {hop} t + {fft - 1} of that, each times "
        f"the window w(n) = {window}; its {fft}-point transform, not scaled, gives bins 0 to {fft // 2}."
    )


def _frames_text(frames: Values) -> str:
    if "window" not in frames:
        minimum, context = frames["minimum"], frames["context"]
        more = f" At least {minimum}: fill up with zeros after the last." if minimum > 1 else ""
        exact = "depends on" if frames["exact"] else "needs, by measurement,"
        return (
            f"Any number of frames.{more} A frame's estimate {exact} {context} frames to either side: a long song can be run "
            f"in blocks, each with {context} frames of its neighbours around it, whose estimates are dropped."
        )
    cut = f"Exactly {frames['window']} frames: cut a song into windows {frames['stride']} frames apart, the first from its "
    cut += "first frame, the last filled up with zeros."
    if frames["margin"]:
        return (
            f"{cut} Of each window drop the first and last {frames['margin']} estimates, but keep those of the song's own ends."
        )
    if frames["crossfade"]:
        return (
            f"{cut} Put estimates together in order: over the {frames['crossfade']} frames that a window shares with what is "
            "there, its share rises linearly from 0 in the first to 1 in the last."
        )
    return cut


def _step_text(frames: Values) -> str:
    ahead, minimum = frames["look_ahead"], frames["minimum"]
    states = f"Start with zeros in every state; what comes out as STATE{NEXT} goes in as STATE with the next frame."
    if not ahead:
        return f"One frame at a time, in order. {states} What comes out belongs to the frame that went in."
    more = f" A song of fewer than {minimum} frames is filled up with zeros after the last, {PRESENT} 1." if minimum > 1 else ""
    return (
        f"One frame at a time, in order, with {PRESENT} 1. {states} What comes out belongs to the frame {ahead} frames before: "
        f"drop the first {ahead} outputs, and after the last frame feed {ahead} frames of zeros with {PRESENT} 0.{more}"
    )


def _take_text(stems: Values, transform: Values) -> str:
    outputs = "Each output is a target's magnitudes, axes as the input's."
    if stems["outputs"] == "masks":
        outputs = (
            f"Each target's output times {INPUT} of the frame it belongs to is its estimate: magnitudes, axes as {INPUT}'s."
        )
    power = "" if stems["exponent"] == 1 else f" ** {stems['exponent']:g}"
    nothing = f"1/{stems['targets']}" if stems["unclaimed"] == Unclaimed.SHARED else "0"
    gains = {
        Mask.NONE: "the target's gain is its estimate over the mixture's magnitude (0 where that is 0)",
        Mask.RATIO: f"a target's gain is its estimate{power} over the sum of all targets'{power} ({nothing} where that is 0)",
        Mask.BINARY: "a target's gain is 1 where its estimate is the largest, of equals the first output's alone, else 0",
    }[Mask(stems["mask"])]
    wiener = f" (By default kerasep runs {stems['wiener']} iteration(s) of a Wiener filter on that.)" if stems["wiener"] else ""
    return (
        f"{outputs} For a stem, {gains}; multiply the mixture's complex transform by the gain{wiener}; transform each frame "
        f"back, times the window again; add frames up {transform['hop']} samples apart; divide by the sum of the squared "
        f"windows; drop the first {transform['before']} samples and what lies beyond the signal."
    )
