"""What goes wrong in a run is said, and costs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import limbeck
from limbeck.types import Outputs, Targets

QUIET: dict[str, Any] = {
    "precision": "fp32",
    "evaluation": {"latency_batch": 0},
    "data": {"source": "digits"},
    "views": {"batch_size": 64},
}
ARM: dict[str, Any] = {
    "model": {"name": "lightweight_cnn", "dropout": 0.0, "hidden_dropout": 0.0},
    "epochs": 2,
    "optimizer": {"name": "adam", "lr": 3e-3},
    "loss": [{"name": "cross_entropy"}],
}


def explosive(student: Outputs, teacher: Outputs | None, targets: Targets, *, limit: float = 0.0) -> torch.Tensor:
    """Not a number once the student has begun to learn."""
    log_p = student.logits.float().log_softmax(-1)
    loss = -log_p.gather(-1, targets.labels[:, None]).squeeze(-1)
    return loss * float("nan") if loss.mean() < limit else loss


explosive.NEEDS_TEACHER = False  # pyright: ignore[reportFunctionMemberAccess]


def test_a_loss_that_is_not_finite_ends_one_learner_only(tmp_path: Path) -> None:
    bad = {**ARM, "loss": [{"name": "cross_entropy", "weight": 0.5}, {"name": "explosive", "limit": 2.0}]}
    recipe = {"name": "bad", **QUIET, "students": {"baseline": ARM, "bad": bad}}
    done = limbeck.run(recipe, folder=tmp_path, losses={"explosive": explosive})
    arms = {arm["arm"]: arm for arm in done.result["arms"]}
    failure = arms["bad"]["failure"]
    assert failure["term"] == "explosive"
    assert failure["value"] == "nan"
    assert failure["epoch"] >= 1
    assert failure["step"] >= 1
    assert arms["baseline"]["failure"] is None
    page = done.report.read_text(encoding="utf-8")
    assert "explosive" in page
    assert f"step {failure['step']}" in page
    assert not (done.folder / "models" / "bad-seed0").exists()
    alone = limbeck.run({"name": "alone", **QUIET, "students": {"baseline": ARM}}, folder=tmp_path)
    weights = [(f / "models/baseline-seed0/model.safetensors").read_bytes() for f in (done.folder, alone.folder)]
    assert weights[0] == weights[1], "the others go on as if nothing had been"


def test_students_of_a_failed_teacher_are_not_started(tmp_path: Path) -> None:
    teacher = {**ARM, "loss": [{"name": "explosive", "limit": 2.0}]}
    kd = {**ARM, "teacher": "t", "loss": [{"name": "soft_targets"}]}
    recipe = {"name": "lost", **QUIET, "teachers": {"t": teacher}, "students": {"baseline": ARM, "kd": kd}}
    done = limbeck.run(recipe, folder=tmp_path, losses={"explosive": explosive})
    arms = {arm["arm"]: arm for arm in done.result["arms"]}
    assert "t-seed0 failed" in arms["kd"]["failure"]["value"]
    assert arms["baseline"]["test"]["top1"] > 0.2


def test_the_teacher_is_as_it_was_after_a_run(tmp_path: Path) -> None:
    kd = {**ARM, "teacher": "t", "loss": [{"name": "soft_targets"}]}
    recipe = {"name": "frozen", **QUIET, "teachers": {"t": ARM}, "students": {"kd": kd}}
    done = limbeck.run(recipe, folder=tmp_path)
    saved = done.folder / "models" / "t-seed0"
    from limbeck.storage.atomic import read_json

    limbeck.load(saved)  # its checksum still fits
    assert read_json(saved / "model.json")["class_names"] == done.result["class_names"]


def test_images_that_a_model_does_not_take(tmp_path: Path) -> None:
    recipe: dict[str, Any] = {"name": "small", **QUIET, "students": {"a": {**ARM, "model": "speed_cnn"}}}
    with pytest.raises(limbeck.LimbeckError, match=r"does not take images of 8 px.*resolution"):
        limbeck.run(recipe, folder=tmp_path)
    recipe["students"]["a"] |= {"resolution": 32, "epochs": 1}
    recipe["data"] = {"source": "digits", "train_images": 128}
    assert limbeck.run(recipe, folder=tmp_path).result["arms"][0]["failure"] is None


def test_distill_two_modules_of_ones_own() -> None:
    def net(width: int) -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, width, 3, padding=1),
            torch.nn.BatchNorm2d(width),
            torch.nn.ReLU(),
            torch.nn.Conv2d(width, width, 3, padding=1),
            torch.nn.BatchNorm2d(width),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Linear(64 * width, 10),
        )

    torch.manual_seed(0)
    teacher, student = net(16), net(4)
    taught = limbeck.distill(teacher, None, data="digits", epochs=4, views={"batch_size": 64}, precision="fp32")
    assert taught.test.top1 > 0.85
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    teacher.train()
    done = limbeck.distill(student, teacher, data="digits", epochs=4, views={"batch_size": 64}, precision="fp32")
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())
    assert done.test.top1 > 0.7
    assert done.test.agreement is not None
    assert len(done.history) == 4
    assert limbeck.evaluate(lambda images: torch.zeros(len(images), 10), "digits").top1 < 0.2


def test_distill_continues_where_it_stopped(tmp_path: Path) -> None:
    from limbeck.models.lightweight_cnn import build

    def student() -> torch.nn.Module:
        torch.manual_seed(1)
        return build(10)

    words: dict[str, Any] = {"data": "digits", "views": {"batch_size": 64}, "precision": "fp32"}
    whole = limbeck.distill(student(), None, epochs=3, **words)
    first = limbeck.distill(student(), None, epochs=3, save_to=tmp_path / "s", **words)
    again = limbeck.distill(student(), None, epochs=3, save_to=tmp_path / "s", **words)
    for other in (first, again):
        for a, b in zip(whole.student.parameters(), other.student.parameters(), strict=True):
            assert torch.equal(a, b)
    assert [row["epoch"] for row in again.history] == [1, 2, 3]
