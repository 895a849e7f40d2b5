"""A plan becomes a run directory: cohort after cohort, each continued where it stopped."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limbeck.evaluation.efficiency import measure
from limbeck.evaluation.evaluate import evaluate, logits_of
from limbeck.report.page import write_report
from limbeck.runs.directory import CohortDirectory, RunDirectory
from limbeck.runs.files import read_json, write_json
from limbeck.runs.recipe import Functions, Recipe
from limbeck.runs.recipe_file import NONE, load_recipe
from limbeck.teaching.learner import Learner
from limbeck.teaching.objective import ensemble
from limbeck.teaching.precision import compute_dtype
from limbeck.teaching.predictor import predictor
from limbeck.teaching.teacher import Teacher
from limbeck.types import Outputs, Split
from limbeck.views.plan import ViewPlanner, ViewRecipe

from .assemble import describe, input_format, load_ready_teacher, make_learner, make_teacher
from .device import choose_device
from .environment import environment
from .follow import Keeping, Watcher, follow
from .images import Images, load_images
from .plan import CohortPlan, LearnerPlan, Plan, baseline_of, make_plan
from .saved_model import load_trained, save_model
from .stop import PoliteStop

MakeWatcher = Callable[[str, Sequence[str]], Watcher]


@dataclass(frozen=True)
class Run:
    """A finished run. folder: its directory. result: what `result.json` says. report: the page."""

    folder: Path
    result: dict[str, Any]
    report: Path
    was_finished: bool = False


@dataclass(frozen=True)
class Bench:
    """What all cohorts of a run share."""

    recipe: Recipe
    images: Images
    train: Split
    device: torch.device
    directory: RunDirectory
    losses: Functions
    models: Functions


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
    directory = RunDirectory(Path(folder) / (name or recipe.name))
    with directory.locked(), PoliteStop() as stop:
        if fresh:
            _empty(directory)
        directory.claim(recipe.to_dict())
        if directory.result.exists():
            result = read_json(directory.result)
            return Run(directory.root, result, directory.root / "report.md", was_finished=True)
        if recipe.threads:
            torch.set_num_threads(recipe.threads)
        device = choose_device(recipe.device)
        images = load_images(recipe.data)
        train = Split(images.train.images.to(device), images.train.labels.to(device))
        bench = Bench(recipe, images, train, device, directory, losses, models)
        result = _run_cohorts(bench, make_plan(recipe), make_watcher, stop)
        result["command"] = command or " ".join(["limbeck", "run", *sys.argv[2:]])
        curves = _curves(bench, make_plan(recipe))
        report = write_report(directory.root, result, curves)
        write_json(directory.result, result)
        return Run(directory.root, result, report)


def _empty(directory: RunDirectory) -> None:
    for path in directory.root.iterdir():
        if path.name != "run.lock":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


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
            done = _run_cohort(bench, cohort, files, watcher, stop)
            files.finish(done)
        arms += done["arms"]
        started = min(started, done["started"])
        seconds += done["wall_seconds"]
    ready = [_measure_ready(bench, name) for name in plan.ready]
    return {
        "recipe": bench.recipe.to_dict(),
        "environment": environment(bench.device),
        "started": started,
        "wall_seconds": seconds,
        "class_names": list(bench.images.class_names),
        "images": {s: len(getattr(bench.images, s)) for s in ("train", "validation", "test")},
        "arms": [*ready, *arms],
    }


def _run_cohort(
    bench: Bench, cohort: CohortPlan, files: CohortDirectory, watcher: Watcher, stop: PoliteStop
) -> dict[str, Any]:
    recipe, images = bench.recipe, bench.images
    arms = recipe.arms()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    missing = [name for name in cohort.teachers if not _usable(bench, name)]
    plans = [plan for plan in cohort.learners if not set(missing) & {name for name, _ in plan.voices}]
    lost = [_without_teacher(bench, plan, missing) for plan in cohort.learners if plan not in plans]
    if not plans:
        return {"arms": lost, "started": started, "wall_seconds": 0.0}
    teachers = {name: _teacher(bench, name) for name in cohort.teachers if name not in missing}
    learners = [
        make_learner(
            arms[plan.arm], plan, images, device=bench.device, precision=recipe.precision,
            losses=bench.losses, models=bench.models,
        )
        for plan in plans
    ]  # fmt: skip
    views = cohort.views
    view_recipe = ViewRecipe(views.batch_size, views.crop.padding if views.crop else 0, views.flip)
    planner = ViewPlanner(images.fingerprint, len(images.train), view_recipe, cohort.view_seed)
    keeping = Keeping(files, recipe.save_every_seconds, _identity(bench, cohort))
    seconds = follow(
        learners, teachers, images, planner,
        train=bench.train, evaluation_batch=recipe.evaluation.batch_size, watcher=watcher, keeping=keeping, stop=stop,
    )  # fmt: skip
    began = time.monotonic()
    measured = [
        _measure_learner(bench, plan, learner, teachers, watcher) for plan, learner in zip(plans, learners, strict=True)
    ]
    return {"arms": [*measured, *lost], "started": started, "wall_seconds": seconds + time.monotonic() - began}


def _identity(bench: Bench, cohort: CohortPlan) -> dict[str, Any]:
    """What a checkpoint of this cohort may not be continued without. Recipes are compared elsewhere."""
    weights = [bench.directory.model(name) / "model.json" for name in cohort.teachers]
    return {
        "images": bench.images.fingerprint,
        "teachers": [read_json(path).get("sha256") for path in weights if path.exists()],
        "learners": [learner.name for learner in cohort.learners],
    }


def _usable(bench: Bench, name: str) -> bool:
    return name in bench.recipe.teachers or (bench.directory.model(name) / "model.json").exists()


def _teacher(bench: Bench, name: str) -> Teacher:
    """A teacher by its name: from the user's file, or as this run trained it."""
    arms = bench.recipe.arms()
    if name in arms:
        arm = arms[name]
        model = load_ready_teacher(name, arm, bench.images, bench.models)
    else:
        arm = arms[name.rpartition("-seed")[0]]
        model = load_trained(bench.directory.model(name), bench.models)
    precision = arm.precision or bench.recipe.precision
    return make_teacher(name, model, input_format(arm, bench.images), device=bench.device, precision=precision)


def _measure_learner(
    bench: Bench, plan: LearnerPlan, learner: Learner, teachers: Mapping[str, Teacher], watcher: Watcher
) -> dict[str, Any]:
    """Choose, keep, and read the test split: once, for the model that was chosen."""
    arm = bench.recipe.arms()[plan.arm]
    row = _about(bench, plan, learner)
    if learner.failure:
        watcher.say(
            f"{learner.name} ended at epoch {learner.failure.epoch}, step {learner.failure.step}: "
            f"{learner.failure.term} was {learner.failure.value}"
        )
        return row
    watcher.say(f"measuring {learner.name}")
    model, row["chosen_epoch"] = learner.chosen()
    save_model(bench.directory.model(learner.name), model, describe(arm, bench.images))
    heard = [teachers[name] for name, _ in plan.voices]
    weights = [weight for _, weight in plan.voices]
    if not heard and plan.role == "student" and len(teachers) == 1:
        heard, weights = list(teachers.values()), [1.0]  # how near does one come who never heard it?
    return row | _measured(bench, plan.arm, model, heard, weights)


def _measured(
    bench: Bench, arm_name: str, model: nn.Module, heard: Sequence[Teacher], weights: Sequence[float]
) -> dict[str, Any]:
    recipe, images = bench.recipe, bench.images
    arm = recipe.arms()[arm_name]
    form = input_format(arm, images)
    dtype = compute_dtype(arm.precision or recipe.precision, bench.device)
    predict = predictor(model, form, device=bench.device, dtype=dtype, name=arm_name)
    found: dict[str, Any] = {}
    for split_name, split in (("validation", images.validation), ("test", images.test)):
        told = None
        if heard:
            logits = [
                logits_of(
                    predictor(t.frozen, t.form, device=bench.device, dtype=t.dtype, name=t.name),
                    split,
                    recipe.evaluation.batch_size,
                )
                for t in heard
            ]
            scale = sum(weights)
            mixed = ensemble([Outputs(x) for x in logits], [w / scale for w in weights], 1.0)
            told = mixed.logits if mixed else None
        evaluation = evaluate(
            predict,
            split,
            num_classes=len(images.class_names),
            batch_size=recipe.evaluation.batch_size,
            reference=told,
        )
        found[split_name] = evaluation.to_dict()
    if recipe.evaluation.latency_batch:
        channels, height, width = images.shape
        shape = (channels, form.resolution or height, form.resolution or width)
        found["efficiency"] = measure(model, shape, batch_size=recipe.evaluation.latency_batch).to_dict()
    return found


def _about(bench: Bench, plan: LearnerPlan, learner: Learner | None) -> dict[str, Any]:
    arm = bench.recipe.arms()[plan.arm]
    return {
        "arm": plan.arm,
        "role": plan.role,
        "seed": plan.seed,
        "model": arm.model.name,
        "teacher": ", ".join(voice.name for voice in arm.teacher) or None,
        "baseline": baseline_of(bench.recipe, plan.arm),
        "epochs": arm.epochs,
        "epochs_run": learner.epochs_done if learner else 0,
        "ended": learner.ended if learner else "not started",
        "failure": vars(learner.failure) if learner and learner.failure else None,
    }


def _without_teacher(bench: Bench, plan: LearnerPlan, missing: Sequence[str]) -> dict[str, Any]:
    lost = ", ".join(name for name, _ in plan.voices if name in missing)
    failure = {"epoch": 0, "step": 0, "term": "teacher", "value": f"{lost} failed"}
    return _about(bench, plan, None) | {"failure": failure}


def _measure_ready(bench: Bench, name: str) -> dict[str, Any]:
    """A teacher from a file, measured like any other; once a run."""
    files = bench.directory.cohort(name)
    done = files.finished()
    if done is None:
        arm = bench.recipe.arms()[name]
        model = load_ready_teacher(name, arm, bench.images, bench.models).to(bench.device)
        about = _about(bench, LearnerPlan(name, name, "teacher", 0, ()), None)
        done = about | {"ended": "from a file"} | _measured(bench, name, model, [], [])
        files.finish(done)
    return done


def _curves(bench: Bench, plan: Plan) -> dict[tuple[str, int], list[dict[str, Any]]]:
    return {
        (learner.arm, learner.seed): bench.directory.cohort(cohort.key).metrics(learner.name).rows()
        for cohort in plan.cohorts
        for learner in cohort.learners
    }
