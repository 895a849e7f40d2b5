"""What a recipe's parts have to do with each other and with what exists: names, options, teachers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from limbeck.errors import LimbeckError, did_you_mean
from limbeck.recipes.recipe import Arm, CustomFunctions, LossTerm, Recipe
from limbeck.recipes.registry import Entry, Hint, check_options, check_unplaced_options, find

from .misplaced_keys import Path, key_hint
from .sweep import check_sweep

Complaint = tuple[tuple[str | int, ...], str]
OF_EACH_LOSS = ("weight", "warmup_epochs")
# What a loss's signature cannot say, and training would not notice.
RANGES = {
    "temperature": (lambda value: value > 0, "above 0"),
    "label_smoothing": (lambda value: 0 <= value <= 1, "from 0 to 1"),
    **{
        name: (lambda value: value >= 0, "from 0 on")
        for name in ("target_weight", "non_target_weight", "inter_weight", "intra_weight")
    },
}


def check_names(recipe: Recipe, *, losses: CustomFunctions, models: CustomFunctions) -> list[Complaint]:
    """Everything that names something which is not there or does not take what it is given."""
    found = list(_data(recipe))
    if not recipe.students:
        found.append((("students",), "needs at least one arm besides `defaults`"))
    if recipe.sweep is not None:
        found += [(("sweep", *path), message) for path, message in check_sweep(recipe.sweep)]
    alike: dict[str, str] = {}
    for group, arms in (("teachers", recipe.teachers), ("students", recipe.students)):
        for name, arm in arms.items():
            at = (group, name)
            if group == "students" and name in recipe.teachers:
                found.append((at, "a teacher has this name already"))
            elif (first := alike.setdefault(name.casefold(), name)) != name:
                found.append((at, f"differs from {first!r} in capitals only; folders may not tell them apart"))
            found += [((*at, *path), message) for path, message in _model(arm, models, at)]
            found += [((*at, *path), message) for path, message in _classes(arm)]
            found += [((*at, *path), message) for path, message in _training(arm)]
            found += [((*at, *path), message) for path, message in _losses(arm, losses, at)]
            found += [((*at, *path), message) for path, message in _relations(recipe, name, arm, group)]
            found += [((*at, *path), message) for path, message in _stored_answers(recipe, arm, losses)]
    return [*found, *_cycles(recipe)]


def _data(recipe: Recipe) -> Iterator[Complaint]:
    own = ("source", "validation", "train_images")
    try:
        entry = find("data", recipe.data.source)
    except LimbeckError as error:
        yield ("data", "source"), str(error)
        for option, message in check_unplaced_options("data", recipe.data.options, also=own, hint=_hint(("data",))):
            yield ("data", option), message
        return
    for option, message in check_options(entry, recipe.data.options, also=own, hint=_hint(("data",))):
        yield ("data", option), message


def _hint(holder: Path) -> Hint:
    """What is said of an option that is none, in its place."""
    return lambda option, valid: key_hint((*holder, option), valid)


def _classes(arm: Arm) -> Iterator[Complaint]:
    seen: set[str] = set()
    for index, name in enumerate(arm.classes or ()):
        if name in seen:
            yield ("classes", index), f"{name!r} stands twice"
        seen.add(name)


def _model(arm: Arm, models: CustomFunctions, arm_at: Path) -> Iterator[Complaint]:
    hint = _hint((*arm_at, "model"))
    try:
        entry = find("models", arm.model.name, models)
    except LimbeckError as error:
        yield ("model",), str(error)
        if ":" not in arm.model.name:
            for option, message in check_unplaced_options("models", arm.model.options, models, hint=hint):
                yield ("model", option), message
        return
    for option, message in check_options(entry, arm.model.options, hint=hint):
        yield ("model", option), message


def _training(arm: Arm) -> Iterator[Complaint]:
    if arm.trained and arm.outputs != "logits":
        yield ("outputs",), "is for a model from a file; one that is trained here must answer with logits"
    if arm.trained and arm.allow_near_chance:
        yield ("allow_near_chance",), "is for a model from a file; this one is trained here"
    if not arm.trained:
        if arm.weights is None:
            yield ("loss",), "is missing: what to minimise, as in [{name: cross_entropy}]"
        return
    if arm.epochs is None:
        yield ("epochs",), "is missing: how many epochs to train"
    if arm.optimizer is None:
        yield ("optimizer",), "is missing, as in {name: sgd, lr: 0.1}"


def _losses(arm: Arm, losses: CustomFunctions, arm_at: Path) -> Iterator[Complaint]:
    seen: set[str] = set()
    for index, term in enumerate(arm.loss):
        at = ("loss", index)
        hint = _hint((*arm_at, *at))
        entry = _find_loss(term, losses)
        if isinstance(entry, str):
            yield (*at, "name"), entry
            for option, message in check_unplaced_options("losses", term.options, losses, OF_EACH_LOSS, hint):
                yield (*at, option), message
            continue
        if term.name in seen:
            yield (*at, "name"), f"{term.name!r} stands twice in this arm; give each loss once, with its weight"
        seen.add(term.name)
        for option, message in check_options(entry, term.options, also=OF_EACH_LOSS, hint=hint):
            yield (*at, option), message
        for option, (fits, takes) in RANGES.items():
            value = term.options.get(option)
            if isinstance(value, int | float) and not fits(value):
                yield (*at, option), f"takes a number {takes}; got {value}"
        if entry.needs_teacher and not arm.teacher:
            yield ("teacher",), f"is missing: {term.name!r} compares with a teacher; takes the name of an arm"
    if arm.loss and not any(term.weight for term in arm.loss):
        yield ("loss",), "all weights are 0: nothing would be learned"


def _stored_answers(recipe: Recipe, arm: Arm, losses: CustomFunctions) -> Iterator[Complaint]:
    """A bank keeps logits alone."""
    for index, term in enumerate(arm.loss if recipe.outputs_bank is not None and arm.teacher else ()):
        entry = _find_loss(term, losses)
        if not isinstance(entry, str) and entry.needs_features:
            yield (
                ("loss", index, "name"),
                f"{term.name!r} compares features, and a bank keeps logits alone; leave outputs_bank out",
            )


def _find_loss(term: LossTerm, losses: CustomFunctions) -> Entry | str:
    try:
        return find("losses", term.name, losses)
    except LimbeckError as error:
        return str(error)


def _relations(recipe: Recipe, name: str, arm: Arm, group: str) -> Iterator[Complaint]:
    arms = recipe.arms()
    for index, voice in enumerate(arm.teacher):
        if voice.name not in arms:
            yield ("teacher", index), f"no arm called {voice.name!r}{did_you_mean(voice.name, arms)}"
        elif group == "teachers" and voice.name in recipe.students:
            yield ("teacher", index), f"{voice.name!r} is a student; a teacher listens to teachers only"
    if len({voice.name for voice in arm.teacher}) != len(arm.teacher):
        yield ("teacher",), "names a teacher twice"
    for one, other in itertools.combinations(dict.fromkeys(v.name for v in arm.teacher if v.name in arms), 2):
        if _what_it_becomes(recipe, one) == _what_it_becomes(recipe, other):
            apart = "give one of them a `seed:` of its own" if arms[one].trained else "leave one out"
            yield ("teacher",), f"{one!r} and {other!r} are the same model, equal in all settings and `seed:`; {apart}"
    if arm.baseline is not None and (group == "teachers" or arm.baseline not in recipe.students):
        known = [student for student in recipe.students if student != name]
        yield ("baseline",), f"no student called {arm.baseline!r}{did_you_mean(arm.baseline, known)}"


def _what_it_becomes(recipe: Recipe, name: str) -> tuple[object, ...]:
    """All that decides an arm's weights and answers; a trained teacher without a seed is told by its name."""
    arm = recipe.arms()[name]
    own = name if arm.trained and arm.seed is None and name in recipe.teachers else arm.seed
    if not arm.trained:
        return (arm.model, arm.weights, arm.classes, arm.normalise, arm.resolution, arm.interpolation)
    return (own, arm.model_copy(update={"baseline": None, "seed": None, "views": arm.views or recipe.views}))


def _cycles(recipe: Recipe) -> list[Complaint]:
    """Each ring of arms that would teach themselves, told at its first arm."""
    arms = {
        name: arm for name, arm in recipe.arms().items() if not (name in recipe.teachers and name in recipe.students)
    }
    groups = dict.fromkeys(recipe.teachers, "teachers") | dict.fromkeys(recipe.students, "students")
    listening = {
        name: {
            v.name for v in arm.teacher if v.name in arms and (groups[name], groups[v.name]) != ("teachers", "students")
        }
        for name, arm in arms.items()
    }
    found: list[Complaint] = []
    while True:
        order = TopologicalSorter(listening)
        try:
            order.prepare()
        except CycleError as error:
            ring = set(error.args[1])
        else:
            return found
        name = next(name for name in arms if name in ring)
        found.append(((groups[name], name, "teacher"), f"{name!r} would end up as its own teacher"))
        for one in ring:
            listening[one] -= ring
