"""A plan becomes a run directory: cohort after cohort, each continued where it stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from limbeck.building.arguments import check_run
from limbeck.building.checks.before_training import check_before_training
from limbeck.building.checks.pretrained import check_ready_arms
from limbeck.building.data import load_images
from limbeck.errors import LimbeckError
from limbeck.recipes.fields import folder_name
from limbeck.recipes.load import NO_FUNCTIONS, load_recipe
from limbeck.recipes.recipe import CustomFunctions, Recipe
from limbeck.report.page import write_report
from limbeck.storage.atomic import read_json, write_json
from limbeck.storage.run_directory import RunDirectory
from limbeck.training.distributed import Processes

from .beside_baseline import beside_baseline
from .cohorts import MakeWatcher, train_cohorts
from .context import RunContext
from .custom_functions import must_be_as_begun
from .environment import environment
from .extend import earlier_recipes, extensions, how_to_extend, plan_of
from .extend import extend as extend_run
from .plan import Plan, baseline_of
from .python_call import python_call
from .results import measure_pretrained
from .signals import GracefulShutdown
from .timing import times
from .torchrun import must_match_main_process, process_group


@dataclass(frozen=True)
class Run:
    """A finished run. folder: its directory. result: what `result.json` says. report: the page."""

    folder: Path
    result: dict[str, Any]
    report: Path
    was_finished: bool = False

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the learners that failed: they diverged, or their teacher did."""
        return tuple(failures(self.result))


def failures(result: Mapping[str, Any]) -> dict[str, str]:
    """What became of each learner of a result that failed, by its name."""
    return {
        f"{arm['arm']}-seed{arm['seed']}": "{term} was {value} at epoch {epoch}, step {step}".format(**failure)
        if failure["epoch"]
        else str(failure["value"])
        for arm in result["arms"]
        if (failure := arm.get("failure"))
    }


def run(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    overrides: Sequence[str] = (),
    *,
    folder: str | Path = "runs",
    name: str | None = None,
    fresh: bool = False,
    extend: bool = False,
    losses: CustomFunctions = NO_FUNCTIONS,
    models: CustomFunctions = NO_FUNCTIONS,
    make_watcher: MakeWatcher | None = None,
    command: str | None = None,
) -> Run:
    """Run a recipe, or go on with it where it stopped.

    recipe: a path, a shipped recipe's name, a dict or a `Recipe`. folder: where run directories lie.
    name: of this run's directory (the recipe's name). fresh: delete what is there and start anew.
    extend: keep what is there and add what this recipe has besides: seeds, arms, epochs of arms whose schedule allows
    it (constant, step, multi_step, or a new one).
    losses, models: functions of your own, by the names that the recipe uses.
    make_watcher: gives what is told of each cohort; see `Watcher`.

    Under `torchrun` all its processes teach together; the first alone writes, measures and calls watchers, and all
    must see the same `folder`.

    Raises LimbeckError for whatever a person can mend, `Stopped` after Ctrl-C or SIGTERM, all saved.
    """
    check_run(
        recipe, overrides, folder=folder, name=name, losses=losses, models=models, make_watcher=make_watcher
    )  # fmt: skip
    given = recipe
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, overrides, losses=losses, models=models)
    if recipe.sweep:
        raise LimbeckError("sweep: this recipe has settings to try; run it with `limbeck sweep`, or with sweep=null")
    if fresh and extend:
        raise LimbeckError("--fresh deletes what --extend keeps; take one of the two")
    directory = RunDirectory(Path(folder) / checked_name(name or recipe.name))
    report = directory.root / "report.md"
    with (
        process_group(recipe.device) as (processes, device),
        GracefulShutdown(processes) as stop,
        directory.locked() if processes.is_first else contextlib.nullcontext(),
    ):
        if processes.is_first:
            if fresh:
                directory.empty()
            _claim(directory, recipe, make_watcher, extend=extend)
            must_be_as_begun(directory.root, losses, models, trained=directory.has_trained())
        (finished,) = processes.broadcast_from_first([processes.is_first and directory.result.exists()])
        if not finished:
            if recipe.threads:
                torch.set_num_threads(recipe.threads)
            context = _bench(recipe, directory, device, processes, losses, models)
            stop.check()
            if processes.is_first:
                check_before_training(recipe, context.images, models, losses=losses)
                if not directory.has_trained():
                    check_ready_arms(recipe, context.images, device, models, say_of_files(recipe, make_watcher))
            processes.barrier()
            context = dataclasses.replace(context, earlier=earlier_recipes(directory))
            plan = plan_of(directory, recipe)
            done = train_cohorts(context, plan, make_watcher if processes.is_first else None, stop)
            if processes.is_first:
                result = results(context, plan, done)
                if added := extensions(directory):
                    result["extended"] = added
                options = {"folder": folder, "name": name, "fresh": fresh, "extend": extend}
                call = None if losses or models else options
                result["command"] = command or python_call("run", given, overrides, call)
                write_report(directory.root, result, curves(context, plan))
                write_json(directory.result, result)
            processes.barrier()
        return Run(directory.root, read_json(directory.result), report, was_finished=bool(finished))


def _claim(directory: RunDirectory, recipe: Recipe, make_watcher: MakeWatcher | None, *, extend: bool) -> None:
    """Make this the directory of the recipe, or see that it is; where asked to, by adding to what is there."""
    directory.finish_extension()
    if extend and directory.has_trained() and directory.recipe.exists() and directory.changed(recipe.to_dict()):
        lines = extend_run(directory, recipe)
        if make_watcher:
            say = make_watcher("extended", []).say
            for line in lines:
                say(f"extended: {line}")
    directory.claim(recipe.to_dict(), otherwise=lambda: how_to_extend(directory, recipe))


def _bench(
    recipe: Recipe,
    directory: RunDirectory,
    device: torch.device,
    processes: Processes,
    losses: CustomFunctions,
    models: CustomFunctions,
) -> RunContext:
    """What all cohorts share. With several processes: after seeing that they can teach together."""
    if not processes.is_single:
        if recipe.outputs_bank is not None:
            raise LimbeckError("outputs_bank: is written and read by one process; leave it out under torchrun")
        if not directory.recipe.exists():
            raise LimbeckError(f"{directory.root}: is not seen by process {processes.rank}; all need a common --folder")
        must_match_main_process(processes, "the recipe", json.dumps(recipe.to_dict()))
    if not processes.is_first:
        processes.barrier()  # the first decodes and stores; the others find it in the cache
    images = load_images(recipe.data)
    if processes.is_first:
        processes.barrier()
    must_match_main_process(processes, "data", images.fingerprint)
    for arm in recipe.arms().values():
        size = min((arm.views or recipe.views).batch_size, len(images.train))
        if size < processes.world_size:
            raise LimbeckError(f"views: a batch of {size} has no image for each of {processes.world_size} processes")
    train = images.train.to(device)
    return RunContext(recipe, images, train, device, directory, losses, models, processes)


def say_of_files(recipe: Recipe, make_watcher: MakeWatcher | None) -> Callable[[str], None]:
    """Where lines about arms from files go, if there are any."""
    ready = [name for name, arm in recipe.arms().items() if not arm.trained]
    return make_watcher("ready", ready).say if make_watcher and ready else lambda line: None


def checked_name(name: str) -> str:
    """The name of a run's directory. Raises LimbeckError for what is none."""
    try:
        return folder_name(name)
    except ValueError as error:
        raise LimbeckError(f"--name: {error}") from error


def results(context: RunContext, plan: Plan, done: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What `result.json` says of a plan whose cohorts are done: recipe, environment, every arm's measures."""
    of_cohorts = [done[cohort.key] for cohort in plan.cohorts]
    # What an arm is compared with may have been added after it was measured.
    arms = [
        arm | {"baseline": baseline_of(context.recipe, arm["arm"])} for cohort in of_cohorts for arm in cohort["arms"]
    ]
    ready = [measure_pretrained(context, name) for name in plan.ready]
    return {
        "recipe": context.recipe.to_dict(),
        "environment": environment(context.device, context.processes.world_size),
        **times(of_cohorts, processes=context.processes.world_size),
        "class_names": list(context.images.class_names),
        "images": {s: len(getattr(context.images, s)) for s in ("train", "validation", "test")},
        "data_notes": list(context.images.notes),
        "arms": beside_baseline(in_recipes_order(context.recipe, [*ready, *arms])),
    }


def in_recipes_order(recipe: Recipe, arms: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Results of learners as the recipe names their arms and seeds, whatever the order in which they were trained."""
    places = {name: place for place, name in enumerate(recipe.arms())}
    seeds = {seed: place for place, seed in enumerate(recipe.seeds)}
    return sorted(arms, key=lambda arm: (places[arm["arm"]], seeds.get(arm["seed"], 0)))


def curves(context: RunContext, plan: Plan) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Rows of metrics, one an epoch, by (arm, seed)."""
    return {
        (learner.arm, learner.seed): context.directory.cohort(cohort.key).metrics(learner.name).rows()
        for cohort in plan.cohorts
        for learner in cohort.learners
    }
