"""The story of `limbeck run`: recipe, plan, context, cohorts trained and measured, result.json and the report.

It reads from top to bottom in `run`. Each step lives in a file of its own: `plan` groups learners into cohorts,
`context` loads what they share, `cohorts` trains them one after the other, `results` measures them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.building.arguments import check_run
from limbeck.building.checks.before_training import check_before_training
from limbeck.building.checks.pretrained import check_arms_from_files
from limbeck.errors import LimbeckError
from limbeck.recipes.fields import folder_name
from limbeck.recipes.load import NO_FUNCTIONS, load_recipe
from limbeck.recipes.recipe import CustomFunctions, Recipe
from limbeck.report.page import write_report
from limbeck.report.table_files.results import arm_dicts
from limbeck.report.web_page.notebook import html_of_run
from limbeck.storage.atomic import read_json, write_json
from limbeck.storage.run_directory import RunDirectory
from limbeck.trackers.epoch_log import check_installed

from .cohorts import MakeWatcher, train_cohorts
from .context import open_context
from .custom_functions import check_unchanged_functions
from .environment import python_call
from .extend import extend as extend_run
from .extend import extensions, how_to_extend, plan_of
from .logs import complete_logs
from .notebook_progress import watch_in_notebook
from .results import curves, failures, keep_sample_images, run_result, with_current_test_time
from .signals import GracefulShutdown
from .torchrun import process_group


@dataclass(frozen=True)
class Run:
    """A finished run. folder: its directory. result: the content of `result.json`. report: the page.

    was_finished: whether it was finished before this call.
    """

    folder: Path
    result: dict[str, Any]
    report: Path
    was_finished: bool = False

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the learners that failed: they diverged, or their teacher did."""
        return tuple(failures(self.result))

    def table(self) -> list[dict[str, Any]]:
        """The results as one dict for each arm: accuracy, gap, retention, gain and cost, for any table library.

        Accuracies are percentages. `top1` is the mean over `top1_n` seeds, `top1_sd` their standard deviation; `gain`
        over the baseline has the bounds `gain_low` and `gain_high` of its 95 % confidence interval. What was not
        measured is None.
        """
        return arm_dicts(self.result)

    def _repr_html_(self) -> str:
        return html_of_run(self.folder, self.result)


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
    """Run a recipe, or continue it where it stopped.

    recipe: a path, a shipped recipe's name, a dict or a `Recipe`. folder: where run directories are.
    name: of this run's directory (default: the recipe's name). fresh: delete what is there and start over.
    extend: retain what is there and add what this recipe has besides: seeds, arms, epochs of arms whose schedule allows
    it (constant, step, multi_step, or a new one), test-time augmentation, logs.
    losses, models: your own functions, by the names that the recipe uses.
    make_watcher: gives the callbacks of each cohort; see `Watcher` (default: a progress bar in a notebook, else none).

    Under `torchrun` all processes train together; only the first one writes, measures and calls watchers, and all must
    see the same `folder`.

    Raises LimbeckError for every error that the user can fix, `Stopped` after Ctrl-C or SIGTERM, with everything saved.
    """
    check_run(
        recipe, overrides, folder=folder, name=name, losses=losses, models=models, make_watcher=make_watcher
    )  # fmt: skip
    given = recipe
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, overrides, losses=losses, models=models)
    if recipe.sweep:
        raise LimbeckError("sweep: this recipe is a sweep; run it with `limbeck sweep`, or add sweep=null")
    if fresh and extend:
        raise LimbeckError("--fresh deletes what --extend keeps; give one of the two")
    check_installed(recipe.log)
    make_watcher = make_watcher or watch_in_notebook()
    directory = RunDirectory(Path(folder) / run_directory_name(name or recipe.name))
    report = directory.root / "report.md"
    with (
        process_group(recipe.device) as (processes, device),
        GracefulShutdown(processes) as stop,
        directory.locked() if processes.is_first else contextlib.nullcontext(),
    ):
        if processes.is_first:
            if fresh:
                directory.clear()
            _claim(directory, recipe, make_watcher, extend=extend)
            check_unchanged_functions(directory.root, losses, models, trained=directory.has_trained())
        (was_finished,) = processes.broadcast_from_first([processes.is_first and directory.result.exists()])
        if was_finished:
            return Run(directory.root, read_json(directory.result), report, was_finished=True)

        context = open_context(recipe, directory, device=device, losses=losses, models=models, processes=processes)
        stop.check()
        if processes.is_first:
            check_before_training(recipe, context.images, models, losses=losses)
            if not directory.has_trained():
                check_arms_from_files(recipe, context.images, device, models, say_about_files(recipe, make_watcher))
        processes.barrier()
        plan = plan_of(directory, recipe)
        cohorts = train_cohorts(context, plan, stop, make_watcher if processes.is_first else None)
        if processes.is_first:
            complete_logs(context, plan.cohorts, lambda line: make_watcher and make_watcher("logs", []).say(line))
            cohorts = with_current_test_time(context, cohorts, stop, make_watcher)
            result = run_result(context, plan, cohorts)
            if added := extensions(directory):
                result["extended"] = added
            options = {"folder": folder, "name": name, "fresh": fresh, "extend": extend}
            call = None if losses or models else options
            result["command"] = command or python_call("run", given, overrides, call)
            keep_sample_images(context, result["arms"])
            write_report(directory.root, result, curves(context, plan))
            write_json(directory.result, result)
        processes.barrier()
        return Run(directory.root, read_json(directory.result), report)


def _claim(directory: RunDirectory, recipe: Recipe, make_watcher: MakeWatcher | None, *, extend: bool) -> None:
    """Bind the directory to the recipe, or check that it is bound to it; with `extend`, extend the existing run."""
    directory.finish_extension()
    if extend and directory.has_trained() and directory.recipe.exists() and directory.recipe_changes(recipe.to_dict()):
        lines = extend_run(directory, recipe)
        if make_watcher:
            say = make_watcher("extended", []).say
            for line in lines:
                say(f"extended: {line}")
    directory.bind(recipe.to_dict(), hint=lambda: how_to_extend(directory, recipe))


def say_about_files(recipe: Recipe, make_watcher: MakeWatcher | None) -> Callable[[str], None]:
    """The function that is given lines about arms from files; it does nothing if the recipe has none."""
    from_files = [name for name, arm in recipe.arms().items() if not arm.trained]
    return make_watcher("ready", from_files).say if make_watcher and from_files else lambda line: None


def run_directory_name(name: str) -> str:
    """`name` if it is valid as the name of a run directory. Raises LimbeckError otherwise."""
    try:
        return folder_name(name)
    except ValueError as error:
        raise LimbeckError(f"--name: {error}") from error
