"""Recipe names to models, and the checks that a model fits the images and the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.recipes import registry
from limbeck.recipes.recipe import Arm, CustomFunctions, NameWithOptions
from limbeck.training.model_errors import explain_out_of_memory, wrong_image_size
from limbeck.training.teacher import as_outputs
from limbeck.types import Normalisation
from limbeck.views.preprocess import InputFormat, prepare

from .data import Images


def build_model(
    model: NameWithOptions, num_classes: int, models: CustomFunctions, *, pretrained: bool = True
) -> nn.Module:
    """The model that a recipe names; weights are drawn from torch's own generator.

    pretrained: False leaves `pretrained: true` of a recipe undone (for plans and tests).
    """
    entry = registry.find("models", model.name, models)
    function = registry.load(entry, models)
    _, argument = registry.split_name(model.name)
    options = dict(model.options)
    if not pretrained and options.get("pretrained"):
        options["pretrained"] = False
    return function(num_classes, argument, **options) if argument is not None else function(num_classes, **options)


def make_input_format(arm: Arm, images: Images) -> InputFormat:
    """How an arm's model takes its images: its own normalisation and size, or the data's."""
    own = arm.normalise
    normalisation = Normalisation(own.mean, own.sd) if own else images.normalisation
    return InputFormat(normalisation, arm.resolution, arm.interpolation)


def check_output(name: str, model: nn.Module, images: Images, input_format: InputFormat, model_name: str = "") -> None:
    """One image through the model, so that what does not fit is said before anything is trained.

    name: of the arm. model_name: as the recipe names the model. Raises LimbeckError naming the arm, the image size
    or the channels, and the classes.
    """
    check_channels(name, images.shape[0], input_format)
    training = model.training
    model.eval()
    device = next((tensor.device for tensor in model.state_dict().values()), torch.device("cpu"))
    pixels = prepare(images.train.first(1), input_format).to(device)
    try:
        check_forward(name, model, pixels, images.class_names, model_name)
    finally:
        model.train(training)


def check_channels(name: str, channels: int, input_format: InputFormat) -> None:
    """Raises LimbeckError where a normalisation is for images of other channels; grey ones are repeated for three."""
    normalised = len(input_format.normalisation.mean)
    if normalised not in ((1, 3) if channels == 1 else (channels,)):
        raise LimbeckError(f"{name}: the normalisation is for {normalised} channels, the images have {channels}")


def check_forward(
    name: str, model: nn.Module, pixels: torch.Tensor, class_names: Sequence[str], model_name: str = ""
) -> None:
    """`check_output` of a model in eval mode and prepared pixels `[1, C, H, W]`, on the model's device (meta too)."""
    try:
        with torch.no_grad(), explain_out_of_memory(name, pixels.shape[0]):
            answer = model(pixels)
    except LimbeckError:
        raise
    except Exception as error:
        raise wrong_image_size(name, model, pixels.shape[1:], error, model_name) from error
    check_logits(name, answer, len(class_names), class_names)


def check_logits(name: str, answer: Any, count: int, class_names: Sequence[str]) -> None:
    """Raises LimbeckError where a model's answer to one image is not `[1, count]`. class_names: to say whose."""
    logits = as_outputs(answer).logits
    if logits.ndim != 2 or logits.shape[0] != 1:
        raise LimbeckError(f"{name}: the model must answer one image with logits [1, K]; got {list(logits.shape)}")
    if logits.shape[-1] != count:
        raise LimbeckError(
            f"{name}: the model answers for {logits.shape[-1]} classes, the data has {count} "
            f"({first_names(class_names)})"
        )


def first_names(names: Sequence[str]) -> str:
    """The first four names, for a message."""
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "") if names else "none"
