"""What a run writes into `result.json` is what the page reads."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from sample_results import learner, two_teachers

from limbeck.building.data import load_images
from limbeck.building.saved_model import load
from limbeck.evaluation.evaluate import logits_of
from limbeck.evaluation.metrics import agreement
from limbeck.evaluation.paired import paired_difference
from limbeck.experiment.run import Run
from limbeck.recipes.recipe import Data
from limbeck.training.objective import ensemble
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


def test_what_the_other_tests_of_the_page_read_is_what_a_run_writes(finished: Run) -> None:
    real, made = row_of(finished, "baseline"), learner("baseline", 0, 0.8)
    assert set(made) == set(real) - {"against_baseline"}
    assert set(made["test"]) == set(real["test"])
    assert set(made["efficiency"]) == set(real["efficiency"])
    together = row_of(finished, "distilled")["ensemble"]
    assert set(two_teachers()[2]["ensemble"]) == set(together)
    assert {type(real[key]) for key in made if key not in ("baseline", "failure")} == {
        type(made[key]) for key in made if key not in ("baseline", "failure")
    }


def test_the_page_of_a_run(finished: Run) -> None:
    text = finished.report.read_text(encoding="utf-8")
    told = row_of(finished, "distilled")
    share = 100 * sum(row_of(finished, "distilled", s)["ensemble"]["agreement"]["test"][0][1] for s in (0, 1)) / 2
    assert f"agree with each other on {share:.1f} % of the test images" in text
    assert "**0.75 large + 0.25 other**" in text
    rows = [row_of(finished, "distilled", seed) for seed in (0, 1)]
    gap = 50 * sum(row["ensemble"]["test"]["top1"] - row["test"]["top1"] for row in rows)
    assert re.search(rf"\| distilled +\| large, other \|.* {abs(gap):.2f} ±", text)
    low = 100 * told["against_baseline"]["test"]["low"]
    assert f"{abs(low):.2f} to" in text
    for edge in ("t0 --> t2", "s1 --> s0", "t0 --> s1", "t1 --> s1", "view --> s2"):
        assert f"    {edge}\n" in text
    accuracy = text.split("## Accuracy on the held-out test set")[1].split("##")[0]
    rows = [line.split("|")[1].strip() for line in accuracy.splitlines() if line.startswith("| ")][2:]
    assert rows == [*ARMS[:3], "0.75 large + 0.25 other", *ARMS[3:]]
    assert re.search(r"\| baseline +\| +0 \|.*learners? \|", text), "how long the cohort took"
    for section in ("Teacher ensembles", "Most frequent confusions"):
        assert f"## {section}\n" in text
    assert "Pretrained models" not in text
