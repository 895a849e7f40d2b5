"""A plan becomes a run directory: cohort after cohort, each continued where it stopped."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from limbeck.report.page import write_report
from limbeck.runs.directory import RunDirectory
from limbeck.runs.errors import LimbeckError
from limbeck.runs.files import read_json, write_json
from limbeck.runs.recipe import Functions, Recipe
from limbeck.runs.recipe_file import NONE, load_recipe
from limbeck.runs.recipe_values import folder_name
from limbeck.types import Split

from .arm_result import measure_ready
from .bench import Bench
from .device import choose_device
from .environment import environment
from .images import load_images
from .plan import Plan, make_plan
from .stop import PoliteStop
from .work import MakeWatcher, work_through


@dataclass(frozen=True)
class Run:
    """A finished run. folder: its directory. result: what `result.json` says. report: the page."""

    folder: Path
    result: dict[str, Any]
    report: Path
    was_finished: bool = False


def run(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    overrides: Sequence[str] = (),
    *,
    folder: str | Path = "runs",
    name: str | None = None,
    fresh: bool = False,
    losses: Functions = NONE,
    models: Functions = NONE,
    make_watcher: MakeWatcher | None = None,
    command: str | None = None,
) -> Run:
    """Run a recipe, or go on with it where it stopped.

    recipe: a path, a shipped recipe's name, a dict or a `Recipe`. folder: where run directories lie.
    name: of this run's directory (the recipe's name). fresh: delete what is there and start anew.
    losses, models: functions of your own, by the names that the recipe uses.
    make_watcher: gives what is told of each cohort; see `Watcher`.

    Raises LimbeckError for whatever a person can mend, `Stopped` after Ctrl-C or SIGTERM, all saved.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, overrides, losses=losses, models=models)
    if recipe.sweep:
        raise LimbeckError("sweep: this recipe has settings to try; run it with `limbeck sweep`, or with sweep=null")
    directory = RunDirectory(Path(folder) / checked_name(name or recipe.name))
    with directory.locked(), PoliteStop() as stop:
        if fresh:
            directory.empty()
        directory.claim(recipe.to_dict())
        if directory.result.exists():
            result = read_json(directory.result)
            return Run(directory.root, result, directory.root / "report.md", was_finished=True)
        if recipe.threads:
            torch.set_num_threads(recipe.threads)
        device = choose_device(recipe.device)
        images = load_images(recipe.data)
        stop.obey()
        train = Split(images.train.images.to(device), images.train.labels.to(device))
        bench = Bench(recipe, images, train, device, directory, losses, models)
        plan = make_plan(recipe)
        result = results(bench, plan, work_through(bench, plan, make_watcher, stop))
        result["command"] = command or " ".join(["limbeck", "run", *sys.argv[2:]])
        report = write_report(directory.root, result, curves(bench, plan))
        write_json(directory.result, result)
        return Run(directory.root, result, report)


def checked_name(name: str) -> str:
    """The name of a run's directory. Raises LimbeckError for what is none."""
    try:
        return folder_name(name)
    except ValueError as error:
        raise LimbeckError(f"--name: {error}") from error


def results(bench: Bench, plan: Plan, done: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What `result.json` says of a plan whose cohorts are done: recipe, environment, every arm's measures."""
    of_cohorts = [done[cohort.key] for cohort in plan.cohorts]
    arms = [arm for cohort in of_cohorts for arm in cohort["arms"]]
    ready = [measure_ready(bench, name) for name in plan.ready]
    return {
        "recipe": bench.recipe.to_dict(),
        "environment": environment(bench.device),
        "started": min(cohort["started"] for cohort in of_cohorts),
        "wall_seconds": sum(cohort["wall_seconds"] for cohort in of_cohorts),
        "class_names": list(bench.images.class_names),
        "images": {s: len(getattr(bench.images, s)) for s in ("train", "validation", "test")},
        "arms": [*ready, *arms],
    }


def curves(bench: Bench, plan: Plan) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Rows of metrics, one an epoch, by (arm, seed)."""
    return {
        (learner.arm, learner.seed): bench.directory.cohort(cohort.key).metrics(learner.name).rows()
        for cohort in plan.cohorts
        for learner in cohort.learners
    }
