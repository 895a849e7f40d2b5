"""A folder with the files that the documentation speaks of."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from documentation import photos_recipe

from folder_of_colours import write_folder
from limbeck.cli import app
from limbeck.commands.catalogue import copy_shipped
from limbeck.models.resnet import build

SMALL = ("evaluation.latency_batch=0", "threads=1", "precision=fp32", "seeds=[0]", "students.defaults.epochs=1")
TEACHERS = {"quickstart": "resnet", "mine.yaml": "resnet", "photos.yaml": "big"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of two classes, `photos.yaml` as in Getting started, and a pickled teacher of these classes."""
    folder = tmp_path_factory.mktemp("documentation")
    write_folder(folder / "photos", count=12)
    (folder / "photos" / "blue").rename(folder / "photos" / "cat")
    (folder / "photos" / "red").rename(folder / "photos" / "dog")
    for path in (folder / "photos" / "green").iterdir():
        path.unlink()
    (folder / "photos" / "green").rmdir()
    (folder / "photos.yaml").write_text(photos_recipe(), encoding="utf-8")
    copy_shipped("quickstart", folder / "recipe.yaml")
    torch.manual_seed(0)
    torch.save({"state_dict": build(2, depth=20).state_dict()}, folder / "teacher.pth")
    return folder


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
            words += [*SMALL, f"teachers.{TEACHERS[words[1]]}.epochs=1"]
        return app(words, prog_name="limbeck", standalone_mode=False) or 0

    return call
