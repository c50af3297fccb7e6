"""Measurements that are added to."""

import json

import pytest

from kerasep.errors import KerasepError
from kerasep.measurements import load_or_start


def test_starts_then_continues(tmp_path):
    head = {"versions": {"numpy": "2"}, "graphs": []}
    path = tmp_path / "measured.json"
    assert load_or_start(path, head) == head
    path.write_text(json.dumps({**head, "graphs": ["conv"]}))
    assert load_or_start(path, head)["graphs"] == ["conv"]
    with pytest.raises(KerasepError, match="measured with other versions of packages: name another file"):
        load_or_start(path, {**head, "versions": {"numpy": "3"}})
