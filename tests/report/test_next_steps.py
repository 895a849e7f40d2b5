"""A finished run proposes commands for its best student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from limbeck.report.summary import best_student, next_steps


def row(arm: str, seed: int, top1: float | None, **more: Any) -> dict[str, Any]:
    return {"arm": arm, "seed": seed, "role": "student", "failure": None, "validation": top1 and {"top1": top1}} | more


def test_the_best_student_is_chosen_by_mean_on_validation() -> None:
    arms = [
        row("t", 0, 0.99, role="teacher"),
        row("a", 0, 0.9), row("a", 1, 0.1),
        row("b", 0, 0.7), row("b", 1, 0.8),
        row("c", 0, 0.95, failure={"epoch": 1}), row("d", 0, None),
    ]  # fmt: skip
    best = best_student({"arms": arms})
    assert best is not None
    assert (best["arm"], best["seed"]) == ("b", 1)
    lines = next_steps(Path("runs/my run/models"), {"arms": arms})
    assert lines[0] == "best on the validation set: b, seed 1"
    assert lines[1].endswith("limbeck evaluate 'runs/my run/models/b-seed1'")


def test_without_a_finished_student_nothing_is_proposed() -> None:
    assert next_steps(Path("x"), {"arms": [row("a", 0, 0.1, failure={"epoch": 1}), row("b", 0, None)]}) == []
