"""A sweep: many settings in few cohorts, one chosen on validation, that one run with all seeds and tested once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from limbeck.building.arguments import check_run
from limbeck.building.checks.before_training import check_before_training
from limbeck.building.checks.pretrained import check_ready_arms
from limbeck.building.data import Images, load_images
from limbeck.errors import LimbeckError
from limbeck.experiment.cohorts import MakeWatcher
from limbeck.experiment.custom_functions import must_be_as_begun
from limbeck.experiment.environment import environment
from limbeck.experiment.plan import make_plan
from limbeck.experiment.python_call import python_call
from limbeck.experiment.run import checked_name, curves, failures, results, say_of_files
from limbeck.experiment.signals import GracefulShutdown
from limbeck.experiment.timing import covered, summed
from limbeck.experiment.torchrun import under_torchrun
from limbeck.experiment.train_cohort import fingerprint
from limbeck.recipes.load import NO_FUNCTIONS, load_recipe
from limbeck.recipes.recipe import CustomFunctions, Recipe
from limbeck.report.page import write_report
from limbeck.report.sweep_page import write_sweep_report
from limbeck.storage.atomic import make_folder, read_json, saying_where, write_json
from limbeck.storage.sweep_directory import SweepDirectory
from limbeck.training.device import choose_device

from .context import SweepContext, take_teachers_over
from .search import Found, first_settings, search, untested
from .selection import best_of, chosen_recipe
from .shared_store import Board
from .trials import Source, as_written, combine

OF_THE_MACHINE = ("data", "threads", "device", "save_every_seconds", "keep_checkpoints")
"""What may differ between machines that share a sweep; the images themselves may not."""


@dataclass(frozen=True)
class Swept:
    """A finished sweep. folder: its directory. result: what `result.json` says. report: the page."""

    folder: Path
    result: dict[str, Any]
    report: Path
    was_finished: bool = False

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the learners of what was chosen that failed: they diverged, or their teacher did."""
        return tuple(failures(self.result["chosen"]))


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
    """Try the settings of a recipe's `sweep:` section, or go on with it; the arguments are those of `run`.

    Several processes may do so at once on one directory: they share the cohorts, and what one that dies leaves the
    others take over. Machines without a common disk do so through a database (`sweep.storage`), each in a directory of
    its own. The test split is read for the chosen setting alone, at the end.
    ray: the address of a Ray cluster that does the work (`auto`, `ray://…`, `local`).
    Raises LimbeckError for whatever a person can mend, `Stopped` after Ctrl-C or SIGTERM, all saved.
    """
    check_run(
        recipe, overrides, folder=folder, name=name, losses=losses, models=models, make_watcher=make_watcher
    )  # fmt: skip
    source = Source(recipe, tuple(overrides), losses, models)
    whole = source.read()
    if whole.sweep is None:
        raise LimbeckError("sweep: the recipe has no `sweep:` section with axes to try; `limbeck run` runs it as it is")
    if under_torchrun():
        raise LimbeckError("sweep: torchrun is for `limbeck run`; several `limbeck sweep` share their work without it")
    if ray is not None and whole.sweep.storage is not None:
        raise LimbeckError("sweep.storage: shares the work without Ray; leave out one of the two")
    directory = SweepDirectory(Path(folder) / checked_name(name or whole.name))
    with directory.shared(whole.to_dict(), fresh=fresh), GracefulShutdown() as stop:
        must_be_as_begun(directory.root, losses, models, trained=directory.batch(0).has_trained())
        if directory.result.exists():
            return Swept(directory.root, read_json(directory.result), directory.root / "report.md", was_finished=True)
        if whole.threads:
            torch.set_num_threads(whole.threads)
        images = load_images(whole.data)
        board = _board(directory, whole, images)
        if command is None and not (losses or models):
            options = {"folder": folder, "name": name, "fresh": fresh, "ray": ray}
            command = python_call("sweep", recipe, overrides, options)
        context = SweepContext(directory, source, whole.sweep, images, choose_device(whole.device), board, ray)
        stop.check()
        tried = combine(source, whole.sweep, first_settings(source, whole.sweep)).recipe
        check_before_training(tried, images, models, losses=losses)
        if not directory.batch(0).has_trained():
            check_ready_arms(tried, images, context.device, models, say_of_files(tried, make_watcher))
        found = search(context, make_watcher, stop)
        result = _choose_and_test(context, found, make_watcher, stop, command)
        with directory.deciding():
            if directory.result.exists():  # another process was the last
                result = read_json(directory.result)
            else:
                result |= {
                    "recipe": whole.to_dict(),
                    "search_seconds": covered(found.spans),
                    "search_compute_seconds": summed(found.spans),
                }
                write_sweep_report(directory.root, result)
                write_json(directory.result, result)
    return Swept(directory.root, result, directory.root / "report.md")


def describe_sweep(recipe: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> list[str]:
    """The settings of a sweep and the cohorts of its search, in lines for a person; nothing is trained."""
    source = Source(recipe, tuple(overrides))
    whole = source.read()
    if whole.sweep is None:
        raise LimbeckError("sweep: the recipe has no `sweep:` section with axes to try; `limbeck run` runs it as it is")
    settings = first_settings(source, whole.sweep)
    combined = combine(source, whole.sweep, settings)
    searched = untested(combined.recipe, whole.sweep)
    images = load_images(whole.data)
    check_before_training(searched, images, NO_FUNCTIONS, published=False)
    measured: list[str] = []
    check_ready_arms(searched, images, choose_device(whole.device), NO_FUNCTIONS, measured.append)
    lines = [f"{whole.name}: {len(settings)} settings of {', '.join(whole.sweep.axes)}", ""]
    for number, setting in enumerate(settings):
        lines.append(f"{number:>5}  " + ", ".join(f"{axis} {value}" for axis, value in setting.items()))
    lines += ["", f"{'cohort of the search':<32}{'learners':>9}{'epochs':>8}"]
    for cohort in make_plan(searched, whole.sweep.cohort).cohorts:
        epochs = max(searched.arms()[learner.arm].epochs or 0 for learner in cohort.learners)
        lines.append(f"{cohort.key:<32}{len(cohort.learners):>9}{epochs:>8}")
    return [*lines, *([""] if measured else []), *measured]


def _board(directory: SweepDirectory, whole: Recipe, images: Images) -> Board | None:
    """Where machines without a common disk share the work. Raises LimbeckError where it is another recipe's."""
    if whole.sweep is None or whole.sweep.storage is None:
        return None
    board = Board(directory.root.name, whole.sweep.storage)
    recipe = {key: value for key, value in whole.to_dict().items() if key not in OF_THE_MACHINE}
    own = fingerprint({**recipe, "images": images.fingerprint})
    if board.agree("recipe", {"fingerprint": own})["fingerprint"] != own:
        raise LimbeckError(
            f"sweep.storage: another recipe or other images are swept there as {directory.root.name!r}; give a --name"
        )
    return board


def _choose_and_test(
    context: SweepContext, found: Found, make_watcher: MakeWatcher | None, stop: GracefulShutdown, command: str | None
) -> dict[str, Any]:
    """Run what was chosen with all seeds, beside the setting as written and the baseline, and read the test split."""
    written = as_written(context.source, context.sweep)
    standard = found.settings.index(written) if written in found.settings else None
    best = {arm: best_of([of[arm] for of in found.outcomes], arm) for arm in found.swept}
    combined = combine(context.source, context.sweep, found.settings)
    recipe = load_recipe(
        chosen_recipe(combined, best, standard), losses=context.source.losses, models=context.source.models
    )  # fmt: skip
    directory = context.directory.chosen
    with context.directory.deciding():
        with saying_where(directory.root):
            make_folder(directory.root)
        directory.claim(recipe.to_dict())
    run_context = context.run_context(recipe, directory)
    take_teachers_over(context.directory.batch(0), directory, recipe, make_plan(recipe))
    plan, done = context.work(run_context, None, make_watcher, stop)
    result = results(run_context, plan, done)
    result["command"] = command
    with context.directory.deciding():
        if not directory.result.exists():
            write_report(directory.root, result, curves(run_context, plan))
            write_json(directory.result, result)
    first = found.outcomes[0]
    fixed = {arm: [list(first[arm].values)] for arm in first if arm not in found.swept}
    return {
        "command": result["command"],
        "environment": environment(context.device),
        "axes": list(context.sweep.axes),
        "search_seeds": list(context.sweep.seeds or recipe.seeds[:1]),
        "views_seed": recipe.views.seed,
        "settings": found.settings,
        "validation": {**fixed, **{arm: [list(of[arm].values) for of in found.outcomes] for arm in found.swept}},
        "ended": {arm: [of[arm].ended for of in found.outcomes] for arm in found.swept},
        "swept": found.swept,
        "best": best,
        "standard": standard,
        "chosen": result,
    }
