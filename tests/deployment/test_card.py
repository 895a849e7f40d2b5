"""The repository folder of a model: what it says is true, and it loads again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML

import limbeck
from limbeck.deployment.card import card
from limbeck.errors import LimbeckError


def test_a_card_loads_again_and_says_what_was_measured(trained: Path, tmp_path: Path) -> None:
    folder = card(trained, tmp_path / "card", license="mit")
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    again, before = limbeck.load(folder), limbeck.load(trained)
    assert torch.equal(again(images), before(images))
    assert again.class_names == before.class_names
    text = (folder / "README.md").read_text()
    head = YAML(typ="safe").load(text.split("---\n")[1])
    (row,) = json.loads((trained.parent.parent / "result.json").read_text())["arms"]
    (result,) = head["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == pytest.approx(row["test"]["top1"], abs=1e-6)
    assert result["dataset"]["split"] == "test"
    assert head["license"] == "mit" and head["pipeline_tag"] == "image-classification"
    assert f"{100 * row['test']['top1']:.2f} %" in text and "labels only" in text
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"]["3"] == "3" and config["num_labels"] == 10
    assert (folder / "labels.txt").read_text().split() == [str(digit) for digit in range(10)]


def test_it_has_the_exported_files_and_no_path_of_this_machine(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    limbeck.export(trained, "onnx")
    folder = card(trained, tmp_path / "card")
    assert (folder / "student.onnx").read_bytes() == (trained / "export" / "student.onnx").read_bytes()
    assert "`student.onnx`" in (folder / "README.md").read_text()
    for file in ("README.md", "config.json"):
        assert str(trained.parent.parent.parent) not in (folder / file).read_text()


def test_what_cannot_be_written_is_named(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(LimbeckError, match="holds other files"):
        card(trained, tmp_path)
    with pytest.raises(LimbeckError, match="no model here"):
        card(tmp_path / "none", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(LimbeckError, match=r"config\.json: damaged, or not of Limbeck"):
        limbeck.load(foreign)
