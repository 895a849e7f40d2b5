"""Losses take plain tensors as well as `Outputs` and `Targets`, and say in one line what they cannot take."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec

import torch
from torch import Tensor

from limbeck.errors import LimbeckError, did_you_mean, one_line, short_repr
from limbeck.types import Outputs, Targets, UnmixedTargets

LARGEST = 1e9
"""Of an option. Its square must be a number in float32 too."""
Options = ParamSpec("Options")


def takes_tensors(
    function: Callable[Concatenate[Outputs, Any, Targets, Options], Tensor],
) -> Callable[Concatenate[Outputs | Tensor, Outputs | Tensor | None, Targets | Tensor | None, Options], Tensor]:
    """A loss that is given logits `[B, K]` and labels `[B]` or `[B, K]` as bare tensors too; nothing is copied.

    Types and shapes are checked at each call, values only where the loss itself fails: to look at them would wait
    for the device. `NEEDS_TEACHER = False` and `NEEDS_LABELS = False` in the loss's file say that it takes None.
    Raises LimbeckError for all that the loss cannot take.
    """
    name = function.__name__
    signature = inspect.signature(function)
    options = {p.name: p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY}
    of_file = function.__globals__  # type: ignore[attr-defined]

    @functools.wraps(function)
    def loss(*args: Any, **words: Any) -> Tensor:
        try:
            bound = signature.bind(*args, **words)
        except TypeError as error:
            unknown = next((f"{did_you_mean(word, options)}" for word in words if word not in signature.parameters), "")
            raise LimbeckError(f"{name}: {one_line(error)}{unknown}; it takes {name}{_shown(signature)}") from None
        student, teacher, targets = (bound.arguments.pop(word) for word in ("student", "teacher", "targets"))
        logits = _outputs(name, "student", student)
        told = None
        if of_file.get("NEEDS_TEACHER", True):
            told = _outputs(name, "teacher", teacher)
            if told.logits.shape != logits.logits.shape:
                raise LimbeckError(
                    f"{name}: the student's logits are {list(logits.logits.shape)}, the teacher's "
                    f"{list(told.logits.shape)}; both must be [B, K] for the same images and classes"
                )
        labels = targets
        if targets is not None or of_file.get("NEEDS_LABELS", True):
            labels = _targets(name, targets, logits.logits)
        for word, value in bound.arguments.items():
            _check_option(name, word, value, options[word].default)
        try:
            return function(logits, told if told is not None else teacher, labels, **bound.arguments)  # pyright: ignore
        except (RuntimeError, IndexError) as error:
            if "out of memory" in str(error) or "can't allocate memory" in str(error):
                raise  # said elsewhere, with the batch size
            raise LimbeckError(f"{name}: {_reason(error, labels, logits.logits)}") from error

    return loss


def _outputs(name: str, who: str, given: Any) -> Outputs:
    if isinstance(given, Outputs):
        logits = given.logits
    elif isinstance(given, Tensor):
        given = Outputs(given)
        logits = given.logits
    else:
        raise LimbeckError(
            f"{name}: {who} takes logits [B, K] as a tensor, or limbeck.Outputs; got {type(given).__name__}"
        )
    if not isinstance(logits, Tensor) or logits.ndim != 2 or not logits.is_floating_point():
        raise LimbeckError(f"{name}: {who} takes floating-point logits [B, K]; got {described(logits)}")
    return given


def _targets(name: str, given: Any, logits: Tensor) -> Targets:
    if isinstance(given, Targets):
        labels, partners, share = given
        tensors = all(isinstance(part, Tensor) for part in given)
        if not tensors or partners.shape != labels.shape or share.shape != labels.shape[:1]:
            raise LimbeckError(
                f"{name}: targets takes limbeck.Targets of labels, partner_labels and share [B]; got "
                + ", ".join(map(described, given))
            )
    elif isinstance(given, Tensor):
        labels = given
        share = torch.ones(labels.shape[:1], device=labels.device)
        given = UnmixedTargets(labels, labels, share)
    else:
        raise LimbeckError(
            f"{name}: targets takes labels [B] int64 as a tensor, or limbeck.Targets; got {type(given).__name__}"
        )
    batch, classes = logits.shape
    whole = labels.dtype == torch.int64 and labels.shape == (batch,)
    if not whole and not (labels.is_floating_point() and labels.shape == (batch, classes)):
        raise LimbeckError(
            f"{name}: targets takes labels [{batch}] int64, or distributions [{batch}, {classes}] floating point; "
            f"got {described(labels)}"
        )
    return given


def _check_option(name: str, word: str, value: Any, default: Any) -> None:
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise LimbeckError(f"{name}: {word} takes True or False; got {short_repr(value)}")
        return
    if not isinstance(default, int | float) or (isinstance(value, Tensor) and value.ndim == 0):
        return  # a learned number is taken as it is
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
    if not number or (word == "temperature" and value <= 0):
        takes = "a number above 0" if word == "temperature" else "a number"
        raise LimbeckError(f"{name}: {word} takes {takes}, at most {LARGEST:g}; got {short_repr(value)}")


def _reason(error: Exception, targets: Any, logits: Tensor) -> str:
    """Why a loss failed whose arguments have the right shapes."""
    for part in (targets.labels, targets.partner_labels) if isinstance(targets, Targets) else ():
        if part.device.type == "cpu" and part.numel() and not part.is_floating_point():
            low, high = int(part.min()), int(part.max())
            if low < 0 or high >= logits.shape[-1]:
                wrong = low if low < 0 else high
                return f"label {wrong} is outside the {logits.shape[-1]} classes (0 to {logits.shape[-1] - 1})"
    return one_line(error)


def described(value: Any) -> str:
    """`[128, 10] float32`, or the type of what is no tensor."""
    if isinstance(value, Tensor):
        return f"{list(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    return type(value).__name__


def _shown(signature: inspect.Signature) -> str:
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(bare))
