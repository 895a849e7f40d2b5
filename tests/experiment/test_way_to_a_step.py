"""The way from the command line to a learner's step is short: few frames of ours lie between them."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import limbeck
from limbeck.__main__ import main
from limbeck.training.learner import Learner

SOURCE = Path(limbeck.__file__).resolve().parent
MOST = 7


def test_frames_between_main_and_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    step = Learner.step

    def watched(*arguments: Any, **options: Any) -> None:
        frames = [frame for frame in inspect.stack() if Path(frame.filename).resolve().is_relative_to(SOURCE)]
        seen.append([f"{Path(frame.filename).stem}.{frame.function}" for frame in reversed(frames)])
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
        assert frames[0] == "__main__.main" and len(frames) <= MOST, " > ".join(frames)
