"""Several runs as one, so that every figure can compare them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from limbeck.report.arms import Arm, Learner
from limbeck.report.run_data import RunRecord, labels


def as_one_run(records: Sequence[RunRecord]) -> RunRecord:
    """The arms of all runs beside each other, each named `RUN: ARM`; a single run stays as it is.

    Trials of sweeps and sample images, which are of one run, are left out. Raises ValueError if there are no runs.
    """
    if not records:
        raise ValueError("as_one_run: takes at least one run")
    if len(records) == 1:
        return records[0]
    named = [_renamed(record, f"{label}: ") for record, label in zip(records, labels(records), strict=True)]
    arms = [arm for record in named for arm in record.arms]
    recipes = [record.measured_recipe for record in named]
    recipe = {
        **recipes[0],
        "name": " and ".join(dict.fromkeys(record.name for record in records)),
        **{group: {k: v for one in recipes for k, v in one[group].items()} for group in ("teachers", "students")},
    }
    names = {record.class_names for record in records}
    return replace(
        named[0],
        state="finished" if all(record.state == "finished" for record in records) else "unknown",
        recipe=recipe,
        result={
            **named[0].result,
            "recipe": recipe,
            "class_names": list(records[0].class_names) if len(names) == 1 else [],
        },
        arms=tuple(sorted(arms, key=lambda arm: arm.role != "teacher")),
        curves={key: rows for record in named for key, rows in record.curves.items()},
        progress=tuple(one for record in named for one in record.progress),
        sweep=None,
        problems=tuple(problem for record in records for problem in record.problems),
        predictions={key: found for record in named for key, found in record.predictions.items()},
        sample_images=None,
        softened={key: found for record in named for key, found in record.softened.items()},
    )


def _renamed(record: RunRecord, prefix: str) -> RunRecord:
    """The run with the prefix before the name of every arm, also where one arm refers to another."""
    recipe = record.measured_recipe
    shared = {key: recipe[key] for key in ("views", "precision") if recipe.get(key) is not None}
    groups = {
        group: {
            f"{prefix}{name}": {**shared, **{k: v for k, v in arm.items() if v is not None}, "teacher": _voices(arm)}
            for name, arm in _mapping(recipe.get(group)).items()
            if isinstance(arm, Mapping)
        }
        for group in ("teachers", "students")
    }
    return replace(
        record,
        recipe={**recipe, **groups},
        result={**record.result, "recipe": {**recipe, **groups}},
        arms=tuple(_arm(arm, prefix) for arm in record.arms),
        curves={(f"{prefix}{arm}", seed): rows for (arm, seed), rows in record.curves.items()},
        progress=tuple(replace(one, arm=f"{prefix}{one.arm}") for one in record.progress),
        predictions={(f"{prefix}{arm}", seed): found for (arm, seed), found in record.predictions.items()},
        softened={(f"{prefix}{arm}", seed): found for (arm, seed), found in record.softened.items()},
    )


def _voices(arm: Mapping[str, Any]) -> list[Any]:
    """The teachers of an arm as in its recipe: options are compared over runs, so these names stay."""
    return list(arm.get("teacher") or ())


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _arm(arm: Arm, prefix: str) -> Arm:
    return replace(
        arm,
        name=f"{prefix}{arm.name}",
        teachers=tuple(f"{prefix}{name}" for name in arm.teachers),
        baseline=f"{prefix}{arm.baseline}" if arm.baseline else None,
        learners=tuple(_learner(learner, prefix) for learner in arm.learners),
    )


def _learner(learner: Learner, prefix: str) -> Learner:
    return {**learner, "arm": f"{prefix}{learner['arm']}"}
