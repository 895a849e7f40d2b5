"""A run that finished, but in which a learner diverged, has an exit code of its own and says so last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import limbeck
import yaml_recipe
from limbeck.sweeps.sweep import sweep

ARM: dict[str, Any] = {
    "model": "lightweight_cnn",
    "epochs": 1,
    "optimizer": {"name": "sgd", "lr": 0.01},
    "loss": [{"name": "cross_entropy"}],
}
DIVERGES = {**ARM, "optimizer": {"name": "sgd", "lr": 1e30}}


def recipe(**students: Any) -> dict[str, Any]:
    return {
        "name": "diverges",
        "threads": 1,
        "precision": "fp32",
        "evaluation": {"latency_batch": 0},
        "data": {"source": "digits", "train_images": 100},
        "views": {"batch_size": 20},
        "students": students,
    }


@pytest.mark.middle
def test_the_command_line(limbeck, tmp_path: Path) -> None:
    path = tmp_path / "diverges.yaml"
    path.write_text(yaml_recipe.text(recipe(good=ARM, bad=DIVERGES)))
    said = "limbeck: finished, but bad-seed0 failed: cross_entropy was nan at epoch 1, step "
    for _ in ("run", "run again"):
        done = limbeck("run", path, cwd=tmp_path)
        assert done.returncode == 3, done.stderr
        assert done.stderr.strip().splitlines()[-1].startswith(said)
        assert "report: " in done.stdout
    path.write_text(yaml_recipe.text(recipe(good=ARM)))
    assert limbeck("run", path, "--fresh", cwd=tmp_path).returncode == 0


def test_from_python(tmp_path: Path) -> None:
    assert limbeck.run(recipe(good=ARM), folder=tmp_path, name="good").failed == ()
    tree = recipe(good=ARM, kd={**ARM, "teacher": "t", "loss": [{"name": "soft_targets"}]})
    done = limbeck.run({**tree, "teachers": {"t": DIVERGES}, "seeds": [4]}, folder=tmp_path)
    assert done.failed == ("t-seed4", "kd-seed4"), "who could not be taught failed too"


def test_what_a_sweep_chose(tmp_path: Path) -> None:
    tree = recipe(bad=DIVERGES, a=ARM)
    tree["sweep"] = {"axes": {"students.a.optimizer.lr": [0.01, 0.02]}}
    assert sweep(tree, folder=tmp_path).failed == ("bad-seed0",)


@pytest.mark.parametrize("command", ["run", "sweep"])
def test_help_says_it(command: str, limbeck, tmp_path: Path) -> None:
    assert "3: finished, but a learner failed" in " ".join(limbeck(command, "--help", cwd=tmp_path).stdout.split())
