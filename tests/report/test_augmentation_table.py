"""Test-time augmentation in a report: a table of its own, and no word of it anywhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sample_results import efficiency, evaluation, result_of, three_arms

from limbeck.report.page import write_report
from limbeck.report.summary import summary_lines

TITLE = "## Test-time augmentation"


def augmented(arms: list[dict[str, Any]], gains: list[float]) -> list[dict[str, Any]]:
    """The same arms; each seed gains so many fractions of its images."""
    for arm in arms:
        gain = gains[arm["seed"]]
        arm["test_time"] = {
            "options": {"flip": True, "shifts": 2, "scales": []},
            "views": 10,
            "test": evaluation(arm["test"]["top1"] + gain),
            "validation": evaluation(arm["validation"]["top1"] + 2 * gain),
            "correct": {},
            "gain": {split: {"low": gain - 0.001, "high": gain + 0.001} for split in ("test", "validation")},
            "efficiency": efficiency(10 * arm["efficiency"]["parameters"], 9.5 * arm["efficiency"]["image_ms_median"]),
        }
    return arms


def sections(folder: Path, result: dict[str, Any]) -> dict[str, str]:
    text = write_report(folder, result, {}).read_text(encoding="utf-8")
    parts = text.split("\n## ")
    return {"## " + part.split("\n")[0]: part for part in parts[1:]} | {"head": parts[0]}


def test_old_results_have_no_such_section(tmp_path: Path) -> None:
    assert TITLE not in sections(tmp_path, result_of(three_arms()))


def test_it_is_the_accuracy_of_no_model(tmp_path: Path) -> None:
    plain = sections(tmp_path, result_of(three_arms()))
    found = sections(tmp_path, result_of(augmented(three_arms(), [0.004, 0.006, 0.005])))
    (own,) = (found.pop(title) for title in [TITLE])
    assert found == plain, "every other section is as it is without"
    assert "10 views of each image (flip, shifts of 2 px), on the held-out test set" in own
    assert "83.41 ± 0.11 (n = 3)" in own and "83.91 ± 0.21 (n = 3)" in own
    assert "+0.50 [+0.25, +0.75] (n = 3)" in own, "Student's t over three seeds: 4.303 · 0.1 / √3"
    assert "4.27 → 42.73" in own and "0.50 → 4.75" in own
    assert summary_lines(result_of(three_arms())) == summary_lines(result_of(augmented(three_arms(), [0.1] * 3)))


def test_with_few_seeds_intervals_are_over_images(tmp_path: Path) -> None:
    own = sections(tmp_path, result_of(augmented(three_arms(2), [0.004, -0.006])))[TITLE]
    assert "+0.40 [+0.30, +0.50]; −0.60 [−0.70, −0.50] (n = 2)" in own


def test_without_test_set_or_latency(tmp_path: Path) -> None:
    arms = augmented(three_arms(1), [0.004])
    for arm in arms:
        for part in (arm, arm["test_time"]):
            del part["test"], part["efficiency"]
    del arms[0]["test_time"]  # measured by an earlier version
    result = result_of(arms)
    result["recipe"]["evaluation"] = {"test": False}
    own = sections(tmp_path, result)[TITLE]
    assert "on the validation set" in own and "+0.80" in own
    assert "resnet" not in own and "latency (ms)" not in own and "Costs" not in own


def test_costs_of_another_day_are_compared_with_those_of_that_day(tmp_path: Path) -> None:
    arms = augmented(three_arms(1), [0.0])
    for arm in arms:
        arm["test_time"]["efficiency_alone"] = arm["efficiency"] | {"image_ms_median": 0.77}
    assert "0.77 → 4.75" in sections(tmp_path, result_of(arms))[TITLE]
