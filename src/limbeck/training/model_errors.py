"""What a model raises, said in one line: whose model, on which images, and what would fit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError, one_line

from .out_of_memory import is_out_of_memory

SIDES = (32, 64, 96, 128, 160, 192, 224, 240, 256, 299, 384)
"""Sides in pixels that published models take; tried in this order where an image does not fit."""


@contextlib.contextmanager
def naming_model(name: str, batch: Sequence[int], doing: str = "answering") -> Iterator[None]:
    """Turn whatever a model raises into one line. name: of the arm. batch: `(B, C, H, W)` of its input.

    Errors that are for people already pass through, and so do those of memory (`naming_memory`).
    Raises LimbeckError that names the arm, the error, the images and what to do about a batch of one.
    """
    try:
        yield
    except LimbeckError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        hint = ""
        if batch[0] == 1 and "more than 1 value per channel" in str(error):
            hint = "; batch normalisation cannot learn from one image: raise views.batch_size"
        raise LimbeckError(
            f"{name}: the model failed when {doing} a batch of {batch[0]} images of {dimensions(batch[1:])}: "
            f"{what_was_raised(error)}{hint}"
        ) from error


@contextlib.contextmanager
def naming_build(name: str, model_name: str) -> Iterator[None]:
    """Turn whatever the building of a model raises into one line with the arm and the model."""
    try:
        yield
    except LimbeckError as error:
        told = str(error)
        raise LimbeckError(told if told.startswith(f"{name}: ") else f"{name}: {told}") from error
    except Exception as error:
        if is_out_of_memory(error):
            raise LimbeckError(f"{name}: out of memory when building {model_name}") from error
        raise LimbeckError(f"{name}: {model_name} cannot be built: {what_was_raised(error)}") from error


def does_not_take(
    name: str, model: nn.Module, shape: Sequence[int], error: Exception, model_name: str = ""
) -> LimbeckError:
    """The error for a model that refused an image of `shape` (`C, H, W`), with what it would take where that is known.

    model_name: as the recipe names it. The model is asked again, in the mode it is in, about images of other sizes.
    """
    channels, height, _ = shape
    takes = channels_of(model)
    if takes is not None and takes != channels:
        return LimbeckError(
            f"{name}: the model takes {takes} channels, the images have {channels}; "
            f"give it images of {takes} channels, or take a model for {channels}"
        )
    called = f"the model {model_name}" if model_name else "the model"
    wrong = f"{name}: {called} does not take images of {height} px ({what_was_raised(error)})"
    side = side_of(model)
    if side == height or not (side and _answers(model, channels, side)):
        side = next((other for other in SIDES if other != height and _answers(model, channels, other)), None)
    if side is None:
        return LimbeckError(f"{wrong}; nor images of any usual size")
    own_size = f", or `model: {{name: {model_name}, img_size: {height}}}`" if _has_img_size(model, model_name) else ""
    return LimbeckError(f"{wrong}; set `resolution: {side}`{own_size}")


def channels_of(model: nn.Module) -> int | None:
    """How many channels a model's first convolution takes; None for a model without one."""
    return next((layer.in_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)), None)


def side_of(model: nn.Module) -> int | None:
    """The side in pixels that a model was made for, where it says so."""
    sides: list[int] = []
    for module in model.modules():
        for attribute in ("img_size", "image_size"):
            value = getattr(module, attribute, None)
            value = value[0] if isinstance(value, tuple | list) and value else value
            if isinstance(value, int):
                sides.append(value)
    if sides:
        return max(sides)
    for module in model.modules():
        config = getattr(module, "pretrained_cfg", None)
        if isinstance(config, dict) and config.get("input_size"):
            return int(config["input_size"][-1])
    return None


def dimensions(shape: Sequence[int]) -> str:
    """`3×32×32`."""
    return "×".join(map(str, shape))


def what_was_raised(error: BaseException) -> str:
    """The kind of an error and its words, in one line."""
    kind, said = type(error).__name__, one_line(error, 160)
    return kind if said == kind else f"{kind}: {said}"


def _has_img_size(model: nn.Module, model_name: str) -> bool:
    return model_name.startswith("timm:") and any(hasattr(module, "img_size") for module in model.modules())


def _answers(model: nn.Module, channels: int, side: int) -> bool:
    like = next(model.parameters(), torch.empty(0))
    image = torch.zeros(1, channels, side, side, device=like.device, dtype=like.dtype)
    try:
        with torch.no_grad():
            answer: Tensor | object = model(image)
    except Exception:
        return False
    return answer is not None
