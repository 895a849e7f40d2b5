"""A student that was trained for int8 is exported with the scales it learned, and its file answers as it does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import limbeck
from limbeck.building.quantised_student import QuantisedStudent
from limbeck.deployment.learned_scales import with_explicit_quantisation
from limbeck.errors import LimbeckError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of a run: one student in float, and the same with `quantise: int8`."""
    recipe = {
        "name": "digits",
        "threads": 1,
        "evaluation": {"latency_batch": 0},
        "data": {"source": "digits"},
        "views": {"batch_size": 64},
        "students": {
            "defaults": {
                "model": {"name": "resnet", "depth": 8, "widths": [8, 16, 32]},
                "epochs": 4,
                "optimizer": {"name": "adam", "lr": 3e-3},
                "loss": [{"name": "cross_entropy"}],
            },
            "float": {},
            "int8": {"quantise": "int8"},
        },
    }
    return limbeck.run(recipe, folder=tmp_path_factory.mktemp("runs")).folder


def test_a_saved_model_is_quantised_when_it_is_loaded_and_as_accurate_as_the_run_says(trained: Path) -> None:
    folder = trained / "models" / "int8-seed0"
    assert json.loads((folder / "model.json").read_text())["quantise"] == "int8"
    assert "quantise" not in json.loads((trained / "models" / "float-seed0" / "model.json").read_text())
    assert isinstance(limbeck.load(folder).model, QuantisedStudent)
    (row,) = [arm for arm in json.loads((trained / "result.json").read_text())["arms"] if arm["arm"] == "int8"]
    assert limbeck.evaluate(limbeck.load(folder)).top1 == row["test"]["top1"] > 0.8


def test_the_file_has_the_learned_scales_and_answers_as_the_model(trained: Path, tmp_path: Path) -> None:
    folder = trained / "models" / "int8-seed0"
    (file,) = limbeck.export(folder, "onnx-int8", out=tmp_path)
    assert file.proof.agreement >= 0.99
    assert file.proof.failures == ()
    graph = onnx.load(file.path).graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    scales = [float(value) for value in stored.values() if value.dtype == np.float32 and value.ndim == 0]
    network = limbeck.load(folder).model
    learned = [
        module.scale.item()
        for name, module in network.network.named_modules()
        if name.startswith("activation_post_process") and hasattr(module, "scale")
    ]
    assert learned and all(any(abs(scale - one) < 1e-9 for one in scales) for scale in learned)
    assert not [value for value in stored.values() if value.dtype == np.float32 and value.ndim > 1 and value.size > 3]
    assert {value.dtype.name for value in stored.values() if value.ndim == 4 and value.size > 3} == {"int8"}
    assert not [node for node in graph.node if node.op_type == "BatchNormalization"]
    (entry,) = [entry for entry in onnx.load(file.path).metadata_props if entry.key == "limbeck"]
    assert json.loads(entry.value)["calibration"] == "learned"


def test_it_is_no_larger_than_the_file_quantised_after_training(trained: Path, tmp_path: Path) -> None:
    learned, after = (
        limbeck.export(trained / "models" / f"{arm}-seed0", "onnx-int8", out=tmp_path / arm)[0]
        for arm in ("int8", "float")
    )
    assert learned.path.stat().st_size <= 1.02 * after.path.stat().st_size


def test_the_graph_for_export_answers_as_the_model_but_for_roundings_that_fall_the_other_way(trained: Path) -> None:
    network = limbeck.load(trained / "models" / "int8-seed0").model
    pixels = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = network(pixels).logits, with_explicit_quantisation(network)(pixels).logits
    assert (found.argmax(1) == expected.argmax(1)).float().mean() >= 0.96
    assert (found - expected).abs().median() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_float_formats_refuse_it(trained: Path, tmp_path: Path, to: str) -> None:
    with pytest.raises(LimbeckError, match=r"was trained for int8 \(quantise: int8\); export it with --to onnx-int8"):
        limbeck.export(trained / "models" / "int8-seed0", to, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_disagrees_is_refused(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from limbeck.deployment import proof

    monkeypatch.setattr(proof, "LEAST_AGREEMENT_INT8", 1.01)
    with pytest.raises(LimbeckError, match=r"not written: only .* of the top classes agree with the model"):
        limbeck.export(trained / "models" / "int8-seed0", "onnx-int8", out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_model_json_with_an_unknown_word_is_refused(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("model.json", "model.safetensors"):
        (folder / name).write_bytes((trained / "models" / "int8-seed0" / name).read_bytes())
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(about | {"quantise": "int4"}))
    with pytest.raises(LimbeckError, match="damaged, or not of Limbeck"):
        limbeck.load(folder)
