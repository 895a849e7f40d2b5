"""Errors of models in one line: which arm, on which images, and what would fit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from limbeck.errors import LimbeckError, one_line

SIDES = (32, 64, 96, 128, 160, 192, 224, 240, 256, 299, 384)
"""Image sizes in pixels of published models; tried in this order where an image does not fit."""


@contextlib.contextmanager
def explain_model_errors(name: str, batch: Sequence[int], doing: str = "answering") -> Iterator[None]:
    """Turn whatever a model raises into one line.

    name: of the arm. batch: shape `(B, C, H, W)` of its input. doing: what the model was doing.
    A LimbeckError passes through, and so does an out-of-memory error (see `explain_out_of_memory`).
    Raises LimbeckError that names the arm, the error, the images and, for a batch of one, the remedy.
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
            f"{describe_exception(error)}{hint}"
        ) from error


@contextlib.contextmanager
def explain_build_errors(name: str, model_name: str) -> Iterator[None]:
    """Turn whatever the constructor of a model raises into one line with the arm and the model."""
    try:
        yield
    except LimbeckError as error:
        message = str(error)
        raise LimbeckError(message if message.startswith(f"{name}: ") else f"{name}: {message}") from error
    except Exception as error:
        if is_out_of_memory(error):
            raise LimbeckError(f"{name}: out of memory when building {model_name}") from error
        raise LimbeckError(f"{name}: {model_name} cannot be built: {describe_exception(error)}") from error


def wrong_image_size(
    name: str, model: nn.Module, shape: Sequence[int], error: Exception, model_name: str = ""
) -> LimbeckError:
    """The error for a model that failed on an image of `shape` `(C, H, W)`, with a size that works where one is found.

    model_name: as the recipe names it. The model is tried in its present mode on images of other sizes.
    """
    channels, height, _ = shape
    takes = input_channels(model)
    if takes is not None and takes != channels:
        return LimbeckError(
            f"{name}: the model takes {takes} channels, the images have {channels}; "
            f"give it images of {takes} channels, or take a model for {channels}"
        )
    called = f"the model {model_name}" if model_name else "the model"
    wrong = f"{name}: {called} does not take images of {height} px ({describe_exception(error)})"
    side = expected_image_size(model)
    if side == height or not (side and _accepts(model, channels, side)):
        side = next((other for other in SIDES if other != height and _accepts(model, channels, other)), None)
    if side is None:
        return LimbeckError(f"{wrong}; nor images of any usual size")
    own_size = f", or `model: {{name: {model_name}, img_size: {height}}}`" if _has_img_size(model, model_name) else ""
    return LimbeckError(f"{wrong}; set `resolution: {side}`{own_size}")


def input_channels(model: nn.Module) -> int | None:
    """Input channels of a model's first convolution; None for a model without one."""
    return next((layer.in_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)), None)


def expected_image_size(model: nn.Module) -> int | None:
    """The image size in pixels that a model declares (`img_size`, `image_size`, `pretrained_cfg`); None without one."""
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


def describe_exception(error: BaseException) -> str:
    """The type of an error and its message, in one line."""
    kind, said = type(error).__name__, one_line(error, 160)
    return kind if said == kind else f"{kind}: {said}"


@contextlib.contextmanager
def explain_out_of_memory(model: str, batch: int) -> Iterator[None]:
    """Turn torch's out-of-memory errors into one line: the model, the batch size and what to lower."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise LimbeckError(_out_of_memory(model, batch)) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of torch means that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("can't allocate memory", "out of memory")
    )


def _out_of_memory(model: str, batch: int) -> str:
    return (
        f"out of memory at {model!r} with a batch of {batch} images; "
        f"lower views.batch_size (try {max(1, batch // 2)}), a resolution, or the number of arms taught together"
    )


def _has_img_size(model: nn.Module, model_name: str) -> bool:
    return model_name.startswith("timm:") and any(hasattr(module, "img_size") for module in model.modules())


def _accepts(model: nn.Module, channels: int, side: int) -> bool:
    like = next(model.parameters(), torch.empty(0))
    image = torch.zeros(1, channels, side, side, device=like.device, dtype=like.dtype)
    try:
        with torch.no_grad():
            return model(image) is not None
    except Exception:
        return False
