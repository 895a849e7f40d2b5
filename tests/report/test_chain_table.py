"""The table of chains says who taught whom, what each model reached, and what the chain cost."""

from __future__ import annotations

from sample_results import learner

from limbeck.report.arms import arms_of
from limbeck.report.chains import chain_table


def table(*learners: dict) -> list[list[str]]:
    lines = chain_table(arms_of({"arms": list(learners)})).splitlines()
    return [[part.strip() for part in line.strip("|").split("|")] for line in lines if line.startswith("| ")][2:]


def test_a_chain_of_three_and_what_it_cost() -> None:
    (row,) = table(
        learner("large", 0, 0.9, role="teacher", epochs_run=15),
        learner("middle", 0, 0.85, teacher=["large"], epochs_run=10),
        learner("small", 0, 0.8, teacher=["middle"], epochs_run=5),
    )
    assert row == ["large → middle → small", "middle", "90.00 → 85.00 → 80.00", "30"]


def test_densely_guided_shows_all_teachers_and_two_seeds_are_averaged() -> None:
    rows = table(
        *(learner("large", seed, 0.9, role="teacher", epochs_run=15) for seed in (0, 1)),
        *(learner("one", seed, 0.8 + 0.02 * seed, teacher=["large"], epochs_run=4 + 2 * seed) for seed in (0, 1)),
        *(learner("two", seed, 0.7, teacher=["large", "one"], epochs_run=5) for seed in (0, 1)),
    )
    assert rows == [["large → one → two", "large, one", "90.00 → 81.00 → 70.00", "25"]]


def test_models_of_equal_depth_stand_together() -> None:
    (row,) = table(
        learner("a", 0, 0.9, role="teacher", epochs_run=1),
        learner("b", 0, 0.8, role="teacher", epochs_run=1),
        learner("middle", 0, 0.7, teacher=["a", "b"], epochs_run=1),
        learner("small", 0, 0.6, teacher=["middle"], epochs_run=1),
    )
    assert row[0] == "a + b → middle → small"


def test_a_run_without_chains_has_no_table() -> None:
    assert not table(learner("large", 0, 0.9, role="teacher"), learner("small", 0, 0.8, teacher=["large"]))
