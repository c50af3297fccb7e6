"""The results that README and docs quote: records of training runs, scores by mask, scores of systems."""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from kerasep.evaluation.evaluate import SUMMARY, Metrics, evaluate_system
from kerasep.evaluation.report import write_report
from kerasep.evaluation.systems import Ideal, Mixture, Model, Oracle, System
from kerasep.files import write_json
from kerasep.inference.artifact import sha256
from kerasep.training.record import WEIGHTS, load_record

# Masks and filters to choose from; the best on the validation songs is the default of `conv`.
MASKS = [("none", 1.0, 0), ("ratio", 1.0, 0), ("ratio", 1.5, 0), ("ratio", 2.0, 0), ("binary", 1.0, 0)]
MASKS += [("none", 1.0, 1), ("ratio", 1.0, 1), ("ratio", 2.0, 1)]


def masks(model: str, root: Path, output: Path) -> None:
    """SDR of a model's stems on the validation songs by mask and filter, into OUTPUT/masks/."""
    for mask, exponent, iterations in MASKS:
        system = Model(model, None, mask, exponent, iterations)
        _evaluate(system, root, "validation", output / "masks" / f"{mask}-{exponent:g}-wiener-{iterations}", Metrics.SDR)


def scores(models: dict[str, str], root: Path, output: Path) -> None:
    """All metrics of models on the test songs, into OUTPUT/test/, and a report on all the scores there.

    Floor and oracles, which do not change, are scored only where their scores are missing.

    Args:
        models: {name of the folder: model's name or file}, first the one that the others are compared with.
    """
    folder = output / "test"
    systems: dict[str, System] = {name: Model(model) for name, model in models.items()}
    known: dict[str, System] = {
        "mixture": Mixture(),
        "irm": Oracle(Ideal.IRM),
        "ibm": Oracle(Ideal.IBM),
        "mwf": Oracle(Ideal.MWF),
    }
    systems |= {name: system for name, system in known.items() if not (folder / name / SUMMARY).exists()}
    for name, system in systems.items():
        _evaluate(system, root, "test", folder / name, Metrics.ALL)
    others = sorted(path.parent.name for path in folder.glob(f"*/{SUMMARY}") if path.parent.name not in models)
    write_report([folder / name for name in (*models, *others)], folder)


def runs(folders: list[Path], output: Path) -> None:
    """The records of training runs in one file, without the command lines, whose paths say nothing elsewhere."""
    records = [load_record(folder) for folder in folders]
    write_json(output, [{key: value for key, value in record.items() if key != "arguments"} for record in records])


def trials(tried: list[Path], root: Path, output: Path) -> None:
    """Add the SDR of trial runs on the validation songs to OUTPUT, by the names of their folders.

    Means over songs: most trials change less than the noise of a median of 14 songs.

    Args:
        tried: run folders with all targets, or packed files.
    """
    from kerasep.conversion.pack import pack  # imports TensorFlow, which most benchmarks run without

    found = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
    for path in tried:
        with TemporaryDirectory(prefix="kerasep-") as scratch:
            record, model = None, path
            if path.is_dir():
                record, model = load_record(path), Path(scratch) / "model.onnx"
                pack([path], model, licence="of a trial")
            summary = evaluate_system(Model(str(model)), root, "validation", Path(scratch) / "scores", metrics=Metrics.SDR)
        sdr = {target: means["SDR"] for target, means in summary["mean"].items()}
        name, digest = (path.name, sha256(path / WEIGHTS)) if record else (path.stem, sha256(path))
        trial = {"sdr": sdr, "songs": summary["songs"], "sha256": digest}
        if record:
            trial |= {key: record[key] for key in ("recipe", "seed", "parameters", "machine", "versions", "best")}
            trial["songs_to_train_on"] = len(record["songs"]["train"])
            trial["epochs"] = len(record["epochs"])
            trial["seconds"] = sum(epoch["seconds"] for epoch in record["epochs"])
        found[name] = trial
        print(f"{name}: {', '.join(f'{target} {value:.2f}' for target, value in sdr.items())}")
        write_json(output, found)


def _evaluate(system: System, root: Path, subset: str, folder: Path, metrics: Metrics) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    summary = evaluate_system(system, root, subset, folder, metrics=metrics)
    shutil.rmtree(folder / subset)  # every frame of every song: too much to keep in the repository
    values = (f"{target} {medians['SDR']:.2f}" for target, medians in summary["median"].items())
    print(f"{folder.name}: {', '.join(values)}")
