"""A run's teachers by name: from the user's files, or as this run trained them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from limbeck.building.models import input_format
from limbeck.building.saved_model import load_trained
from limbeck.building.teachers import load_teacher_from_file, make_teacher
from limbeck.errors import LimbeckError
from limbeck.recipes.recipe import Arm, Precision, Recipe
from limbeck.training.teacher import Teacher

from .context import RunContext


def is_usable(context: RunContext, name: str) -> bool:
    """Whether a teacher can be heard: it comes from a file, or its training has ended well."""
    return name in context.recipe.teachers or (context.directory.model(name) / "model.json").exists()


def arm_of(recipe: Recipe, name: str) -> Arm:
    """The arm of a teacher: a trained one is called `ARM-seedN`."""
    arms = recipe.arms()
    return arms[name] if name in arms else arms[name.rpartition("-seed")[0]]


def load_teacher(context: RunContext, name: str, precision: Precision | None = None) -> Teacher:
    """A teacher, frozen. Raises LimbeckError where its file is missing, damaged or does not fit the data.

    precision: what it computes in, if not in that of its arm or recipe.
    """
    arm = arm_of(context.recipe, name)
    if name in context.recipe.arms():
        model = load_teacher_from_file(name, arm, context.images, context.models)
    else:
        model = load_trained(context.directory.model(name), context.models)
    form, chosen = input_format(arm, context.images), precision or arm.precision or context.recipe.precision
    return make_teacher(name, model, form, device=context.device, precision=chosen)


def must_differ(student: str, teachers: Sequence[Teacher]) -> None:
    """Raises LimbeckError where two of a student's teachers are one model, fed alike: no second opinion."""
    for one, other in itertools.combinations(teachers, 2):
        if one.fingerprint == other.fingerprint and one.form == other.form:
            raise LimbeckError(
                f"{student}: its teachers {one.name!r} and {other.name!r} are the same model, weight for weight; "
                "leave one out, or train one with a `seed:` or settings of its own"
            )
