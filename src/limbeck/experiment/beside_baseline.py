"""Each learner beside its baseline of the same seed, on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.evaluation.correctness import paired_difference_of


def beside_baseline(arms: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Results of learners, each with `against_baseline` where it has a baseline that was measured: for each split the
    difference of accuracies with its interval over images, as `paired_difference_of` gives it."""
    known = {(arm["arm"], arm["seed"]): arm for arm in arms}
    found: list[dict[str, Any]] = []
    for arm in arms:
        baseline = known.get((arm.get("baseline"), arm["seed"]), {})
        differences = {
            split: paired_difference_of(arm["correct"][split], theirs, arm[split]["n"])
            for split, theirs in baseline.get("correct", {}).items()
            if split in arm.get("correct", {}) and arm[split]["n"] == baseline[split]["n"]
        }
        found.append({**arm, **({"against_baseline": differences} if differences else {})})
    return found
