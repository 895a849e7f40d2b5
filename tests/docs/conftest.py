"""A folder with the files that the documentation speaks of."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from documentation import recipe_called

from folder_of_colours import write_folder
from limbeck import Normalisation, distill
from limbeck.cli import app
from limbeck.commands.catalogue import copy_shipped
from limbeck.models.resnet import build

SMALL = ("evaluation.latency_batch=0", "threads=1", "precision=fp32", "students.defaults.epochs=1", "seeds=[0]")
TRAINED = {"quickstart": "resnet", "mine.yaml": "resnet", "photos.yaml": "big"}
"""The teacher that a recipe trains."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos of two classes, and the recipes of Getting started beside it."""
    folder = tmp_path_factory.mktemp("documentation")
    colours = write_folder(folder / "colours", count=65)
    (folder / "photos").mkdir()
    for colour, name in {"blue": "cat", "red": "dog"}.items():
        (colours / colour).rename(folder / "photos" / name)
    for recipe in ("photos", "taught"):
        (folder / f"{recipe}.yaml").write_text(recipe_called(recipe), encoding="utf-8")
    copy_shipped("quickstart", folder / "recipe.yaml")
    return folder


@pytest.fixture
def teacher(place: Path) -> None:
    """A pickled teacher of the photos, as a training script would leave it."""
    torch.manual_seed(0)
    model = build(2, depth=20)
    normalisation = Normalisation((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))
    data = {"source": f"folder:{place / 'photos'}", "image_size": 64}
    asked = {"student_normalisation": normalisation, "student_resolution": 32}
    distill(model, None, data=data, epochs=8, views={"batch_size": 16}, **asked)
    torch.save({"model": model.state_dict(), "epoch": 3}, place / "teacher.pth")


@pytest.fixture
def limbeck(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """Run a command as the documentation writes it, in this process; runs are made small by overrides."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("LIMBECK_CACHE", str(place / "cache"))
    monkeypatch.setenv("LIMBECK_DATA", str(place / "data"))

    def call(line: str) -> int:
        words = shlex.split(line, comments=True)
        assert words.pop(0) == "limbeck"
        if words[0] == "run" and "--dry-run" not in words:
            small = SMALL[:-1] if "--extend" in words else SMALL
            words += [*small, *([f"teachers.{TRAINED[words[1]]}.epochs=1"] if words[1] in TRAINED else [])]
        return app(words, prog_name="limbeck", standalone_mode=False) or 0

    return call
