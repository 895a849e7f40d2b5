"""The outputs banks of a run: their sizes, whether the disk has room for them, and opening those of a cohort."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from limbeck.building.data import Images, view_planner
from limbeck.errors import LimbeckError
from limbeck.recipes.recipe import NameWithOptions, Recipe
from limbeck.storage.run_directory import LearnerId
from limbeck.training.outputs_bank import bank as outputs_bank
from limbeck.training.outputs_bank.bank import OutputsBank
from limbeck.training.outputs_bank.key import bank_key, shape, views_key
from limbeck.training.outputs_bank.teacher import BankedTeacher
from limbeck.training.teacher import Teacher
from limbeck.types import Split
from limbeck.views.plan import ViewPlanner

from .context import RunContext
from .plan import CohortPlan

GB = 2**30
KEEP_FREE = 2**28
"""Bytes of disk space that banks leave free."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class BankPlan:
    """What a bank will hold: the outputs of a teacher for the views of `epochs` epochs.

    built_from: the recipe of the teacher's model, part of the bank's key.
    """

    teacher: str
    planner: ViewPlanner
    epochs: int
    classes: int
    built_from: Mapping[str, Any]

    @property
    def epoch_bytes(self) -> int:
        """Bytes of one epoch."""
        return outputs_bank.epoch_bytes(shape(self.planner, self.classes))

    @property
    def size(self) -> int:
        """Bytes of all epochs."""
        return self.epochs * self.epoch_bytes


def plan_banks(recipe: Recipe, cohorts: Iterable[CohortPlan], images: Images) -> list[BankPlan]:
    """One bank for each teacher and each sequence of views that it sees; none if the recipe has no `outputs_bank`."""
    if recipe.outputs_bank is None:
        return []
    arms = recipe.arms()
    epochs: dict[tuple[LearnerId, ViewPlanner], int] = {}
    for cohort in cohorts:
        planner = view_planner(images, cohort.views, cohort.view_seed)
        for teacher in cohort.teachers:
            students = [learner for learner in cohort.learners if teacher in dict(learner.teachers)]
            longest = max(arms[student.arm].epochs or 0 for student in students)
            # Cohorts that differ only in how often views repeat share the epochs that they have in common.
            bank = teacher, replace(planner, views=planner.views.model_copy(update={"distinct_epochs": None}))
            epochs[bank] = max(epochs.get(bank, 0), distinct(planner, longest))
    classes = len(images.class_names)
    return [
        BankPlan(str(teacher), planner, count, classes, model_of(arms[teacher.arm].model))
        for (teacher, planner), count in epochs.items()
    ]


def distinct(planner: ViewPlanner, epochs: int) -> int:
    """How many of the epochs of a training have distinct views."""
    return min(epochs, planner.views.distinct_epochs or epochs)


def check_limit(banks: Sequence[BankPlan], limit_gb: float) -> None:
    """Raises LimbeckError if banks would exceed the recipe's limit. It says how large they are and what to do."""
    total = sum(bank.size for bank in banks)
    if total <= limit_gb * GB:
        return
    largest = max(banks, key=lambda bank: bank.size)
    others = f", and all {len(banks)} banks of this run {amount(total)}" if len(banks) > 1 else ""
    fit = int(limit_gb * GB // sum(bank.epoch_bytes for bank in banks))
    fewer = f", set views.distinct_epochs ({fit} fit)," if fit else " (not one epoch fits)"
    raise LimbeckError(
        f"outputs_bank: the answers of {largest.teacher!r} to {largest.epochs} epochs of views would take "
        f"{amount(largest.size)}{others}, and limit_gb is {limit_gb:g}: raise outputs_bank.limit_gb{fewer} or leave "
        "outputs_bank out"
    )


def check_disk(missing: int) -> None:
    """Raises LimbeckError if the disk of the cache has no room for `missing` bytes."""
    place = outputs_bank.location()
    free = shutil.disk_usage(next(folder for folder in [place, *place.parents] if folder.exists())).free
    if missing and missing > free - KEEP_FREE:
        raise LimbeckError(
            f"{place}: {amount(free)} are free, and outputs_bank needs {amount(missing)} more; make room, set "
            "LIMBECK_CACHE to another folder, set views.distinct_epochs, or leave outputs_bank out"
        )


def check_room(recipe: Recipe, cohorts: Iterable[CohortPlan], images: Images) -> None:
    """Check, before anything is trained, that the banks stay within the recipe's limit and fit on the disk.

    Until a teacher is trained, it is not known which stored outputs are its own, so any stored outputs for the same
    views are counted as its own. `banked` counts exactly. Raises LimbeckError that says what to do.
    """
    if recipe.outputs_bank is None:
        return
    banks = plan_banks(recipe, cohorts, images)
    check_limit(banks, recipe.outputs_bank.limit_gb)
    stored, missing = outputs_bank.entries(), 0
    for bank in banks:
        views = views_key(bank.planner, bank.classes)
        sizes = [entry.size for entry in stored if views.items() <= dict(entry.key).items()]
        missing += max(0, bank.size - max(sizes, default=0))
    check_disk(missing)


@dataclass(frozen=True)
class Banked:
    """Teachers with stored outputs. is_complete: all outputs are stored, so no teacher has to run."""

    teachers: Mapping[str, BankedTeacher]
    is_complete: bool


@contextlib.contextmanager
def banked(
    plans: Iterable[BankPlan],
    load_teacher: Callable[[str], Teacher],
    planner: ViewPlanner,
    train: Split,
    say: Say,
) -> Iterator[Banked]:
    """Open the banks of the teachers of one cohort for the block; outputs that are incomplete at its end are discarded.

    load_teacher: returns a teacher by its name. train: the images, on the device.
    Raises LimbeckError if the disk has no room for the missing outputs.
    """
    teachers: dict[str, BankedTeacher] = {}
    missing = 0
    for plan in plans:
        bank = _bank(plan, load_teacher(plan.teacher), train, say)
        stored = bank.count_stored(plan.epochs)
        if stored:
            say(f"{plan.teacher}: its answers to {stored} of {plan.epochs} epochs of views are stored")
        missing += (plan.epochs - stored) * bank.epoch_bytes
        load = partial(load_teacher, plan.teacher)
        teachers[plan.teacher] = BankedTeacher(plan.teacher, bank, planner, load, device=load().device)
    check_disk(missing)
    try:
        yield Banked(teachers, is_complete=not missing)
    finally:
        for teacher in teachers.values():
            teacher.close()


def _bank(plan: BankPlan, teacher: Teacher, train: Split, say: Say) -> OutputsBank:
    key = bank_key(teacher, plan.built_from, plan.planner, train, plan.classes)
    return OutputsBank(key, shape(plan.planner, plan.classes), say)


def model_of(model: NameWithOptions) -> dict[str, Any]:
    """A model's name and options, as the recipe gives them."""
    return {"model": {"name": model.name, **model.options}}


def describe_banks(context: RunContext, cohorts: Iterable[CohortPlan]) -> list[str]:
    """The size of each bank and how much of it is stored, as lines of a table; empty without banks."""
    cohorts = list(cohorts)
    banks = plan_banks(context.recipe, cohorts, context.images)
    if not banks:
        return []
    learner_ids = {str(teacher): teacher for cohort in cohorts for teacher in cohort.teachers}
    lines = [f"{'outputs bank of':<32}{'views of seed':>14}{'epochs':>8}{'size':>10}  there already"]
    for plan in banks:
        there = "not known before it is trained"
        if _is_known(context, learner_ids[plan.teacher]):
            teacher = context.load_teacher(learner_ids[plan.teacher])
            bank = _bank(plan, teacher, context.train_split, lambda line: None)
            stored = bank.count_stored(plan.epochs)
            there = f"{stored} epochs, {amount(stored * bank.epoch_bytes)}" if stored else "nothing"
        lines.append(f"{plan.teacher[:31]:<32}{plan.planner.seed:>14}{plan.epochs:>8}{amount(plan.size):>10}  {there}")
    limit = context.recipe.outputs_bank.limit_gb if context.recipe.outputs_bank else 0.0
    total = sum(plan.size for plan in banks)
    over = ": too much, the run would refuse to start" if total > limit * GB else ""
    return [*lines, f"all banks {amount(total)}, outputs_bank.limit_gb {limit:g}{over}"]


def _is_known(context: RunContext, teacher: LearnerId) -> bool:
    """Whether a teacher comes from a file, or was trained in the context's directory by this same recipe."""
    if teacher.seed is None:
        return True
    is_same_recipe = context.directory.recipe.exists() and not context.directory.recipe_changes(
        context.recipe.to_dict()
    )
    return is_same_recipe and context.has_weights(teacher)


def amount(size: float) -> str:
    """`512 KB`, `12.2 GB`, in powers of 1024."""
    for unit in ("KB", "MB"):
        size /= 1024
        if size < 1000:
            return f"{size:.3g} {unit}"
    return f"{size / 1024:,.3g} GB"
