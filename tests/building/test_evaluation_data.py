"""A saved model is measured on images of its own size, and on its own data only as they were split in training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import limbeck
from folder_of_colours import write_folder
from limbeck.commands.evaluate import measure_saved

RECIPE: dict[str, Any] = {
    "name": "colours",
    "threads": 1,
    "precision": "fp32",
    "evaluation": {"latency_batch": 0},
    "views": {"batch_size": 16},
    "students": {
        "small": {
            "model": "lightweight_cnn",
            "epochs": 2,
            "optimizer": {"name": "adam", "lr": 3e-3},
            "loss": [{"name": "cross_entropy"}],
        }
    },
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos, and a model made for 12 px with another test part and few images held out."""
    home = tmp_path_factory.mktemp("home")
    source = f"folder:{write_folder(home / 'photos')}"
    data = {"source": source, "image_size": 12, "test": 0.3, "validation": 0.2}
    limbeck.run({**RECIPE, "data": data}, folder=home / "runs")
    return home


@pytest.fixture
def model(home: Path) -> Path:
    return home / "runs" / "colours" / "models" / "small-seed0"


def told(home: Path, split: str) -> dict[str, Any]:
    result = json.loads((home / "runs" / "colours" / "result.json").read_text(encoding="utf-8"))
    return result["arms"][0][split]


def shown(lines: list[tuple[str, str]]) -> tuple[str, str, str]:
    found = dict(lines)
    return found["images"].split()[0], found["top-1"], found["loss"]


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("named", [True, False])
def test_own_data_are_decoded_and_parted_as_in_training(home: Path, model: Path, split: str, named: bool) -> None:
    wanted = told(home, split)
    found = measure_saved(model, f"folder:{home / 'photos'}" if named else None, (), split)
    assert shown(found) == (f"{wanted['n']}", f"{wanted['top1']:.2%}", f"{wanted['loss']:.4f}")


def test_training_images_are_told_as_such(home: Path, model: Path) -> None:
    found = dict(measure_saved(model, None, (), "train"))
    assert found["images"].startswith("51 ")
    assert found["seen in training"].startswith("yes")


def test_python_measures_the_same(home: Path, model: Path) -> None:
    loaded = limbeck.load(model)
    for data in (None, f"folder:{home / 'photos'}", {"source": f"folder:{home / 'photos'}"}):
        found = limbeck.evaluate(loaded, data, split="validation")
        assert (found.n, found.loss) == (told(home, "validation")["n"], told(home, "validation")["loss"])


def test_another_way_to_the_same_folder_is_the_same_data(home: Path, model: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(home / "runs")
    found = measure_saved(model, "folder:../photos/", (), "validation")
    assert shown(found)[0] == str(told(home, "validation")["n"])


def test_moved_data_are_known_by_their_fingerprint(home: Path, model: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "photos", tmp_path / "elsewhere")
    found = measure_saved(model, f"folder:{tmp_path / 'elsewhere'}", (), "test")
    assert shown(found)[0] == str(told(home, "test")["n"]), "a default test part would hold training images, or less"
    assert dict(found)["seen in training"] == "no"


@pytest.mark.parametrize("split", ["test", "validation", "train"])
@pytest.mark.parametrize("option", ["test=0.4", "validation=0.3"])
def test_a_split_that_would_be_cut_anew_is_refused(home: Path, model: Path, split: str, option: str) -> None:
    if (split, option) == ("test", "validation=0.3"):
        assert shown(measure_saved(model, f"folder:{home / 'photos'}", [option], split))[0] == "27"
        return
    with pytest.raises(limbeck.LimbeckError) as error:
        measure_saved(model, f"folder:{home / 'photos'}", [option], split)
    about = json.loads((model / "model.json").read_text(encoding="utf-8"))["data"]
    assert about["dataset_fingerprint"][:12] in str(error.value)
    assert "\n" not in str(error.value)


def test_data_that_changed_since_training_are_refused(home: Path, model: Path, tmp_path: Path) -> None:
    moved = tmp_path / "photos"
    shutil.copytree(home / "photos", moved)
    data = {"source": f"folder:{moved}", "image_size": 12}
    run = limbeck.run({**RECIPE, "data": data}, folder=tmp_path / "runs")
    shutil.copy(moved / "red" / "000.png", moved / "red" / "999.png")
    with pytest.raises(limbeck.LimbeckError, match="may contain training images"):
        measure_saved(run.folder / "models" / "small-seed0", None, (), "test")


def test_other_data_are_decoded_for_the_model(home: Path, model: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "others", side=200, count=10, seed=1)
    for split in ("test", "validation", "train"):
        found = dict(measure_saved(model, f"folder:{tmp_path / 'others'}", (), split))
        assert found["seen in training"].startswith("unknown")
    assert found["images"].startswith("18 "), "parted with the fractions of the training data: 7 of 10, less 1"


def test_another_size_is_refused(home: Path, model: Path) -> None:
    for source, options in ((f"folder:{home / 'photos'}", ["image_size=40"]), ("digits", [])):
        with pytest.raises(limbeck.LimbeckError, match="takes images of 12 x 12 px in 3 channels") as error:
            measure_saved(model, source, options, "test")
        assert "\n" not in str(error.value)


def test_the_other_model_was_trained_on_other_data(home: Path, model: Path, tmp_path: Path) -> None:
    data = {"source": f"folder:{write_folder(tmp_path / 'others', seed=2)}", "image_size": 12}
    other = limbeck.run({**RECIPE, "data": data}, folder=tmp_path / "runs").folder / "models/small-seed0"
    assert dict(measure_saved(model, None, (), "validation", against=other))["against"] == str(other)


def test_the_other_model_was_parted_otherwise(home: Path, model: Path) -> None:
    data = {"source": f"folder:{home / 'photos'}", "image_size": 12, "test": 0.3, "validation": 0.4}
    other = limbeck.run({**RECIPE, "name": "other", "data": data}, folder=home / "runs").folder / "models/small-seed0"
    assert dict(measure_saved(model, None, (), "test", against=other))["against"] == str(other)
    with pytest.raises(limbeck.LimbeckError, match="split differently in training"):
        measure_saved(model, None, (), "validation", against=other)


def test_a_model_of_the_previous_version_is_measured_on_test_alone(home: Path, model: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(model, old)
    about = json.loads((old / "model.json").read_text(encoding="utf-8"))
    del about["data"]
    about["resolution"] = 12
    (old / "model.json").write_text(json.dumps(about), encoding="utf-8")
    options = ["test=0.3", "validation=0.2"]
    found = measure_saved(old, f"folder:{home / 'photos'}", options, "test")
    assert shown(found) == shown(measure_saved(model, None, (), "test"))
    with pytest.raises(limbeck.LimbeckError, match="only --split test"):
        measure_saved(old, f"folder:{home / 'photos'}", options, "validation")
    with pytest.raises(limbeck.LimbeckError, match="does not record its training data"):
        measure_saved(old, None, (), "test")


@pytest.mark.parametrize("option", ["validation=2", "validation=much", "tset=0.3", "test"])
def test_wrong_options_are_one_line(home: Path, model: Path, option: str) -> None:
    with pytest.raises(limbeck.LimbeckError) as error:
        measure_saved(model, f"folder:{home / 'photos'}", [option], "test")
    assert "\n" not in str(error.value)
