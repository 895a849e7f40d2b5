"""The losses of a recipe on features, and the sizes of their states, before training."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

import torch

from limbeck.building.data import Images
from limbeck.building.loss_states import make_losses, make_states, output_shapes, try_losses_on_features
from limbeck.building.models import build_model, make_input_format
from limbeck.errors import LimbeckError
from limbeck.recipes.recipe import CustomFunctions, Recipe
from limbeck.training.model_errors import explain_build_errors
from limbeck.types import Shapes


def state_parameters(
    recipe: Recipe,
    images: Images,
    losses: CustomFunctions,
    models: CustomFunctions,
    only: Iterable[str] | None = None,
) -> dict[str, Mapping[str, int]]:
    """Parameters of the states that an arm's losses train: by arm, then by loss; arms without states are left out.

    Shapes come from untrained models. only: names of arms; by default all of the recipe.
    Raises LimbeckError with a line for each arm whose states cannot be built, or whose losses on features do not fit
    its models.
    """
    arms = recipe.arms()
    problems: list[str] = []
    parameters: dict[str, Mapping[str, int]] = {}
    shapes_by_model: dict[str, Shapes] = {}

    def shapes(name: str) -> Shapes:
        arm = arms[name]
        key = arm.model_dump_json(include={"model", "classes", "normalise", "resolution"})
        if key not in shapes_by_model:
            count = len(arm.classes) if arm.classes and not arm.trained else len(images.class_names)
            with torch.random.fork_rng(devices=[]), explain_build_errors(name, arm.model.name):
                model = build_model(arm.model, count, models, pretrained=False)
            shapes_by_model[key] = output_shapes(model, images, make_input_format(arm, images))
        return shapes_by_model[key]

    for name in arms if only is None else only:
        arm = arms[name]
        teachers = [teacher.name for teacher in arm.teacher]
        try:
            terms = make_losses(arm.loss, losses)
            of_student = functools.partial(shapes, name)
            of_teachers = functools.partial(lambda names: [shapes(one) for one in names], teachers)
            states = make_states(terms, of_student, of_teachers, 0)
            try_losses_on_features(terms, of_student, of_teachers, states)
        except LimbeckError as error:
            problems.append(f"{name}: {error}")
            continue
        if states:
            parameters[name] = {loss: sum(p.numel() for p in state.parameters()) for loss, state in states.items()}
    if problems:
        raise LimbeckError("\n".join(problems))
    return parameters
