"""Run folders that are damaged: what is refused, what is gone back to, and what is said."""

import io
import json
import resource
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import keras
import networks
import numpy as np
import pytest

from kerasep.errors import KerasepError
from kerasep.training import checkpoint
from kerasep.training.recipe import Recipe
from kerasep.training.record import DIGEST, load_record
from kerasep.training.runs import load_run, save_weights
from kerasep.training.trainer import train


@pytest.fixture
def run(tmp_path) -> Path:
    return Path(shutil.copytree(networks.run("loop"), tmp_path / "run"))


def changed(run: Path, change) -> None:
    """Change a run's record."""
    record = json.loads((run / "run.json").read_text())
    change(record)
    (run / "run.json").write_text(json.dumps(record))


def refused(run: Path, match: str) -> None:
    with pytest.raises(KerasepError, match=match) as caught:
        load_run(run)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


def flipped(content: bytes, bit: int) -> bytes:
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def test_weights_with_a_bit_flipped(run):
    """Most are numbers, which nothing but the record's sha256 would tell."""
    path = run / "best.weights.h5"
    whole = path.read_bytes()
    for bit in np.random.default_rng(0).integers(8 * len(whole), size=20):
        path.write_bytes(flipped(whole, int(bit)))
        refused(run, r"best\.weights\.h5: damaged, or not the weights that run\.json is about")


def test_weights_of_before_with_a_bit_flipped(run):
    """Runs of before have no sha256: they are read, and what HDF5 says of damaged ones is one line."""
    changed(run, lambda record: record.pop(DIGEST))
    load_run(run)
    path = run / "best.weights.h5"
    whole, errors = path.read_bytes(), 0
    for bit in np.random.default_rng(0).integers(8 * min(len(whole), 4000), size=40):
        path.write_bytes(flipped(whole, int(bit)))
        try:
            load_run(run)
        except KerasepError as error:
            assert "its weights are damaged" in str(error) and "\n" not in str(error)
            errors += 1
    assert errors


def test_weights_larger_than_their_file(run):
    import h5py

    changed(run, lambda record: record.pop(DIGEST))
    with h5py.File(run / "best.weights.h5", "r+") as file:
        file.create_dataset("more", (10**6, 10**6), "f4", compression="gzip")  # nothing of it is stored
    refused(run, "more is larger than the file")


RECORDS = ["", "[]", "null", "3", "{}", "{", '"text"', 100_000 * "[", '{"recipe": {}}', '{"recipe": 1e999}']


@pytest.mark.parametrize("text", RECORDS)
def test_records_that_are_none(run, text):
    (run / "run.json").write_text(text)
    refused(run, r"run\.json: damaged or of another version")


@pytest.mark.parametrize("name", ["recipe", "targets", "epochs", "songs"])
@pytest.mark.parametrize("value", [None, "missing", 3, "text", [3], {"a": 3}, [], float("nan")])
def test_records_of_wrong_values(run, name, value):
    fitting = {"epochs": [[]], "songs": []}
    if value in fitting.get(name, []):
        return

    def change(record):
        record[name] = value
        if value == "missing":
            del record[name]

    changed(run, change)
    refused(run, r"run\.json: damaged or of another version")


@pytest.mark.parametrize(("name", "value"), [("defaults", []), ("files", "a"), ("best", 3), ("finished", "no")])
def test_records_of_wrong_values_that_may_be_missing(run, name, value):
    changed(run, lambda record: record.update({name: value}))
    refused(run, f"{name} is ")


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_a_record_cut_short(run, cut):
    content = (run / "run.json").read_bytes()
    (run / "run.json").write_bytes(content[:cut])
    refused(run, "damaged or of another version")


# --- checkpoints ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path) -> tuple[Path, SimpleNamespace, dict]:
    """A folder with the states after two epochs, in which a variable is 1 and 2; what has the state; and the record."""
    variable = keras.Variable(np.zeros(1000, np.float32))
    learner = SimpleNamespace(state=[variable], optimizer=SimpleNamespace(variables=[]))
    record = load_record(networks.run("loop")) | {"epochs": []}
    for epoch in (1, 2):
        variable.assign(np.full(1000, epoch, np.float32))
        record["epochs"].append({"seconds": 1.0, "validation_db": float(epoch)})
        checkpoint.save(tmp_path, learner, record)
    variable.assign(np.zeros(1000, np.float32))
    return tmp_path, learner, record


def archive(**arrays) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def marked(content: bytes, place: int, value: int) -> bytes:
    """An archive whose directory says something else of its first member."""
    start = content.index(b"PK\x01\x02") + place
    return content[:start] + bytes([value]) + content[start + 1 :]


def foreign(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as other:
        other.writestr("hello.txt", "hello")
    return file.getvalue()


RECORD = np.frombuffer(b'{"recipe": {}}', np.uint8)
DAMAGE = {
    "empty": lambda content: b"",
    "text": lambda content: b"not an archive",
    "array": lambda content: b"\x93NUMPY\x01\x00",
    "foreign": foreign,
    "half": lambda content: content[: len(content) // 2],
    "short": lambda content: content[:-10],
    "encrypted": lambda content: marked(content, 8, 1),
    "method": lambda content: marked(content, 10, 99),
    "deflated": lambda content: marked(content, 10, 8),
    "shape": lambda content: archive(**{"00000": np.zeros(3, np.float32), "record": RECORD}),
    "type": lambda content: archive(**{"00000": np.zeros(1000, "U1"), "record": RECORD}),
    "record": lambda content: archive(**{"00000": np.zeros(1000, np.float32), "record": RECORD}),
    "deep": lambda content: archive(**{"00000": np.zeros(1000), "record": np.frombuffer(b"[" * 100_000, np.uint8)}),
}
DAMAGE |= {f"bit {bit}": lambda content, bit=bit: flipped(content, 97 * bit) for bit in range(20)}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_gone_back_from(state, capsys, kind):
    folder, learner, _ = state
    newest = folder / "epoch-00002.npz"
    newest.write_bytes(DAMAGE[kind](newest.read_bytes()))
    record = checkpoint.restore(folder, learner)
    values = np.asarray(learner.state[0])
    said = capsys.readouterr().err
    if len(record["epochs"]) == 2:  # a bit of no consequence
        assert kind.startswith("bit") and (values == 2).all() and not said
    else:
        assert (values == 1).all()
        assert said.count("\n") == 1 and "epoch-00002.npz: damaged (" in said and "going on from the one before" in said


def test_a_run_is_not_begun_again_over_damaged_checkpoints(state):
    folder, learner, _ = state
    for path in folder.glob("*.npz"):
        path.write_bytes(b"")
    with pytest.raises(KerasepError, match="none of its files can be read"):
        checkpoint.restore(folder, learner)


@pytest.mark.parametrize("name", ["weights", "checkpoint"])
def test_a_full_disk(state, name):
    """Here it is a limit to the size of files. HDF5 would end the process."""
    folder, learner, record = state
    network, before = load_run(networks.run("loop"))[1], sorted(folder.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(KerasepError, match=r"cannot be written \(File too large\)"):
            save_weights(network, folder, record) if name == "weights" else checkpoint.save(folder, learner, record)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(folder.iterdir()) == before
    save_weights(network, folder, record)


def test_weights_that_are_newer_than_the_checkpoint(runs, hq_root, tmp_path, capsys):
    """The run was killed after it kept them, before it wrote its state: they are kept again, or others in their place."""
    run = Path(shutil.copytree(runs["vocals"], tmp_path / "run"))
    expected = load_record(run)
    (run / "checkpoints" / "epoch-00002.npz").unlink()
    (run / "run.json").unlink()
    with (run / "best.weights.h5").open("r+b") as file:
        file.truncate(1000)
    record = train(Recipe.from_json(expected["recipe"]), ("vocals",), [hq_root], run, resume=True)
    assert capsys.readouterr().err.count("best.weights.h5: damaged, or newer than the epoch to go on from") == 1
    assert len(record["epochs"]) == 2 and record["best"]["epoch"] == 2
    load_run(run)
