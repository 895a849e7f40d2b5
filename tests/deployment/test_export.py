"""Files for devices: they answer as the model does, they are whole or absent, and their proofs are true."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import limbeck
from limbeck.deployment import proof as proofs
from limbeck.deployment.formats import FORMATS, format_of
from limbeck.errors import LimbeckError
from limbeck.storage.atomic import file_digest

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def exported(trained: Path) -> dict[str, Any]:
    files = limbeck.export(trained, ["onnx", "onnx-int8"])
    return {file.proof.format: file for file in files}


def test_an_onnx_file_answers_as_the_model(trained: Path, exported: dict[str, Any]) -> None:
    model = limbeck.load(trained)
    session = onnxruntime.InferenceSession(exported["onnx"].path)
    for batch in (1, 2, 3, 7, 32, 65):
        images = torch.randint(0, 256, (batch, 3, 8, 8), dtype=torch.uint8)
        inputs = {"images": images.permute(0, 2, 3, 1).contiguous().numpy()}
        probabilities, logits = session.run(["probabilities", "logits"], inputs)
        expected = model(images)
        assert np.abs(logits - expected.numpy()).max() < 1e-4
        assert np.abs(probabilities - expected.softmax(-1).numpy()).max() < 1e-5


def test_a_proof_says_what_was_measured(trained: Path, exported: dict[str, Any]) -> None:
    for file in exported.values():
        written = json.loads(Path(f"{file.path}.json").read_text())
        assert written["sha256"] == file_digest(file.path).sha256
        assert written["images"] == 359
        assert written["failures"] == []
        assert {(time["what"], time["batch"]) for time in written["latency"]} >= {
            (what, batch) for what in ("file", "torch float32") for batch in (1, 128)
        }
    assert exported["onnx"].proof.largest_difference < 1e-4
    assert exported["onnx"].proof.agreement >= 0.999
    assert exported["onnx-int8"].path.stat().st_size < 0.6 * exported["onnx"].path.stat().st_size
    assert ("file float32", 1) in {(time.what, time.batch) for time in exported["onnx-int8"].proof.latency}


def test_a_file_knows_where_it_comes_from(trained: Path, exported: dict[str, Any]) -> None:
    onnx = pytest.importorskip("onnx")
    for file in exported.values():
        model = onnx.load(file.path)
        (entry,) = [entry for entry in model.metadata_props if entry.key == "limbeck"]
        about = json.loads(entry.value)
        assert about["class_names"] == [str(digit) for digit in range(10)]
        assert about["image_shape"] == [3, 8, 8]
        assert about["layout"] == "nhwc"
        assert about["recipe"]["name"] == "digits"
        assert about["model_sha256"] == json.loads((trained / "model.json").read_text())["sha256"]
        assert [opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")] == [about["opset"]]
        assert not [node.op_type for node in model.graph.node if node.op_type == "BatchNormalization"]
        assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_the_report_of_the_run_shows_them_once(trained: Path, limbeck: Any) -> None:
    for _ in range(2):
        limbeck("export", trained, "--to", "onnx", cwd=trained)
    text = (trained.parent.parent / "report.md").read_text()
    assert text.count("## Exported files") == 1
    assert text.index("## Exported files") < text.index("## Run details")
    (trained / "export" / "student.onnx").write_bytes(b"another file")
    limbeck("export", trained, "--to", "onnx-int8", cwd=trained)
    assert "not the file that was proven" in (trained.parent.parent / "report.md").read_text()


def test_a_report_that_is_written_again_still_shows_them(trained: Path, limbeck: Any) -> None:
    run = trained.parent.parent
    limbeck("export", trained, "--to", "onnx", cwd=run)
    before = (run / "report.md").read_text()
    limbeck("report", run, cwd=run)
    after = (run / "report.md").read_text()
    parts = [text[text.index("## Exported files") : text.index("## Run details")] for text in (before, after)]
    assert parts[0] == parts[1]


def test_int8_that_loses_too_much_is_refused(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from limbeck.deployment import export as room

    black = np.zeros((4, 8, 8, 3), np.uint8)  # with these alone every activation range is wrong
    monkeypatch.setattr(room, "calibration_images", lambda *_: black)
    with pytest.raises(
        LimbeckError, match=r"student\.int8\.onnx: not written: int8 loses .* points of top-1 .*--force"
    ):
        limbeck.export(trained, "onnx-int8", out=tmp_path)
    assert list(tmp_path.iterdir()) == []
    (kept,) = limbeck.export(trained, "onnx-int8", out=tmp_path, force=True)
    assert kept.proof.failures
    assert "not written" not in kept.path.with_name(f"{kept.path.name}.json").read_text()


def test_a_float_file_that_answers_otherwise_is_refused(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from limbeck.deployment.graph import DeployedModel

    forward = DeployedModel.forward

    def shifted(self: DeployedModel, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        probabilities, logits = forward(self, images)
        return probabilities, logits + 0.001

    monkeypatch.setattr(DeployedModel, "forward", shifted)
    with pytest.raises(LimbeckError, match=r"not written: a logit differs by 1\.0e-03; at most 1e-04 is allowed"):
        limbeck.export(trained, "onnx", out=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"to": "onxx"}, r"--to: no format 'onxx'; did you mean 'onnx'\?"),
        ({"layout": "nhcw"}, r"--layout: expected nhwc or nchw; got 'nhcw'"),
        ({"to": "onnx-int8", "calibration": "min_max"}, r"--calibration: no method 'min_max'; did you mean 'minmax'\?"),
        ({"calibration_images": 0}, r"--calibration-images: expected at least 1; got 0"),
        ({"largest_drop": 2.0}, r"--largest-drop: expected a fraction from 0 to 1; got 2\.0"),
        ({"threads": 10_000}, r"--threads: expected 1 to \d+, the cores of this process; got 10000"),
        ({"threds": 1}, r"export: no setting 'threds'; did you mean 'threads'\?"),
    ],
)
def test_wrong_words_are_named(trained: Path, tmp_path: Path, words: dict[str, Any], message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        limbeck.export(trained, **{"to": "onnx", "out": tmp_path / "out", **words})
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "kind", [kind for kind in FORMATS if kind.suffix.endswith(".onnx")], ids=lambda kind: kind.name
)
def test_foreign_and_damaged_files_get_one_line(kind: Any, exported: dict[str, Any], tmp_path: Path) -> None:
    whole = exported[kind.name].path.read_bytes()
    module = kind.load()
    path = tmp_path / f"file{kind.suffix}"
    for content in (b"", b"not a model", whole[: len(whole) // 2], b"\0" * 1000):
        path.write_bytes(content)
        with pytest.raises(LimbeckError) as error:
            module.open_session(path, 1)
        assert "\n" not in str(error.value) and str(path) in str(error.value)
    with pytest.raises(LimbeckError, match="cannot be read"):
        module.open_session(tmp_path / f"none{kind.suffix}", 1)


def test_foreign_and_damaged_openvino_folders_get_one_line(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    from limbeck.deployment import openvino_file

    (file,) = limbeck.export(trained, "openvino", out=tmp_path)
    for name in ("model.xml", "model.bin"):
        part = file.path / name
        whole = part.read_bytes()
        for content in (b"", b"not a model", whole[: len(whole) // 2]):
            part.write_bytes(content)
            with pytest.raises(LimbeckError) as error:
                openvino_file.open_session(file.path, 1)
            assert "\n" not in str(error.value) and str(file.path) in str(error.value)
        part.write_bytes(whole)
    openvino_file.open_session(file.path, 1)
    with pytest.raises(LimbeckError, match="damaged, or not an OpenVINO file"):
        openvino_file.open_session(tmp_path / "none.openvino", 1)


@pytest.mark.middle
@pytest.mark.parametrize(("to", "package"), [("executorch", "executorch"), ("litert", "litert_torch")])
def test_files_of_phones_are_proven_and_damage_gets_one_line(
    to: str, package: str, trained: Path, tmp_path: Path
) -> None:
    if importlib.util.find_spec(package) is None:
        with pytest.raises(LimbeckError, match=rf"needs {package}: pip install 'limbeck\[{to}\]'"):
            limbeck.export(trained, to, out=tmp_path)
        return
    (file,) = limbeck.export(trained, to, out=tmp_path)
    assert file.proof.agreement == 1 and file.proof.failures == ()
    whole, module = file.path.read_bytes(), format_of(file.path).load()
    for content in (b"", b"not a model", whole[: len(whole) // 2], whole[:-500], b"\0" * 1000):
        file.path.write_bytes(content)
        with pytest.raises(LimbeckError) as error:
            module.open_session(file.path, 1)
        assert "\n" not in str(error.value) and str(file.path) in str(error.value)


def test_a_format_is_known_by_its_suffix() -> None:
    assert format_of(Path("a/student.int8.onnx")).name == "onnx-int8"
    assert format_of(Path("a/student.onnx")).name == "onnx"
    with pytest.raises(LimbeckError, match="not an exported file"):
        format_of(Path("a/student.pt"))


def test_an_export_in_place_of_another_leaves_nothing_over(trained: Path, tmp_path: Path) -> None:
    for _ in range(2):
        limbeck.export(trained, "onnx", out=tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["student.onnx", "student.onnx.json"]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from limbeck.packages import need

    with pytest.raises(LimbeckError, match=r"export to onnx: needs nowhere: pip install 'limbeck\[export\]'"):
        need("nowhere.at_all", "export", "export to onnx")


def test_latencies_are_interleaved() -> None:
    from limbeck.evaluation.interleaved import interleaved_latencies

    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    found = interleaved_latencies(calls, repeats=4)
    assert order == ["a"] * 3 + ["b"] * 3 + ["a", "b"] * 4
    assert {latency.repeats for latency in found.values()} == {4}
    assert proofs.BATCHES == (1, 2, 3, 7, 32)
