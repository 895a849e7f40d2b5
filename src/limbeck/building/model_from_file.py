"""A model from a weights file, as a recipe would use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from limbeck.building.checks.pretrained import check_arms_from_files
from limbeck.errors import LimbeckError, did_you_mean
from limbeck.recipes.load import check, load_recipe
from limbeck.recipes.overrides import apply_override
from limbeck.recipes.recipe import Recipe

from .data import Images, load_images
from .models import make_input_format
from .saved_model import LoadedModel
from .teachers import load_teacher_from_file

ARM_KEYS = ("model", "classes", "outputs", "normalise", "resolution", "interpolation")
"""The keys that describe the weights file; every other key is an option of the data source."""


@dataclass(frozen=True)
class ReadyModel:
    """A model from a file, the images on which it is evaluated, and the remarks that a run would print about it."""

    model: LoadedModel
    images: Images
    source: str
    remarks: tuple[str, ...]


def model_of_recipe(recipe: str, arm: str, overrides: Sequence[str]) -> ReadyModel:
    """The arm of a recipe that comes from a file, and the recipe's images, exactly as a run would use both.

    Raises LimbeckError where there is no such arm, or it has no weights of its own.
    """
    loaded = load_recipe(recipe, overrides)
    arms = loaded.arms()
    if arm not in arms:
        raise LimbeckError(f"--arm: {recipe} has no arm called {arm!r}{did_you_mean(arm, arms)}")
    if arms[arm].trained or not arms[arm].weights:
        raise LimbeckError(
            f"--arm: {arm!r} is trained by the recipe; run it, then give the folder of its model "
            f"(runs/{loaded.name}/models/{arm}-seed{loaded.seeds[0]})"
        )
    return _ready_model(loaded, arm)


def model_of_file(weights: Path, model: str, source: str, options: Sequence[str]) -> ReadyModel:
    """A safetensors file as a teacher of the model `model`, and the images of a source.

    options: key=value; of the source, or of the file (`model.depth=20`, `normalise={mean: …, sd: …}`, `classes=[…]`).
    Raises LimbeckError where they do not fit together.
    """
    tree: dict[str, Any] = {
        "name": "evaluate",
        "data": {"source": source},
        "teachers": {"file": {"model": {"name": model}, "weights": str(weights)}},
        # A recipe needs a student; this one is never built.
        "students": {
            "nobody": {
                "model": "lightweight_cnn",
                "epochs": 1,
                "optimizer": {"name": "adam", "lr": 1e-3},
                "loss": [{"name": "cross_entropy"}],
            },
        },
    }
    for option in options:
        apply_override(tree, f"{'teachers.file' if _is_of_the_arm(option) else 'data'}.{option}")
    return _ready_model(check(tree, "command line", {}), "file")


def _is_of_the_arm(option: str) -> bool:
    return option.partition("=")[0].split(".")[0].strip() in ARM_KEYS


def _ready_model(recipe: Recipe, name: str) -> ReadyModel:
    arm, images = recipe.arms()[name], load_images(recipe.data)
    model = load_teacher_from_file(name, arm, images, {})
    loaded = LoadedModel(model, images.class_names, make_input_format(arm, images), images.shape, {}).eval()
    return ReadyModel(loaded, images, recipe.data.source, tuple(_remarks(recipe, name, images)))


def _remarks(recipe: Recipe, name: str, images: Images) -> list[str]:
    """What the checks before a run report about the arm; here they are remarks, and nothing is refused."""
    arm = recipe.arms()[name].model_copy(update={"allow_near_chance": True})
    alone = recipe.model_copy(update={"teachers": {name: arm}, "students": {}, "precision": "fp32"})
    remarks: list[str] = []
    try:
        check_arms_from_files(alone, images, torch.device("cpu"), {}, remarks.append)
    except LimbeckError as error:
        remarks += str(error).split("\n")
    return remarks
