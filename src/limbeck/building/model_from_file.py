"""A model from somebody's weights file, as a recipe would use it."""

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

OF_THE_ARM = ("model", "classes", "outputs", "normalise", "resolution", "interpolation", "outputs")
"""What is said of a weights file with key=value; every other key is an option of the data."""


@dataclass(frozen=True)
class ReadyModel:
    """A model from a file, the images it is measured on, and what a run would say of it before training."""

    model: LoadedModel
    images: Images
    source: str
    remarks: tuple[str, ...]


def model_of_recipe(recipe: str, arm: str, overrides: Sequence[str]) -> ReadyModel:
    """The arm of a recipe that comes from a file, and the recipe's images, exactly as a run would use both.

    Raises LimbeckError where there is no such arm, or it has no weights of its own.
    """
    checked = load_recipe(recipe, overrides)
    arms = checked.arms()
    if arm not in arms:
        raise LimbeckError(f"--arm: {recipe} has no arm called {arm!r}{did_you_mean(arm, arms)}")
    if arms[arm].trained or not arms[arm].weights:
        raise LimbeckError(
            f"--arm: {arm!r} is trained by the recipe; run it, then give the folder of its model "
            f"(runs/{checked.name}/models/{arm}-seed{checked.seeds[0]})"
        )
    return _made(checked, arm)


def model_of_file(weights: Path, model: str, source: str, options: Sequence[str]) -> ReadyModel:
    """A safetensors file as a teacher of the model `model`, and the images of a source.

    options: key=value; of the source, or of the file (`model.depth=20`, `normalise={mean: …, sd: …}`, `classes=[…]`).
    Raises LimbeckError where they do not fit together.
    """
    tree: dict[str, Any] = {
        "name": "evaluate",
        "data": {"source": source},
        "teachers": {"file": {"model": {"name": model}, "weights": str(weights)}},
        # A recipe has a student; nobody trains this one.
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
    return _made(check(tree, "command line", {}), "file")


def _is_of_the_arm(option: str) -> bool:
    return option.partition("=")[0].split(".")[0].strip() in OF_THE_ARM


def _made(recipe: Recipe, name: str) -> ReadyModel:
    arm, images = recipe.arms()[name], load_images(recipe.data)
    model = load_teacher_from_file(name, arm, images, {})
    loaded = LoadedModel(model, images.class_names, make_input_format(arm, images), images.shape, {}).eval()
    return ReadyModel(loaded, images, recipe.data.source, tuple(_remarks(recipe, name, images)))


def _remarks(recipe: Recipe, name: str, images: Images) -> list[str]:
    """What the check before a run says of the arm; here it is told, and refuses nothing."""
    arm = recipe.arms()[name].model_copy(update={"allow_near_chance": True})
    alone = recipe.model_copy(update={"teachers": {name: arm}, "students": {}, "precision": "fp32"})
    said: list[str] = []
    try:
        check_arms_from_files(alone, images, torch.device("cpu"), {}, said.append)
    except LimbeckError as error:
        said += str(error).split("\n")
    return said
