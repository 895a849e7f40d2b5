"""A plan becomes a run directory: cohort after cohort, each continued where it stopped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
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
from .cohort_run import run_cohort
from .device import choose_device
from .environment import environment
from .follow import Watcher
from .images import load_images
from .plan import Plan, make_plan
from .stop import PoliteStop

MakeWatcher = Callable[[str, Sequence[str]], Watcher]


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
    directory = RunDirectory(Path(folder) / _checked_name(name or recipe.name))
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
        result = _run_cohorts(bench, make_plan(recipe), make_watcher, stop)
        result["command"] = command or " ".join(["limbeck", "run", *sys.argv[2:]])
        curves = _curves(bench, make_plan(recipe))
        report = write_report(directory.root, result, curves)
        write_json(directory.result, result)
        return Run(directory.root, result, report)


def _checked_name(name: str) -> str:
    try:
        return folder_name(name)
    except ValueError as error:
        raise LimbeckError(f"--name: {error}") from error


def _run_cohorts(bench: Bench, plan: Plan, make_watcher: MakeWatcher | None, stop: PoliteStop) -> dict[str, Any]:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    arms: list[dict[str, Any]] = []
    seconds = 0.0
    for cohort in plan.cohorts:
        files = bench.directory.cohort(cohort.key)
        done = files.finished()
        if done is None:
            names = [learner.name for learner in cohort.learners]
            watcher = make_watcher(cohort.key, names) if make_watcher else Watcher()
            done = run_cohort(bench, cohort, files, watcher, stop)
            files.finish(done)
            stop.obey()
        arms += done["arms"]
        started = min(started, done["started"])
        seconds += done["wall_seconds"]
    ready = [measure_ready(bench, name) for name in plan.ready]
    return {
        "recipe": bench.recipe.to_dict(),
        "environment": environment(bench.device),
        "started": started,
        "wall_seconds": seconds,
        "class_names": list(bench.images.class_names),
        "images": {s: len(getattr(bench.images, s)) for s in ("train", "validation", "test")},
        "arms": [*ready, *arms],
    }


def _curves(bench: Bench, plan: Plan) -> dict[tuple[str, int], list[dict[str, Any]]]:
    return {
        (learner.arm, learner.seed): bench.directory.cohort(cohort.key).metrics(learner.name).rows()
        for cohort in plan.cohorts
        for learner in cohort.learners
    }
