"""Checks across the sections of a recipe: names that must exist, options that they take, teachers, the sweep."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

from limbeck.errors import LimbeckError, did_you_mean
from limbeck.recipes.budget import Budget
from limbeck.recipes.calls import Distillation, NamedData
from limbeck.recipes.fields import KeyPath, Problem, RecipePart, shortened
from limbeck.recipes.recipe import Arm, CustomFunctions, Data, LossTerm, Recipe, TrainingOptions
from limbeck.recipes.registry import Entry, Hint, check_options, check_options_of_unknown, find
from limbeck.recipes.sweep import MAX_SETTINGS, Range, Sweep

from .key_hints import key_hint

OF_EACH_LOSS = ("weight", "warmup_epochs")
# Ranges that a loss's signature cannot express, and that training would not notice.
RANGES = {
    "temperature": (lambda value: value > 0, "greater than 0"),
    "label_smoothing": (lambda value: 0 <= value <= 1, "from 0 to 1"),
    **{
        name: (lambda value: value >= 0, "of at least 0")
        for name in ("target_weight", "non_target_weight", "inter_weight", "intra_weight")
    },
}


def check_consistency(root: RecipePart, *, losses: CustomFunctions, models: CustomFunctions) -> list[Problem]:
    """Every name that does not exist, every option that it does not take, and every section at odds with another."""
    if isinstance(root, Recipe):
        return _recipe(root, losses, models)
    if isinstance(root, Distillation):
        return list(_distillation(root, losses))
    return list(_data(root.data, type(root))) if isinstance(root, NamedData) else []


def _distillation(call: Distillation, losses: CustomFunctions) -> Iterator[Problem]:
    if call.data is not None:
        yield from _data(call.data, Distillation)
    yield from _missing(call)
    yield from _losses(call, losses, (), Distillation)
    if call.outputs_bank is not None:
        yield from _outputs_bank(call, losses)


def _recipe(recipe: Recipe, losses: CustomFunctions, models: CustomFunctions) -> list[Problem]:
    problems = list(_data(recipe.data, Recipe))
    if not recipe.students:
        problems.append((("students",), "needs at least one arm besides `defaults`"))
    if recipe.sweep is not None:
        problems += _below(("sweep",), _sweep(recipe.sweep))
    if recipe.budget is not None:
        problems += _below(("budget",), _budget(recipe, recipe.budget))
    first_spelling: dict[str, str] = {}
    for group, arms in (("teachers", recipe.teachers), ("students", recipe.students)):
        for name, arm in arms.items():
            at = (group, name)
            if group == "students" and name in recipe.teachers:
                problems.append((at, "a teacher already has this name"))
            elif (first := first_spelling.setdefault(name.casefold(), name)) != name:
                problems.append((at, f"differs from {first!r} only in case, which some file systems ignore"))
            checks = (
                _model(arm, models, at),
                _classes(arm),
                _training(arm),
                _quantised(arm, group),
                _losses(arm, losses, at, Recipe),
                _relations(recipe, name, arm, group),
                _snapshots(arm),
                _outputs_bank(arm, losses) if recipe.outputs_bank is not None else (),
            )
            problems += _below(at, itertools.chain(*checks))
    return [*problems, *_cycles(recipe)]


def _below(at: KeyPath, problems: Iterable[Problem]) -> Iterator[Problem]:
    return (((*at, *path), message) for path, message in problems)


def _data(data: Data, root: type[RecipePart]) -> Iterator[Problem]:
    own, hint = ("source", "validation", "train_images"), _hint(("data",), root)
    try:
        entry = find("data", data.source)
    except LimbeckError as error:
        yield ("data", "source"), str(error)
        wrong = check_options_of_unknown("data", data.options, also=own, hint=hint)
    else:
        wrong = check_options(entry, data.options, also=own, hint=hint)
    yield from ((("data", option), message) for option, message in wrong)


def _hint(holder: KeyPath, root: type[RecipePart]) -> Hint:
    """What a message adds about an unknown option of `holder`, a place below `root`."""
    return lambda option, valid: key_hint((*holder, option), valid, root)


def _classes(arm: Arm) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, name in enumerate(arm.classes or ()):
        if name in seen:
            yield ("classes", index), f"{name!r} is listed twice"
        seen.add(name)


def _model(arm: Arm, models: CustomFunctions, arm_at: KeyPath) -> Iterator[Problem]:
    hint = _hint((*arm_at, "model"), Recipe)
    wrong: list[tuple[str, str]] = []
    try:
        wrong = check_options(find("models", arm.model.name, models), arm.model.options, hint=hint)
    except LimbeckError as error:
        yield ("model",), str(error)
        if ":" not in arm.model.name:
            wrong = check_options_of_unknown("models", arm.model.options, models, hint=hint)
    yield from ((("model", option), message) for option, message in wrong)


def _training(arm: Arm) -> Iterator[Problem]:
    if arm.trained and arm.outputs != "logits":
        yield ("outputs",), "is for models loaded from a file; a model that is trained here must return logits"
    if arm.trained and arm.allow_near_chance:
        yield ("allow_near_chance",), "is for models loaded from a file; this one is trained here"
    if arm.trained or arm.weights is None:
        yield from _missing(arm)


def _missing(training: TrainingOptions) -> Iterator[Problem]:
    if not training.loss:
        yield ("loss",), "is missing; expected a list, such as [{name: cross_entropy}]"
        return
    if training.epochs is None:
        yield ("epochs",), "is missing; expected the number of epochs to train"
    if training.optimizer is None:
        yield ("optimizer",), "is missing; expected a mapping, such as {name: sgd, lr: 0.1}"


def _quantised(arm: Arm, group: str) -> Iterator[Problem]:
    if arm.quantise is None:
        return
    if group == "teachers" or not arm.trained:
        yield ("quantise",), "is for students; teachers compute in floating point"
    if arm.precision in ("bf16", "fp16"):
        yield ("precision",), f"{arm.precision} does not go with quantise: {arm.quantise}, which computes in fp32"


def _losses(
    arm: TrainingOptions, losses: CustomFunctions, arm_at: KeyPath, root: type[RecipePart]
) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, term in enumerate(arm.loss):
        at = ("loss", index)
        hint = _hint((*arm_at, *at), root)
        entry = _find_loss(term, losses)
        if isinstance(entry, str):
            yield (*at, "name"), entry
            for option, message in check_options_of_unknown("losses", term.options, losses, OF_EACH_LOSS, hint):
                yield (*at, option), message
            continue
        if term.name in seen:
            yield (*at, "name"), f"{term.name!r} is listed twice in this arm; list each loss once, with its weight"
        seen.add(term.name)
        for option, message in check_options(entry, term.options, also=OF_EACH_LOSS, hint=hint):
            yield (*at, option), message
        for option, (fits, expected) in RANGES.items():
            value = term.options.get(option)
            if isinstance(value, int | float) and not fits(value):
                yield (*at, option), f"expected a number {expected}; got {value}"
        if entry.needs_teacher and not arm.teacher:
            needed = "the name of a teacher" if root is Recipe else "a teacher"
            yield ("teacher",), f"is missing; loss {term.name!r} needs {needed}"
    if arm.loss and not any(term.weight for term in arm.loss):
        yield ("loss",), "all weights are 0, so nothing would be learned"


def _outputs_bank(arm: TrainingOptions, losses: CustomFunctions) -> Iterator[Problem]:
    """A bank stores only logits."""
    for index, term in enumerate(arm.loss if arm.teacher else ()):
        entry = _find_loss(term, losses)
        if not isinstance(entry, str) and entry.needs_features:
            yield (
                ("loss", index, "name"),
                f"{term.name!r} compares features, but outputs_bank stores only logits; remove outputs_bank",
            )


def _find_loss(term: LossTerm, losses: CustomFunctions) -> Entry | str:
    try:
        return find("losses", term.name, losses)
    except LimbeckError as error:
        return str(error)


def _relations(recipe: Recipe, name: str, arm: Arm, group: str) -> Iterator[Problem]:
    arms = recipe.arms()
    teachers = [teacher.name for teacher in arm.teacher]
    for index, teacher in enumerate(teachers):
        if teacher not in arms:
            yield ("teacher", index), f"no arm named {teacher!r}{did_you_mean(teacher, arms)}"
        elif group == "teachers" and teacher in recipe.students:
            yield ("teacher", index), f"{teacher!r} is a student; a teacher can only learn from other teachers"
        elif (epoch := arm.teacher[index].epoch) is not None and epoch not in (kept := arms[teacher].snapshots):
            owner = "teachers" if teacher in recipe.teachers else "students"
            has = f"it has {', '.join(map(str, kept))}" if kept else "it has none"
            yield (
                ("teacher", index, "epoch"),
                f"{teacher!r} has no snapshot of epoch {epoch} ({has}); add it to {owner}.{teacher}.snapshots",
            )
    if len({(teacher.name, teacher.epoch) for teacher in arm.teacher}) != len(teachers):
        yield ("teacher",), "lists a teacher twice"
    if arm.ensemble != "fixed" and len(teachers) < 2:
        yield ("ensemble",), f"{arm.ensemble!r} weighs several teachers; this arm has {len(teachers) or 'none'}"
    for one, other in itertools.combinations(dict.fromkeys(t for t in teachers if t in arms), 2):
        if _model_key(recipe, one) == _model_key(recipe, other):
            fix = "give one of them its own `seed:`" if arms[one].trained else "remove one"
            yield ("teacher",), f"{one!r} and {other!r} are the same model, equal in all settings and `seed:`; {fix}"
    if arm.baseline is not None and (group == "teachers" or arm.baseline not in recipe.students):
        known = [student for student in recipe.students if student != name]
        yield ("baseline",), f"no student named {arm.baseline!r}{did_you_mean(arm.baseline, known)}"


def _snapshots(arm: Arm) -> Iterator[Problem]:
    """Every snapshot must be reached, whatever happens in training."""
    if not arm.snapshots:
        return
    if not arm.trained:
        yield ("snapshots",), "are saved in training; a model loaded from a file has none"
    elif arm.patience is not None:
        yield ("snapshots",), "need a fixed number of epochs; patience may end the training before them"
    for index, epoch in enumerate(arm.snapshots):
        if arm.trained and arm.epochs is not None and epoch > arm.epochs:
            yield ("snapshots", index), f"expected an epoch of the training, at most {arm.epochs}; got {epoch}"
        if epoch in arm.snapshots[:index]:
            yield ("snapshots", index), f"{epoch} is listed twice"


def _model_key(recipe: Recipe, name: str) -> tuple[object, ...]:
    """All that determines an arm's weights and outputs. A trained teacher without a seed is seeded by its name."""
    arm = recipe.arms()[name]
    if not arm.trained:
        return (arm.model, arm.weights, arm.classes, arm.normalise, arm.resolution, arm.interpolation)
    seed = name if arm.seed is None and name in recipe.teachers else arm.seed
    return (seed, arm.model_copy(update={"baseline": None, "seed": None, "views": arm.views or recipe.views}))


def _cycles(recipe: Recipe) -> list[Problem]:
    """Each cycle of arms that would teach themselves, reported at its first arm."""
    arms = {
        name: arm for name, arm in recipe.arms().items() if not (name in recipe.teachers and name in recipe.students)
    }
    groups = dict.fromkeys(recipe.teachers, "teachers") | dict.fromkeys(recipe.students, "students")
    teachers_of = {
        name: {
            t.name for t in arm.teacher if t.name in arms and (groups[name], groups[t.name]) != ("teachers", "students")
        }
        for name, arm in arms.items()
    }
    problems: list[Problem] = []
    while True:
        order = TopologicalSorter(teachers_of)
        try:
            order.prepare()
        except CycleError as error:
            cycle = set(error.args[1])
        else:
            return problems
        name = next(name for name in arms if name in cycle)
        problems.append(((groups[name], name, "teacher"), f"{name!r} would become its own teacher"))
        for member in cycle:
            teachers_of[member] -= cycle


def _budget(recipe: Recipe, budget: Budget) -> Iterator[Problem]:
    """Problems of the `budget` section, with their places below it."""
    if not budget.limits():
        yield (), f"is missing a limit; expected at least one of {', '.join(Budget.model_fields)}"
    if budget.milliseconds is not None and not recipe.evaluation.latency_batch:
        yield ("milliseconds",), "cannot be measured with evaluation.latency_batch: 0"


def _sweep(sweep: Sweep) -> Iterator[Problem]:
    """Problems of the `sweep` section, with their places below it."""
    for key, axis in sweep.axes.items():
        if not isinstance(axis, Range) and len({repr(value) for value in axis}) != len(axis):
            yield ("axes", key), f"expected different values; got {shortened(list(axis))}"
    if sweep.strategy == "grid" and sweep.trials is not None:
        yield ("trials",), "a grid tries all its settings; only random and tpe use a number of trials"
    if sweep.strategy != "grid" and sweep.trials is None:
        yield ("trials",), f"is missing; strategy {sweep.strategy} needs a number of trials"
    if sweep.pruning and sweep.strategy != "tpe":
        yield ("pruning",), f"needs strategy tpe; got {sweep.strategy}"
    for key, name in sweep.complements.items():
        if name not in sweep.axes or key in sweep.axes:
            yield ("complements", key), f"expected the name of an axis, for a key that is not one; got {name!r}"
            continue
        axis = sweep.axes[name]
        values = () if isinstance(axis, Range) else axis
        if wrong := [v for v in values if isinstance(v, bool) or not isinstance(v, int | float)]:
            yield ("complements", key), f"{name} must hold numbers; got {shortened(wrong[0])}"
    settings = math.prod(map(len, sweep.choices().values())) if sweep.strategy == "grid" else 0
    if settings > MAX_SETTINGS:
        yield ("axes",), f"the grid has {settings:,} settings; at most {MAX_SETTINGS:,} settings are allowed"
