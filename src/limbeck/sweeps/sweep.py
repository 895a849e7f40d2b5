"""A sweep: trials in shared cohorts, selection on the validation set, final runs of the best trial with all seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from limbeck.building.arguments import check_run
from limbeck.building.checks.before_training import check_before_training
from limbeck.building.checks.pretrained import check_arms_from_files
from limbeck.building.data import Images, load_images
from limbeck.errors import LimbeckError
from limbeck.experiment.cohorts import MakeWatcher
from limbeck.experiment.custom_functions import check_unchanged_functions
from limbeck.experiment.environment import environment, python_call
from limbeck.experiment.notebook_progress import watch_in_notebook
from limbeck.experiment.plan import make_plan
from limbeck.experiment.results import curves, failures, keep_sample_images, run_result
from limbeck.experiment.run import run_directory_name, say_about_files
from limbeck.experiment.signals import GracefulShutdown
from limbeck.experiment.timing import covered, summed
from limbeck.experiment.torchrun import under_torchrun
from limbeck.experiment.train_cohort import fingerprint
from limbeck.recipes.load import NO_FUNCTIONS, load_recipe
from limbeck.recipes.recipe import CustomFunctions, Recipe
from limbeck.report.page import write_report
from limbeck.report.pages.sweep_page import write_sweep_report
from limbeck.report.run_data import sweep_of_result
from limbeck.report.table_files.results import arm_dicts
from limbeck.report.table_files.trials import trials_table
from limbeck.report.web_page.notebook import html_of_sweep
from limbeck.storage.atomic import make_folder, read_json, write_json
from limbeck.storage.sweep_directory import SweepDirectory
from limbeck.trackers.epoch_log import check_installed
from limbeck.training.device import choose_device

from .context import SweepContext, reuse_teachers
from .search import SearchState, first_trials, search, search_recipe
from .selection import best_of, selected_recipe
from .shared_store import SharedStore
from .trials import RecipeSource, merge_trials, trial_as_written

MACHINE_KEYS = ("data", "threads", "device", "save_every_seconds", "keep_checkpoints", "log")
"""Recipe keys that may differ between machines that share a sweep; the images themselves may not."""
NO_AXES = "sweep: the recipe has no `sweep:` section with axes; `limbeck run` trains it as it is"


@dataclass(frozen=True)
class Swept:
    """A finished sweep. folder: its directory. result: the content of `result.json`. report: path of the report.

    was_finished: whether it had finished before this call.
    """

    folder: Path
    result: dict[str, Any]
    report: Path
    was_finished: bool = False

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the learners of the final runs that failed: they diverged, or their teacher did."""
        return tuple(failures(self.result["chosen"]))

    def table(self) -> list[dict[str, Any]]:
        """The results of the final runs as one dict for each arm, as `Run.table` gives them."""
        return arm_dicts(self.result["chosen"])

    def trials(self) -> list[dict[str, Any]]:
        """One dict for each trial of each swept arm, best first.

        It has the values of all axes, the validation accuracy in percent (`validation_top1`, `_sd`, `_n`) and how
        training `ended`.
        """
        return trials_table(sweep_of_result(self.result)).dicts()

    def _repr_html_(self) -> str:
        return html_of_sweep(self.folder, self.result)


def sweep(
    recipe: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    folder: str | Path = "runs",
    name: str | None = None,
    fresh: bool = False,
    losses: CustomFunctions = NO_FUNCTIONS,
    models: CustomFunctions = NO_FUNCTIONS,
    make_watcher: MakeWatcher | None = None,
    command: str | None = None,
    ray: str | None = None,
) -> Swept:
    """Run or resume the trials of a recipe's `sweep:` section; the other arguments are those of `run`.

    Several processes can work on one directory at once: they share the cohorts, and take over those of a process that
    dies. Machines without a common disk share them through a database (`sweep.storage`), each with its own directory.
    The held-out test set is evaluated at the end, for the selected trials only.

    ray: the address of a Ray cluster for the training (`auto`, `ray://…`, `local`).

    Raises LimbeckError for errors that the user can fix, and `Stopped` after Ctrl-C or SIGTERM, with everything
    saved.
    """
    check_run(
        recipe, overrides, folder=folder, name=name, losses=losses, models=models, make_watcher=make_watcher
    )  # fmt: skip
    source = RecipeSource(recipe, tuple(overrides), losses, models)
    checked = source.read()
    if checked.sweep is None:
        raise LimbeckError(NO_AXES)
    if under_torchrun():
        raise LimbeckError("sweep: torchrun is for `limbeck run`; several `limbeck sweep` share the work without it")
    if ray is not None and checked.sweep.storage is not None:
        raise LimbeckError("sweep.storage: cannot be combined with --ray; use one of them")
    check_installed(checked.log)
    make_watcher = make_watcher or watch_in_notebook()
    directory = SweepDirectory(Path(folder) / run_directory_name(name or checked.name))
    with directory.join(checked.to_dict(), fresh=fresh), GracefulShutdown() as stop:
        check_unchanged_functions(directory.root, losses, models, trained=directory.batch(0).has_trained())
        if directory.result.exists():
            return Swept(directory.root, read_json(directory.result), directory.root / "report.md", was_finished=True)
        if checked.threads:
            torch.set_num_threads(checked.threads)
        images = load_images(checked.data)
        store = _open_store(directory, checked, images)
        if command is None and not (losses or models):
            options = {"folder": folder, "name": name, "fresh": fresh, "ray": ray}
            command = python_call("sweep", recipe, overrides, options)
        context = SweepContext(directory, source, checked.sweep, images, choose_device(checked.device), store, ray)
        stop.check()
        merged = merge_trials(source, checked.sweep, first_trials(source, checked.sweep)).recipe
        check_before_training(merged, images, models, losses=losses)
        if not directory.batch(0).has_trained():
            check_arms_from_files(merged, images, context.device, models, say_about_files(merged, make_watcher))
        state = search(context, make_watcher, stop)
        result = _select_and_test(context, state, make_watcher, stop, command)
        with directory.decision_lock():
            if directory.result.exists():  # another process finished first
                result = read_json(directory.result)
            else:
                result |= {
                    "recipe": checked.to_dict(),
                    "search_seconds": covered(state.spans),
                    "search_compute_seconds": summed(state.spans),
                }
                write_sweep_report(directory.root, result)
                write_json(directory.result, result)
    return Swept(directory.root, result, directory.root / "report.md")


def describe_sweep(recipe: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> list[str]:
    """The trials of a sweep and the cohorts of its search, as lines of text; nothing is trained."""
    source = RecipeSource(recipe, tuple(overrides))
    checked = source.read()
    if checked.sweep is None:
        raise LimbeckError(NO_AXES)
    trials = first_trials(source, checked.sweep)
    searched = search_recipe(merge_trials(source, checked.sweep, trials).recipe, checked.sweep)
    images = load_images(checked.data)
    check_before_training(searched, images, NO_FUNCTIONS, published=False)
    measured: list[str] = []
    check_arms_from_files(searched, images, choose_device(checked.device), NO_FUNCTIONS, measured.append)
    lines = [f"{checked.name}: {len(trials)} trials over {', '.join(checked.sweep.axes)}", ""]
    for number, trial in enumerate(trials):
        lines.append(f"{number:>5}  " + ", ".join(f"{axis} {value}" for axis, value in trial.items()))
    lines += ["", f"{'search cohort':<32}{'learners':>9}{'epochs':>8}"]
    for cohort in make_plan(searched, checked.sweep.cohort).cohorts:
        epochs = max(searched.arms()[learner.arm].epochs or 0 for learner in cohort.learners)
        lines.append(f"{cohort.key:<32}{len(cohort.learners):>9}{epochs:>8}")
    return [*lines, *([""] if measured else []), *measured]


def _open_store(directory: SweepDirectory, recipe: Recipe, images: Images) -> SharedStore | None:
    """The store of `sweep.storage`, if there is one. Raises LimbeckError if it holds a sweep of another recipe."""
    if recipe.sweep is None or recipe.sweep.storage is None:
        return None
    store = SharedStore(directory.root.name, recipe.sweep.storage)
    shared = {key: value for key, value in recipe.to_dict().items() if key not in MACHINE_KEYS}
    own = fingerprint({**shared, "images": images.fingerprint})
    if store.setdefault("recipe", {"fingerprint": own})["fingerprint"] != own:
        raise LimbeckError(
            f"sweep.storage: holds a sweep {directory.root.name!r} of another recipe or other images; give a --name"
        )
    return store


def _select_and_test(
    context: SweepContext, state: SearchState, make_watcher: MakeWatcher | None, stop: GracefulShutdown,
    command: str | None,
) -> dict[str, Any]:  # fmt: skip
    """Run the best trial of each arm, the trial as written and the baseline with all seeds, and test them."""
    own_values = trial_as_written(context.source, context.sweep)
    as_written = state.trials.index(own_values) if own_values in state.trials else None
    best = {arm: best_of([of[arm] for of in state.outcomes], arm) for arm in state.swept}
    merged = merge_trials(context.source, context.sweep, state.trials)
    recipe = load_recipe(
        selected_recipe(merged, best, as_written), losses=context.source.losses, models=context.source.models
    )
    directory = context.directory.chosen
    with context.directory.decision_lock():
        make_folder(directory.root)
        directory.bind(recipe.to_dict())
    run_context = context.run_context(recipe, directory)
    reuse_teachers(context.directory.batch(0), directory, recipe, make_plan(recipe))
    plan, done = context.train(run_context, stop, make_watcher)
    result = run_result(run_context, plan, done)
    result["command"] = command
    with context.directory.decision_lock():
        if not directory.result.exists():
            keep_sample_images(run_context, result["arms"])
            write_report(directory.root, result, curves(run_context, plan))
            write_json(directory.result, result)
    first = state.outcomes[0]
    fixed = {arm: [list(first[arm].values)] for arm in first if arm not in state.swept}
    return {
        "command": result["command"],
        "environment": environment(context.device),
        "axes": list(context.sweep.axes),
        "search_seeds": list(context.sweep.seeds or recipe.seeds[:1]),
        "views_seed": recipe.views.seed,
        "settings": state.trials,
        "validation": {**fixed, **{arm: [list(of[arm].values) for of in state.outcomes] for arm in state.swept}},
        "ended": {arm: [of[arm].ended for of in state.outcomes] for arm in state.swept},
        "swept": state.swept,
        "best": best,
        "standard": as_written,
        "chosen": result,
    }
