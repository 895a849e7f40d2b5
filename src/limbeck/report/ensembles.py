"""Several teachers as one: what an arm that hears them is compared with."""

from __future__ import annotations

import math
from collections.abc import Sequence

from . import statistics
from .arms import Arm

ENSEMBLE = "ensemble"
"""The role of what stands for several teachers."""
SUMMED = ("parameters", "megabytes", "multiply_adds", "image_ms_median", "batch_ms_median")
"""What an ensemble costs is what its members cost one after the other; percentiles have no sum."""


def reference_of(arm: Arm, arms: Sequence[Arm]) -> Arm | None:
    """What an arm is taught by, as an arm that was measured: its teacher, or its teachers together."""
    if len(arm.teachers) > 1:
        return _ensemble(arm, arms)
    return next((other for other in arms if other.name in arm.teachers and other.values("test", "top1")), None)


def with_ensembles(arms: Sequence[Arm]) -> list[Arm]:
    """The arms, with each different ensemble of teachers that was measured before the first student."""
    found = {made.name: made for made in (reference_of(arm, arms) for arm in arms if len(arm.teachers) > 1) if made}
    teachers = [arm for arm in arms if arm.role == "teacher"]
    return [*teachers, *found.values(), *(arm for arm in arms if arm.role != "teacher")]


def _ensemble(arm: Arm, arms: Sequence[Arm]) -> Arm | None:
    """The teachers of an arm as one arm: measured together, and costing what they cost one after the other."""
    members = [other for name in arm.teachers for other in arms if other.name == name]
    heard = [learner for learner in arm.learners if (learner.get("ensemble") or {}).get("test")]
    if not heard or len(members) != len(arm.teachers):
        return None
    cost: dict[str, float] = {}
    for metric in SUMMED:
        values = [member.average("efficiency", metric) for member in members]
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            cost[metric] = math.fsum(known)
    weights = heard[0]["ensemble"].get("weights") or ()
    equal = max(weights, default=0.0) - min(weights, default=0.0) < 1e-9
    words = arm.teachers if equal else [f"{w:.2g} {name}" for w, name in zip(weights, arm.teachers, strict=True)]
    called = " + ".join(words)
    learners = tuple(
        {
            "arm": called, "seed": learner["seed"], "test": learner["ensemble"]["test"],
            "validation": learner["ensemble"].get("validation"), "efficiency": cost or None,
            "agreement": (learner["ensemble"].get("agreement") or {}).get("test"),
        }
        for learner in heard
    )  # fmt: skip
    return Arm(called, ENSEMBLE, f"{len(members)} together", (), None, learners, arm.split, arm.teachers)


def agreement_of_members(ensemble: Arm) -> list[float]:
    """How often two members of an ensemble give the same answer: the mean over pairs in percent, one value a seed."""
    found: list[float] = []
    for learner in ensemble.learners:
        matrix = learner.get("agreement") or ()
        pairs = [row[column] for place, row in enumerate(matrix) for column in range(place)]
        found += [100 * statistics.mean(pairs)] if pairs else []
    return found
