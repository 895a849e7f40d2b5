"""A sweep: many settings in few cohorts, one chosen on validation, that one run with all seeds and tested once."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from limbeck.report.page import write_report
from limbeck.report.sweep_page import write_sweep_report
from limbeck.runs.directory import RunDirectory
from limbeck.runs.errors import LimbeckError
from limbeck.runs.files import copy_folder, make_folder, read_json, saying_where, write_json
from limbeck.runs.recipe import Functions, Recipe
from limbeck.runs.recipe_file import NONE, load_recipe
from limbeck.runs.recipe_sweep import Sweep
from limbeck.runs.sweep_directory import SweepDirectory
from limbeck.types import Split

from .bench import Bench
from .board import Board
from .capacity import learners_at_once
from .choose import Outcome, best_of, chosen_recipe, outcomes
from .device import choose_device
from .environment import environment
from .follow import fingerprint
from .images import Images, load_images
from .joined import under_torchrun
from .plan import CohortPlan, Plan, make_plan
from .propose import Study
from .prune import MedianRule
from .run import checked_name, curves, results
from .settings import Setting, Settings, Source, as_written, combine, drawn, only
from .stop import PoliteStop
from .work import MakeRule, MakeWatcher, work_through

OF_THE_MACHINE = ("data", "threads", "device", "save_every_seconds", "keep_checkpoints")
"""What may differ between machines that share a sweep; the images themselves may not."""


@dataclass(frozen=True)
class Swept:
    """A finished sweep. folder: its directory. result: what `result.json` says. report: the page."""

    folder: Path
    result: dict[str, Any]
    report: Path
    was_finished: bool = False


def sweep(
    recipe: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    folder: str | Path = "runs",
    name: str | None = None,
    fresh: bool = False,
    losses: Functions = NONE,
    models: Functions = NONE,
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
    source = Source(recipe, tuple(overrides), losses, models)
    whole = source.read()
    if whole.sweep is None:
        raise LimbeckError("sweep: the recipe has no `sweep:` section with axes to try; `limbeck run` runs it as it is")
    if under_torchrun():
        raise LimbeckError("sweep: torchrun is for `limbeck run`; several `limbeck sweep` share their work without it")
    if ray is not None and whole.sweep.storage is not None:
        raise LimbeckError("sweep.storage: shares the work without Ray; leave out one of the two")
    directory = SweepDirectory(Path(folder) / checked_name(name or whole.name))
    with directory.shared(fresh=fresh), PoliteStop() as stop:
        with directory.deciding():
            directory.claim(whole.to_dict())
        if directory.result.exists():
            return Swept(directory.root, read_json(directory.result), directory.root / "report.md", was_finished=True)
        if whole.threads:
            torch.set_num_threads(whole.threads)
        images = load_images(whole.data)
        board = _board(directory, whole, images)
        hall = _Hall(directory, source, whole.sweep, images, choose_device(whole.device), board, ray)
        stop.obey()
        found = _search(hall, make_watcher, stop)
        result = _choose_and_test(hall, found, make_watcher, stop, command)
        with directory.deciding():
            if directory.result.exists():  # another process was the last
                result = read_json(directory.result)
            else:
                result |= {"recipe": whole.to_dict(), "search_seconds": found.seconds}
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
    searched = _untested(combined.recipe, whole.sweep)
    lines = [f"{whole.name}: {len(settings)} settings of {', '.join(whole.sweep.axes)}", ""]
    for number, setting in enumerate(settings):
        lines.append(f"{number:>5}  " + ", ".join(f"{axis} {value}" for axis, value in setting.items()))
    lines += ["", f"{'cohort of the search':<32}{'learners':>9}{'epochs':>8}"]
    for cohort in make_plan(searched, whole.sweep.cohort).cohorts:
        epochs = max(searched.arms()[learner.arm].epochs or 0 for learner in cohort.learners)
        lines.append(f"{cohort.key:<32}{len(cohort.learners):>9}{epochs:>8}")
    return lines


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


@dataclass(frozen=True)
class _Hall:
    """What all parts of a sweep share."""

    directory: SweepDirectory
    source: Source
    sweep: Sweep
    images: Images
    device: torch.device
    board: Board | None = None
    ray: str | None = None

    def work(
        self, bench: Bench, most: int | None, make_watcher: MakeWatcher | None, stop: PoliteStop,
        rule: MakeRule = lambda cohort: None,
    ) -> tuple[Plan, dict[str, dict[str, Any]]]:  # fmt: skip
        """Go through a recipe's cohorts here, or on the cluster."""
        plan = make_plan(bench.recipe, most)
        if self.ray is None:
            return plan, work_through(bench, plan, make_watcher, stop, rule)
        from .ray_work import work_through_cluster

        return plan, work_through_cluster(bench, plan, make_watcher, stop, rule, most=most, address=self.ray)

    def bench(self, recipe: Recipe, directory: RunDirectory) -> Bench:
        train = Split(self.images.train.images.to(self.device), self.images.train.labels.to(self.device))
        return Bench(
            recipe, self.images, train, self.device, directory, self.source.losses, self.source.models, board=self.board
        )


@dataclass
class _Found:
    """What the search knows. outcomes: for each setting, of each arm; swept: those that differ between settings."""

    settings: list[Setting] = field(default_factory=list)
    outcomes: list[dict[str, Outcome]] = field(default_factory=list)
    accuracies: list[list[float]] = field(default_factory=list)
    swept: list[str] = field(default_factory=list)
    seconds: float = 0.0


def _search(hall: _Hall, make_watcher: MakeWatcher | None, stop: PoliteStop) -> _Found:
    """Try all settings on validation, batch by batch where later ones are proposed from what earlier ones gave."""
    found = _Found()
    number = 0
    while settings := _decided(hall, found, number):
        _try(hall, found, number, *settings, make_watcher, stop)
        number += 1
    return found


def _try(
    hall: _Hall, found: _Found, number: int, settings: list[Setting], most: int, make_watcher: MakeWatcher | None,
    stop: PoliteStop,
) -> None:  # fmt: skip
    """Run one batch of settings and add what came of it."""
    batch = hall.directory.batch(number)
    combined, recipe = _recipe_of(hall, found, number, settings)
    with hall.directory.deciding():
        batch.claim(recipe.to_dict())
    if number:
        _take_teachers_over(hall.directory.batch(0), batch, recipe, make_plan(recipe, most))
    subject = {f"{of[arm]}-seed{seed}" for of in combined.variants for arm in found.swept for seed in recipe.seeds}
    earlier = found.accuracies

    def rule(cohort: CohortPlan) -> MedianRule | None:
        return MedianRule(subject, earlier) if hall.sweep.pruning else None

    bench = hall.bench(recipe, batch)
    plan, done = hall.work(bench, most, make_watcher, stop, rule)
    of_arm = outcomes(arm for cohort in done.values() for arm in cohort["arms"])
    rows = curves(bench, plan)
    found.settings += settings
    found.outcomes += [{arm: of_arm[name] for arm, name in of.items() if name in of_arm} for of in combined.variants]
    found.accuracies += [
        [row.get("validation_accuracy", 0.0) for row in rows[of[found.swept[0]], recipe.seeds[0]]]
        for of in combined.variants
    ]
    found.seconds += sum(cohort["wall_seconds"] for cohort in done.values())


def _recipe_of(hall: _Hall, found: _Found, number: int, settings: Sequence[Setting]) -> tuple[Settings, Recipe]:
    """The recipe of a batch; what no axis touches is in the first alone."""
    combined = combine(hall.source, hall.sweep, settings)
    found.swept = found.swept or combined.swept() or list(combined.recipe.students)
    recipe = combined.recipe
    if number:
        recipe = only(recipe, [of[arm] for of in combined.variants for arm in found.swept], hall.source)
    return combined, _untested(recipe, hall.sweep)


def first_settings(source: Source, sweep: Sweep) -> list[Setting]:
    """All settings of a grid or a random search, those with which `tpe` begins, and the one that is as written."""
    if sweep.strategy == "grid":
        settings = sweep.grid()
    else:
        count = sweep.trials or 0
        settings = drawn(sweep, count if sweep.strategy == "random" else min(count, sweep.batch))
    written = as_written(source, sweep)
    return settings if written is None or written in settings else [*settings, written]


def _decided(hall: _Hall, found: _Found, number: int) -> tuple[list[Setting], int] | None:
    """The settings of a batch and how many learners are taught at once: decided by the first process to come.

    None where there are no more.
    """
    batch = hall.directory.batch(number)
    path = batch.root / "settings.json"
    with hall.directory.deciding():
        if not path.exists():
            key = f"{batch.root.name}/settings"
            decided = hall.board.find(key) if hall.board else None
            if decided is None:
                settings = _next_settings(hall, found, number)
                if not settings:
                    return None
                _, recipe = _recipe_of(hall, found, number, settings)
                decided = {"settings": settings, "learners_at_once": _most(hall, recipe, batch)}
                decided = hall.board.agree(key, decided) if hall.board else decided
            with saying_where(batch.root):
                make_folder(batch.root)
            write_json(path, decided)
        known = read_json(path)
    return known["settings"], known["learners_at_once"]


def _next_settings(hall: _Hall, found: _Found, number: int) -> list[Setting]:
    if number == 0:
        return first_settings(hall.source, hall.sweep)
    if hall.sweep.strategy != "tpe":
        return []
    study = Study(hall.directory.root.name, hall.sweep, hall.directory.root / "search")
    for place, setting in enumerate(found.settings):
        if study.holds(setting):
            of = found.outcomes[place]
            means = [of[arm].mean for arm in found.swept]
            value = math.fsum(means) / len(means)
            own_name = f"{hall.directory.root.name if hall.board else hall.directory.root.absolute()}#{place}"
            study.tell(own_name, setting, found.accuracies[place], value if math.isfinite(value) else None)
    left = (hall.sweep.trials or 0) - max(len(study.known()), len(found.settings))
    return study.propose(min(hall.sweep.batch, left), number, found.settings) if left > 0 else []


def _most(hall: _Hall, recipe: Recipe, batch: RunDirectory) -> int:
    students = [cohort for cohort in make_plan(recipe).cohorts if len(cohort.learners) > 1]
    fits = [
        learners_at_once(hall.bench(recipe, batch), learner, cohort.views)
        for cohort in students
        for learner in _one_of_each_model(recipe, cohort.learners)
    ]
    return min([*fits, hall.sweep.cohort or math.inf, sys.maxsize])  # type: ignore[return-value]


def _one_of_each_model(recipe: Recipe, learners: Sequence[Any]) -> list[Any]:
    return list({repr(recipe.arms()[learner.arm].model): learner for learner in learners}.values())


def _untested(recipe: Recipe, sweep: Sweep) -> Recipe:
    """The search's recipe: its own seeds, no look at the test split, no time spent on timing."""
    tree = recipe.to_dict()
    tree["seeds"] = list(sweep.seeds or recipe.seeds[:1])
    tree["evaluation"] = tree["evaluation"] | {"test": False, "latency_batch": 0}
    return Recipe.model_validate(tree)


def _choose_and_test(
    hall: _Hall, found: _Found, make_watcher: MakeWatcher | None, stop: PoliteStop, command: str | None
) -> dict[str, Any]:
    """Run what was chosen with all seeds, beside the setting as written and the baseline, and read the test split."""
    written = as_written(hall.source, hall.sweep)
    standard = found.settings.index(written) if written in found.settings else None
    best = {arm: best_of([of[arm] for of in found.outcomes], arm) for arm in found.swept}
    combined = combine(hall.source, hall.sweep, found.settings)
    recipe = load_recipe(
        chosen_recipe(combined, best, standard), losses=hall.source.losses, models=hall.source.models
    )  # fmt: skip
    directory = hall.directory.chosen
    with hall.directory.deciding():
        with saying_where(directory.root):
            make_folder(directory.root)
        directory.claim(recipe.to_dict())
    bench = hall.bench(recipe, directory)
    _take_teachers_over(hall.directory.batch(0), directory, recipe, make_plan(recipe))
    plan, done = hall.work(bench, None, make_watcher, stop)
    result = results(bench, plan, done)
    result["command"] = command or " ".join(["limbeck", "sweep", *sys.argv[2:]])
    with hall.directory.deciding():
        if not directory.result.exists():
            write_report(directory.root, result, curves(bench, plan))
            write_json(directory.result, result)
    first = found.outcomes[0]
    fixed = {arm: [list(first[arm].values)] for arm in first if arm not in found.swept}
    return {
        "command": result["command"],
        "environment": environment(hall.device),
        "axes": list(hall.sweep.axes),
        "search_seeds": list(hall.sweep.seeds or recipe.seeds[:1]),
        "views_seed": recipe.views.seed,
        "settings": found.settings,
        "validation": {**fixed, **{arm: [list(of[arm].values) for of in found.outcomes] for arm in found.swept}},
        "ended": {arm: [of[arm].ended for of in found.outcomes] for arm in found.swept},
        "swept": found.swept,
        "best": best,
        "standard": standard,
        "chosen": result,
    }


def _take_teachers_over(search: RunDirectory, chosen: RunDirectory, recipe: Recipe, plan: Plan) -> None:
    """Lay what the search trained of a teacher into the other directory, where it is the very same teacher.

    Without `done.json`: the run finds its last checkpoint, has nothing left to teach, and measures it, test included.
    """
    searched = Recipe.model_validate(read_json(search.recipe))
    for cohort in plan.cohorts:
        arms = {learner.arm for learner in cohort.learners}
        same = all(
            arm in searched.teachers
            and searched.teachers[arm] == recipe.teachers.get(arm)
            and (searched.teachers[arm].views or searched.views) == (recipe.teachers[arm].views or recipe.views)
            for arm in arms
        )
        before, here = search.cohort(cohort.key), chosen.cohort(cohort.key)
        if not same or before.finished() is None:
            continue
        with here.claimed() as ours:
            if ours and not here.checkpoints.exists() and here.finished() is None:
                for part in ("metrics", "checkpoints"):  # in this order: the checkpoint says that both are there
                    if not (here.root / part).exists():
                        copy_folder(before.root / part, here.root / part)
