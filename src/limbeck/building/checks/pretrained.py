"""Models from files are measured before anything is trained with them, and refused where they know nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from limbeck.building.data import Images
from limbeck.building.models import make_input_format
from limbeck.building.teachers import load_teacher_from_file, make_teacher
from limbeck.errors import LimbeckError
from limbeck.evaluation.evaluate import logits_of
from limbeck.evaluation.metrics import accuracy, answered, balanced_accuracy
from limbeck.recipes.recipe import Arm, CustomFunctions, Recipe
from limbeck.training.predictor import predictor
from limbeck.training.teacher import Teacher
from limbeck.types import Predict, Split
from limbeck.views.preprocess import InputFormat, prepare

from .not_finite import first_not_finite
from .preprocessing import Alternative, find_better

IMAGES_TO_MEASURE = 500
LUCK = 1e-3
"""A model is near chance where a guesser would be right as often with at least this probability."""
MOST_NAMES = 40
"""A longer list of classes is not written into a message."""


def check_arms_from_files(
    recipe: Recipe, images: Images, device: torch.device, models: CustomFunctions, say: Callable[[str], None]
) -> None:
    """Evaluate every arm that comes from a file on up to 500 validation images, and report its accuracy.

    Raises LimbeckError with a line for each arm whose logits are not finite, are probabilities, or are hardly better
    than chance, unless the arm allows that (`allow_near_chance`).
    """
    problems: list[str] = []
    for name, arm in recipe.arms().items():
        if not arm.trained:
            try:
                for line in _measured(name, recipe, images, device, models):
                    say(line)
            except LimbeckError as error:
                problems.append(str(error))
    if problems:
        raise LimbeckError("\n".join(problems))


def sample_of(split: Split, count: int = IMAGES_TO_MEASURE) -> Split:
    """Up to `count` images of a split: the first of each class, then the second of each; always the same images."""
    if len(split) <= count:
        return split
    labels = split.labels.cpu().long()
    by_class = labels.argsort(stable=True)
    starts = torch.bincount(labels).cumsum(0) - torch.bincount(labels)
    turn = torch.empty_like(labels)
    turn[by_class] = torch.arange(len(labels)) - starts[labels[by_class]]
    return split.part((turn * (int(labels.max()) + 1) + labels).argsort()[:count])


def near_chance(right: float, images: int, classes: int) -> bool:
    """Whether an accuracy can be explained by guessing among so many classes.

    With fewer than 50 images, an accuracy above twice that of guessing is never near chance.
    """
    if classes < 2:
        return False
    chance, hits = 1 / classes, math.floor(right * images + 1e-9)
    if images < 50 and right > 2 * chance:
        return False
    terms = (
        math.lgamma(images + 1) - math.lgamma(k + 1) - math.lgamma(images - k + 1)
        + k * math.log(chance) + (images - k) * math.log1p(-chance)
        for k in range(hits, images + 1)
    )  # fmt: skip
    return math.fsum(map(math.exp, terms)) > LUCK


def are_probabilities(answers: Tensor, tolerance: float = 1e-3) -> bool:
    """Whether rows `[N, K]` are distributions already: nothing below 0, and each row sums to 1."""
    return bool((answers >= 0).all()) and bool(((answers.double().sum(dim=1) - 1).abs() < tolerance).all())


def _measured(name: str, recipe: Recipe, images: Images, device: torch.device, models: CustomFunctions) -> list[str]:
    """The report on one arm, in lines. Raises LimbeckError if the arm cannot be used as it is."""
    arm = recipe.arms()[name]
    kind = "teachers" if name in recipe.teachers else "students"
    model = load_teacher_from_file(name, arm, images, models)
    input_format, precision = make_input_format(arm, images), arm.precision or recipe.precision
    teacher = make_teacher(name, model, input_format, device=device, precision=precision)
    sample = sample_of(images.validation)
    labels = sample.labels.cpu().long()

    def make_predict(input_format: InputFormat) -> Predict:
        return predictor(teacher.frozen, input_format, device=device, dtype=teacher.dtype, name=name)

    logits = logits_of(make_predict(input_format), sample)
    check_finite(f"{kind}.{name}", teacher, sample, logits, model)
    _must_be_logits(f"{kind}.{name}", arm, logits, teacher.dtype)
    right, classes = accuracy(logits, labels), len(images.class_names)
    is_near_chance = near_chance(balanced_accuracy(logits, labels), len(sample), classes)
    other = find_better(
        make_predict, model, input_format, images.normalisation, sample, logits, images.class_names,
        order_is_known=arm.classes is not None, near_chance=is_near_chance,
    )  # fmt: skip
    advice = _advice(other, arm, images, labels) if other else ""
    if is_near_chance and not arm.allow_near_chance:
        hint = advice or "check its normalisation (`normalise`), `classes` order, `resolution` and colour channels"
        raise LimbeckError(
            f"{kind}.{name}: {arm.weights} is right on {right:.1%} of {len(sample)} validation images, and guessing "
            f"gives {1 / classes:.1%}: {hint}; `allow_near_chance: true` uses it as it is"
        )
    lines = [f"{kind[:-1]} {name} (from {arm.weights}): {right:.1%} on {len(sample)} validation images"]
    return [*lines, f"{kind}.{name}: {advice}"] if advice else lines


def check_finite(where: str, teacher: Teacher, sample: Split, logits: Tensor, model: torch.nn.Module) -> None:
    """Raises LimbeckError if logits are not finite, with the first such layer and whether float32 helps."""
    broken = (~answered(logits)).nonzero()[:, 0]
    if not len(broken):
        return
    some = sample.take(broken[:8]).to(teacher.device)
    layer = first_not_finite(teacher.frozen, prepare(some, teacher.input_format), teacher.dtype)
    begins = f"; the first such numbers are in {layer}" if layer else ""
    helps = ""
    if teacher.dtype != torch.float32:
        whole = make_teacher(teacher.name, model, teacher.input_format, device=teacher.device, precision="fp32")
        if bool(whole(prepare(some, whole.input_format)).logits.isfinite().all()):
            helps = "; in float32 its answers are finite: give it `precision: fp32`"
    dtype = str(teacher.dtype).removeprefix("torch.")
    raise LimbeckError(
        f"{where}: {len(broken)} of {len(sample)} answers are not finite numbers, computed in {dtype}{begins}{helps}"
    )


def _must_be_logits(where: str, arm: Arm, logits: Tensor, dtype: torch.dtype) -> None:
    tolerance = 1e-3 if dtype == torch.float32 else 1e-2
    if arm.outputs == "logits" and are_probabilities(logits, tolerance):
        raise LimbeckError(
            f"{where}: {arm.model.name} ends in a softmax: its answers are probabilities, and losses take logits; "
            "`outputs: probabilities` takes their logarithm"
        )
    if arm.outputs == "probabilities" and not are_probabilities(logits.exp(), tolerance):
        raise LimbeckError(f"{where}: its answers are no probabilities (they do not sum to 1); leave out `outputs`")


def _advice(other: Alternative, arm: Arm, images: Images, labels: Tensor) -> str:
    """What to write into the recipe, and the accuracy that the model then has."""
    now, names = make_input_format(arm, images), images.class_names
    normalisation, keys = other.input_format.normalisation, []
    if normalisation not in (now.normalisation, images.normalisation):
        mean, sd = ([float(f"{value:.6g}") for value in values] for values in (normalisation.mean, normalisation.sd))
        keys.append(f"normalise: {{mean: {mean}, sd: {sd}}}")
    if other.input_format.resolution != now.resolution:
        keys.append(f"resolution: {other.input_format.resolution}")
    looks = ""
    if other.stands_for is not None:
        changed = [names[column] for column, stands_for in enumerate(other.stands_for) if column != stands_for]
        swapped = f"outputs for classes {changed[0]!r} and {changed[-1]!r} look swapped: "
        looks = swapped if len(changed) == 2 else "its outputs look to be in another order of classes: "
        keys.append(f"classes: {_names(arm, other.stands_for, names)}")
    ways = [f"with `{', '.join(keys)}`"] if keys else []
    if normalisation == images.normalisation != now.normalisation:
        ways.append("without `normalise`")
    if other.swapped_channels:
        ways.append("on images with blue first (BGR), so with its first layer's input channels turned,")
    return f"{looks}{' and '.join(ways)} it has {accuracy(other.logits, labels):.1%}"


def _names(arm: Arm, stands_for: Sequence[int], class_names: Sequence[str]) -> str:
    """The classes in the order of the file's outputs."""
    in_file = list(arm.classes or class_names)
    true_name = {class_names[column]: class_names[stands_for[column]] for column in range(len(class_names))}
    names = [true_name[name] for name in in_file]
    shown = names if len(names) <= MOST_NAMES else [*names[:MOST_NAMES], "…"]
    return json.dumps(shown, ensure_ascii=False)
