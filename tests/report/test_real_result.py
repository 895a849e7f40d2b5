"""What a run writes into `result.json` is what the page reads."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from limbeck.evaluation.evaluate import logits_of
from limbeck.evaluation.metrics import agreement
from limbeck.evaluation.paired import paired_difference
from limbeck.experiment.images import load_images
from limbeck.experiment.run import Run
from limbeck.experiment.saved_model import load
from limbeck.runs.recipe import Data
from limbeck.teaching.objective import ensemble
from limbeck.types import Outputs

ARMS = ["large", "other", "heir", "chained", "distilled", "baseline"]


def row_of(finished: Run, arm: str, seed: int = 0) -> dict[str, Any]:
    (row,) = [row for row in finished.result["arms"] if (row["arm"], row["seed"]) == (arm, seed)]
    return row


def test_learners_stand_in_the_recipes_order(finished: Run) -> None:
    assert [(row["arm"], row["seed"]) for row in finished.result["arms"]] == [(a, s) for a in ARMS for s in (0, 1)]


def test_teachers_are_names_and_several_are_measured_together(finished: Run) -> None:
    row = row_of(finished, "distilled")
    assert row["teacher"] == ["large", "other"]
    assert row_of(finished, "baseline")["teacher"] == []
    images = load_images(Data(source="digits"))
    models = [load(finished.folder / "models" / f"{name}-seed0") for name in ("large", "other", "distilled")]
    first, second, own = (logits_of(model, images.test) for model in models)
    mixed = ensemble([Outputs(first), Outputs(second)], [0.75, 0.25], 1.0)
    assert mixed is not None
    told = row["ensemble"]
    assert told["weights"] == [0.75, 0.25]
    right = (mixed.logits.argmax(1) == images.test.labels).float().mean().item()
    assert told["test"]["top1"] == pytest.approx(right)
    between = agreement(first, second)
    assert told["agreement"]["test"] == [[1.0, pytest.approx(between)], [pytest.approx(between), 1.0]]
    assert between < 1, "two teachers of one architecture are two"
    assert row["test"]["agreement"] == pytest.approx(agreement(own, mixed.logits))


def test_a_confusion_matrix_counts_every_image(finished: Run) -> None:
    for row in finished.result["arms"]:
        matrix = torch.tensor(row["test"]["confusion"])
        assert matrix.shape == (10, 10)
        assert int(matrix.sum()) == row["test"]["n"]
        assert matrix.trace().item() / row["test"]["n"] == pytest.approx(row["test"]["top1"])


def test_a_student_is_compared_with_its_baseline_image_by_image(finished: Run) -> None:
    images = load_images(Data(source="digits"))
    for seed in (0, 1):
        models = [load(finished.folder / "models" / f"{name}-seed{seed}") for name in ("distilled", "baseline")]
        own, plain = (logits_of(model, images.test) for model in models)
        expected = paired_difference(own, plain, images.test.labels)
        told = row_of(finished, "distilled", seed)["against_baseline"]["test"]
        assert (told["only_first"], told["only_second"]) == (expected.only_first, expected.only_second)
        assert (told["low"], told["high"]) == pytest.approx((expected.low, expected.high))
    assert "against_baseline" not in row_of(finished, "baseline")


def test_the_time_of_a_learner_is_that_of_its_cohort(finished: Run) -> None:
    assert all(row["cohort_seconds"] > 0 for row in finished.result["arms"])
    counts = {row["arm"]: row["cohort_learners"] for row in finished.result["arms"]}
    assert counts["large"] == 1
    assert counts["baseline"] >= 1
    assert "wall_seconds" not in row_of(finished, "baseline")
