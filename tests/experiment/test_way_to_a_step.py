"""The way from the command line to a learner's step is short, and CONTRIBUTING.md tells it as it is."""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import limbeck
from limbeck.__main__ import main
from limbeck.training.learner import Learner

SOURCE = Path(limbeck.__file__).resolve().parent
STORY = SOURCE.parents[1] / "CONTRIBUTING.md"
MOST_FRAMES, MOST_FILES = 7, 12


def files_of_the_story() -> list[str]:
    section = STORY.read_text(encoding="utf-8").partition("## The story of `limbeck run`")[2].partition("\n## ")[0]
    return re.findall(r"^\d+\. `(.+?)`", section, flags=re.MULTILINE)


def test_the_story_has_few_files_and_all_are_there() -> None:
    files = files_of_the_story()
    assert 0 < len(files) <= MOST_FILES
    assert [file for file in files if not (SOURCE / file).is_file()] == []


def test_frames_between_main_and_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    step = Learner.step

    def watched(*arguments: Any, **options: Any) -> None:
        frames = [(Path(frame.filename).resolve(), frame.function) for frame in reversed(inspect.stack())]
        ours = [(file, function) for file, function in frames if file.is_relative_to(SOURCE)]
        seen.append([f"{file.relative_to(SOURCE)}:{function}" for file, function in ours])
        step(*arguments, **options)

    monkeypatch.setattr(Learner, "step", watched)
    recipe = {
        "name": "small", "data": {"source": "digits", "train_images": 80}, "views": {"batch_size": 32},
        "evaluation": {"latency_batch": 0},
        "students": {"net": {"model": "lightweight_cnn", "epochs": 1, "optimizer": {"name": "sgd", "lr": 0.1},
                             "loss": [{"name": "cross_entropy"}]}},
    }  # fmt: skip
    file = tmp_path / "small.yaml"
    file.write_text(json.dumps(recipe), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["limbeck", "run", str(file), "--folder", str(tmp_path / "runs")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert len(seen) == 2, "two steps of one epoch"
    for frames in seen:
        assert frames[0] == "__main__.py:main" and len(frames) <= MOST_FRAMES, " > ".join(frames)
        places = [files_of_the_story().index(frame.partition(":")[0]) for frame in frames]
        assert places == sorted(places), "the story is told in the order of the calls"
