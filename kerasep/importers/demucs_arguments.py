"""What PyTorch's HTDemucs was built with, as its files say it, and whether `kerasep.models.htdemucs` is that network."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from kerasep.checks import short
from kerasep.importers.demucs_tensors import Sizes
from kerasep.models.htdemucs import CHANNELS
from kerasep.models.spectra import OVERLAP

# Arguments that are sizes: ours, what the class has for them, least and most.
SIZES = {
    "channels": ("channels", 48, 8, 1024),
    "depth": ("depth", 4, 1, 8),
    "bottom_channels": ("bottom", 0, 0, 4096),
    "t_layers": ("transformer", 5, 1, 64),
    "t_heads": ("heads", 8, 1, 64),
    "nfft": ("fft", 4096, 64, 1 << 16),
}
# Arguments that choose what is done: what the class does without them, and what this network does.
CHOICES: dict[str, tuple[Any, Any]] = {"dconv_mode": (1, 3)} | {
    name: (value, value)
    for name, value in {
        "audio_channels": CHANNELS,
        "channels_time": None,
        "growth": 2,
        "cac": True,
        "rewrite": True,
        "multi_freqs": None,
        "freq_emb": 0.2,
        "emb_scale": 10,
        "kernel_size": 8,
        "stride": 4,
        "context": 1,
        "context_enc": 0,
        "dconv_depth": 2,
        "dconv_comp": 8,
        "t_emb": "sin",
        "t_hidden_scale": 4,
        "t_norm_in": True,
        "t_norm_in_group": False,
        "t_group_norm": False,
        "t_norm_first": True,
        "t_norm_out": True,
        "t_max_period": 10000,
        "t_layer_scale": True,
        "t_gelu": True,
        "t_weight_pos_embed": 1,
        "t_sin_random_shift": 0,
        "t_sparse_self_attn": False,
        "t_sparse_cross_attn": False,
        "t_cross_first": False,
    }.items()
}
# Arguments that change nothing in a trained network of this kind.
IDLE = {"wiener_iters", "end_iters", "wiener_residual", "multi_freqs_depth", "emb_smooth", "time_stride", "norm_groups"}
IDLE |= {"dconv_init", "rescale", "use_train_segment", "t_dropout", "t_max_positions", "t_weight_decay", "t_lr"}
IDLE |= {"t_cape_mean_normalize", "t_cape_augment", "t_cape_glob_loc_scale", "t_mask_type", "t_mask_random_seed"}
IDLE |= {"t_sparse_attn_window", "t_global_window", "t_sparsity", "t_auto_sparsity"}
KNOWN = {*SIZES, *CHOICES, *IDLE, "sources", "norm_starts", "samplerate", "segment"}

TARGET = re.compile(r"[A-Za-z]\w{0,40}", re.ASCII)
TARGETS = 32
TOKENS = 1 << 15  # of a spectrogram in the transformer; the published networks have 2688
SECONDS = 60


@dataclass(frozen=True)
class Arguments:
    """What a network is built with.

    Attributes:
        targets: stems.
        sizes: of its layers.
        rate: in Hz.
        segment: samples in training.
    """

    targets: tuple[str, ...]
    sizes: Sizes
    rate: int
    segment: int


def understood(args: Any, kwargs: Any) -> Arguments:
    """Read the class's arguments. Fractions are dicts of _type, numerator and denominator.

    Raises:
        ValueError: they are not as demucs writes them, or of another network.
    """
    if not isinstance(args, tuple | list) or not isinstance(kwargs, dict) or len(args) > 1 or (args and "sources" in kwargs):
        raise ValueError("its arguments are not as demucs writes them")
    given = ({"sources": args[0]} if args else {}) | kwargs
    if unknown := [name for name in given if name not in KNOWN]:
        name = unknown[0] if isinstance(unknown[0], str) else type(unknown[0]).__name__
        raise ValueError(f"HTDemucs has no argument {short(name)}")
    for name, (default, ours) in CHOICES.items():
        value = given.get(name, default)
        alike = type(value) is type(ours) or (type(value) in (int, float) and type(ours) in (int, float))
        if not (alike and value == ours) and not (name == "multi_freqs" and value == []):
            raise ValueError(f"its {name} is not {short(ours)}, which is all that this network has")
    sizes = Sizes(**{ours: _whole(given, name, *limits) for name, (ours, *limits) in SIZES.items()})
    if _whole(given, "norm_starts", 4, 0, 1000) < sizes.depth:
        raise ValueError("its norm_starts is less than its depth: this network has no norms between its layers")
    rate = _whole(given, "samplerate", 44100, 1000, 384_000)
    segment = int(_seconds(given.get("segment", 10)) * rate)
    frames, bins = segment * OVERLAP // sizes.fft + 1, sizes.fft // 2 // 4**sizes.depth
    if not segment or frames * bins > TOKENS:
        raise ValueError("its segment is no time, or too long for its spectrogram")
    return Arguments(_targets(given.get("sources")), sizes, rate, segment)


def _whole(given: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = given.get(name, default)
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"its {name} is not a whole number from {least:,} to {most:,}")
    return value


def _targets(sources: Any) -> tuple[str, ...]:
    if not isinstance(sources, tuple | list) or not 0 < len(sources) <= TARGETS:
        raise ValueError("its sources are not a list of names")
    if not all(isinstance(name, str) and TARGET.fullmatch(name) for name in sources) or len({*sources}) < len(sources):
        raise ValueError("its sources are not a list of different names")
    return tuple(sources)


def _seconds(value: Any) -> float | Fraction:
    """A segment's length, 0 where it is none."""
    if isinstance(value, dict):
        parts: list[Any] = [value.get("numerator"), value.get("denominator")]
        value = Fraction(*parts) if all(type(part) is int and 0 < part < 1 << 40 for part in parts) else 0
    right = type(value) in (int, float, Fraction) and 0 < value <= SECONDS
    return value if right else 0
