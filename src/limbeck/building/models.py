"""Build the models that a recipe names, and check that they fit the images and the classes."""

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
    """Build the model that a recipe names; its weights are drawn from torch's global generator.

    pretrained: False ignores `pretrained: true` of a recipe (for plans and tests).
    """
    entry = registry.find("models", model.name, models)
    function = registry.load(entry, models)
    _, argument = registry.split_name(model.name)
    options = dict(model.options)
    if not pretrained and options.get("pretrained"):
        options["pretrained"] = False
    return function(num_classes, argument, **options) if argument is not None else function(num_classes, **options)


def make_input_format(arm: Arm, images: Images) -> InputFormat:
    """The input format of an arm's model: its own normalisation and size, or those of the data."""
    given = arm.normalise
    normalisation = Normalisation(given.mean, given.sd) if given else images.normalisation
    return InputFormat(normalisation, arm.resolution, arm.interpolation)


def check_output(name: str, model: nn.Module, images: Images, input_format: InputFormat, model_name: str = "") -> None:
    """Run one image through the model, so that a model that does not fit is reported before any training.

    name: of the arm. model_name: as the recipe names the model.
    Raises LimbeckError that names the arm, and the image size, the channels or the classes that do not fit.
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
    """Raises LimbeckError if the normalisation has another number of channels than the images.

    A grey image also fits a normalisation of three channels: its channel is then repeated.
    """
    expected = len(input_format.normalisation.mean)
    if expected not in ((1, 3) if channels == 1 else (channels,)):
        raise LimbeckError(f"{name}: the normalisation is for {expected} channels, the images have {channels}")


def check_forward(
    name: str, model: nn.Module, pixels: torch.Tensor, class_names: Sequence[str], model_name: str = ""
) -> None:
    """`check_output` for a model in eval mode and prepared pixels `[1, C, H, W]` on its device, which may be meta."""
    try:
        with torch.no_grad(), explain_out_of_memory(name, pixels.shape[0]):
            output = model(pixels)
    except LimbeckError:
        raise
    except Exception as error:
        raise wrong_image_size(name, model, pixels.shape[1:], error, model_name) from error
    check_logits(name, output, len(class_names), class_names)


def check_logits(name: str, output: Any, count: int, class_names: Sequence[str]) -> None:
    """Raises LimbeckError if a model's logits for one image are not `[1, count]`. class_names: for the message."""
    logits = as_outputs(output).logits
    if logits.ndim != 2 or logits.shape[0] != 1:
        raise LimbeckError(f"{name}: the model must answer one image with logits [1, K]; got {list(logits.shape)}")
    if logits.shape[-1] != count:
        raise LimbeckError(
            f"{name}: the model answers for {logits.shape[-1]} classes, the data has {count} "
            f"({first_names(class_names)})"
        )


def first_names(names: Sequence[str]) -> str:
    """The first four names, as text for a message."""
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "") if names else "none"
