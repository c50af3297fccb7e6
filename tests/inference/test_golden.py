"""Networks against golden files that PyTorch made (tests/make_golden.py): originals, and transcriptions of what has none."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from golden_files import golden

from kerasep.importers import openunmix, spleeter
from kerasep.inference.chunking import crossfade, cut
from kerasep.models import build
from kerasep.signal.spectrogram import Spectrogram
from kerasep.training.losses import DeepConvSepError


def same(ours, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    ours = np.asarray(ours)
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("case", ["stereo", "mono", "causal", "deep"])
def test_open_unmix_is_pytorchs(case):
    state, given = golden("openunmix", f"{case}/state/"), golden("openunmix", f"{case}/")
    state = {name: values.astype(np.float32) for name, values in state.items()}
    sizes = openunmix.sizes_of(state, Path("golden.pth"))
    spectrogram = Spectrogram(fft=2 * (sizes.bins - 1), hop=(sizes.bins - 1) // 2, channels=sizes.channels)
    model = build("openunmix", spectrogram, openunmix.options_of(sizes, spectrogram), ("vocals",))
    openunmix.check(state, sizes, Path("golden.pth"))
    openunmix.assign(model.get_layer("vocals"), state, sizes)
    same(model(given["input"])["vocals"], given["output"])
    configured = json.loads(str(given["config"]))
    assert sizes.bidirectional is not configured.get("unidirectional", False)


@pytest.mark.parametrize(("case", "targets"), [("2stems", 1), ("4stems", 1), ("5stems", 5)])
def test_spleeter_is_pytorchs(case, targets):
    weights, given = golden("spleeter", f"{case}/weights/"), golden("spleeter", f"{case}/")
    names = tuple(key.removeprefix("output/") for key in given if key.startswith("output/"))
    assert len(names) == targets
    filters = [weights[f"conv2d{number}/bias"].size for number in ("", "_1", "_2", "_3", "_4", "_5")]
    spectrogram = Spectrogram(fft=256, hop=64, padding="window")
    options = {"elu": case != "2stems", "softmax": case == "5stems", "filters": filters, "bins": 64, "frames": 64}
    model = build("spleeter", spectrogram, options, names)
    used: set[str] = set()
    for number, target in enumerate(names):
        spleeter.assign(model.get_layer(target), weights, number, used, Path("golden"))
    assert used == set(weights)
    outputs = model(np.pad(given["input"], ((0, 0), (0, 0), (0, 129 - 64), (0, 0))))
    for target in names:
        same(outputs[target][:, :, :64], given[f"output/{target}"])
        assert not np.asarray(outputs[target][:, :, 64:]).any()


def deepconvsep(case: str) -> keras.Model:
    """The network with a golden file's weights; a flattened window there has filters before frames.

    It is scaled for 64 samples, the file's for 1024: what is 4 times as loud there is the same.
    """
    weights = golden("deepconvsep", f"{case}/weights/")
    targets = ("vocals", "bass", "drums", "other")
    filters, hidden = weights["conv1/bias"].size, weights["shared/bias"].size
    inner = weights["shared/kernel"].shape[0] // filters
    spectrogram = Spectrogram(channels=1, fft=64, hop=32, window="blackmanharris", padding="zeros")
    options = {"filters": filters, "hidden": hidden, "published": case == "published"}
    model = build("deepconvsep", spectrogram, options, targets)

    def frames_first(kernel):
        return kernel.reshape(filters, inner, -1).swapaxes(0, 1).reshape(kernel.shape)

    def give(layer, *arrays):
        model.get_layer(layer).set_weights(list(arrays))

    give("vertical", weights["conv1/kernel"].reshape(1, -1, 1, filters), weights["conv1/bias"])
    give("vertical_bias", weights["conv1/bias2"])
    give("horizontal", weights["conv2/kernel"], weights["conv2/bias"])
    give("horizontal_bias", weights["conv2/bias2"])
    give("shared", frames_first(weights["shared/kernel"]), weights["shared/bias"])
    for number, target in enumerate(targets):
        if f"{target}/kernel" in weights:
            kernel, bias = weights[f"{target}/kernel"], weights[f"{target}/bias"]
            give(f"{target}_dense", frames_first(kernel.T).T, frames_first(bias[:, None])[:, 0])
        give(f"{target}_bias", weights["output/bias"][number : number + 1])
    return model


@pytest.mark.parametrize("case", ["right", "published"])
def test_deepconvsep_is_its_transcription(case):
    model, given = deepconvsep(case), golden("deepconvsep", f"{case}/")
    outputs = model(given["input"][..., None] / 4)
    for target, output in outputs.items():
        same(4 * output[..., 0], given[f"output/{target}"])
    same(4 * sum(outputs.values())[..., 0], given["input"])


def test_windows_are_stitched_as_deepconvseps():
    model, given = deepconvsep("right"), golden("deepconvsep", "stitched/")
    windows = cut(given["input"][0, :, :, None], 30, 5)
    for target, output in model(windows / 4).items():
        same(4 * crossfade(np.asarray(output), 5)[:83, :, 0], given[f"output/{target}"][0])


def test_deepconvseps_loss_and_its_parts():
    given = golden("deepconvsep", "loss/")
    targets = ("other", "drums", "vocals", "bass")  # in any order
    references, estimates = (np.stack([given[f"{side}/{t}"] for t in targets], axis=1) for side in ("reference", "estimate"))
    loss = DeepConvSepError(targets)
    for name, part in loss.parts(references, estimates).items():
        same(part, given[name])
    same(loss.call(references, estimates), given["total"])


def test_conv_is_its_transcription():
    weights, given = golden("conv", "weights/"), golden("conv")
    bins = given["input"].shape[2]
    spectrogram = Spectrogram(fft=2 * (bins - 1), hop=(bins - 1) // 2)
    sizes = {"vertical": weights["c1/bias"].size, "horizontal": weights["c2/bias"].size, "hidden": weights["fc1/bias"].size}
    model = build("conv", spectrogram, sizes, ("vocals",))
    for layer in ("c1", "c2", "fc1", "fc2", "d1", "d2"):
        model.get_layer("vocals").get_layer(layer).set_weights([weights[f"{layer}/kernel"], weights[f"{layer}/bias"]])
    same(model(given["input"])["vocals"], given["output"])


def test_parameters_are_those_of_the_originals():
    four = ("vocals", "bass", "drums", "other")
    seen = Spectrogram(channels=1, fft=1024, hop=512, window="blackmanharris", padding="zeros")
    assert build("deepconvsep", seen, {}, four).count_params() == 578_682
    assert build("deepconvsep", seen, {"published": True}, four).count_params() == 475_482
    # Deezer's checkpoint has 19,653,520 numbers; two of them are its step, 4096 a normalisation that nothing comes of
    assert build("spleeter", Spectrogram(padding="window"), {}, ("vocals", "accompaniment")).count_params() == 19_649_422
