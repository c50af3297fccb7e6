"""docs/adding_a_model.md is true: its code runs, and its network goes all the way."""

import re

import numpy as np
from conftest import ROOT, SHORT

from kerasep import models
from kerasep.conversion.pack import pack
from kerasep.inference.artifact import Artifact
from kerasep.training.recipe import RECIPES
from kerasep.training.trainer import train

PAGE = (ROOT / "docs" / "adding_a_model.md").read_text()


def test_the_pages_code(hq_root, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "NETWORKS", dict(models.NETWORKS))
    names = {"NETWORKS": models.NETWORKS, "Network": models.Network, "build": models.build}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, names)  # noqa: S102 - that is what is tested

    settings = ["network=toy", 'options={"filters": 4}', "spectrogram.fft=256", "spectrogram.hop=64", "epochs.vocals=1"]
    recipe = RECIPES["conv"].override([*settings, *SHORT, "epochs.drums=1"])
    train(recipe, ("vocals", "drums"), [hq_root], tmp_path / "toy")
    manifest = pack([tmp_path / "toy"], tmp_path / "toy.onnx")
    assert manifest.graph.blocks.context == 2 and manifest.multiply_adds > 0
    outputs = Artifact(tmp_path / "toy.onnx").estimate(np.ones((9, 129, 2), np.float32))
    assert set(outputs) == {"vocals", "drums"}
