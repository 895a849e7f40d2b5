"""Let losses accept plain tensors as well as `Outputs` and `Targets`, and report invalid arguments in one line."""

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
"""Upper limit of an option, whose square must be finite in float32."""
Options = ParamSpec("Options")


def takes_tensors(
    function: Callable[Concatenate[Outputs, Any, Targets, Options], Tensor],
) -> Callable[Concatenate[Outputs | Tensor, Outputs | Tensor | None, Targets | Tensor | None, Options], Tensor]:
    """Make a loss also accept logits `[B, K]` and labels `[B]` or `[B, K]` as plain tensors. Nothing is copied.

    Types and shapes are checked at each call. Values are checked only after the loss has failed, because reading them
    synchronises with the device. `NEEDS_TEACHER = False` and `NEEDS_LABELS = False` in the file of the loss mean that
    it accepts None. Raises LimbeckError for invalid arguments.
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
            raise LimbeckError(
                f"{name}: {one_line(error)}{unknown}; its signature is {name}{_shown(signature)}"
            ) from None
        student, teacher, targets = (bound.arguments.pop(word) for word in ("student", "teacher", "targets"))
        logits = _outputs(name, "student", student)
        teacher_logits = None
        if of_file.get("NEEDS_TEACHER", True):
            teacher_logits = _outputs(name, "teacher", teacher)
            if teacher_logits.logits.shape != logits.logits.shape:
                raise LimbeckError(
                    f"{name}: the student's logits are {list(logits.logits.shape)}, the teacher's "
                    f"{list(teacher_logits.logits.shape)}; both must be [B, K] for the same images and classes"
                )
        labels = targets
        if targets is not None or of_file.get("NEEDS_LABELS", True):
            labels = _targets(name, targets, logits.logits)
        for word, value in bound.arguments.items():
            _check_option(name, word, value, options[word].default)
        try:
            given = teacher_logits if teacher_logits is not None else teacher
            return function(logits, given, labels, **bound.arguments)  # pyright: ignore
        except (RuntimeError, IndexError) as error:
            if "out of memory" in str(error) or "can't allocate memory" in str(error):
                raise  # reported elsewhere, with the batch size
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
            f"{name}: {who} must be logits [B, K] as a tensor, or limbeck.Outputs; got {type(given).__name__}"
        )
    if not isinstance(logits, Tensor) or logits.ndim != 2 or not logits.is_floating_point():
        raise LimbeckError(f"{name}: {who} must be floating-point logits [B, K]; got {described(logits)}")
    return given


def _targets(name: str, given: Any, logits: Tensor) -> Targets:
    if isinstance(given, Targets):
        labels, partners, share = given
        tensors = all(isinstance(part, Tensor) for part in given)
        if not tensors or partners.shape != labels.shape or share.shape != labels.shape[:1]:
            raise LimbeckError(
                f"{name}: targets must be limbeck.Targets of labels, partner_labels and share [B]; got "
                + ", ".join(map(described, given))
            )
    elif isinstance(given, Tensor):
        labels = given
        share = torch.ones(labels.shape[:1], device=labels.device)
        given = UnmixedTargets(labels, labels, share)
    else:
        raise LimbeckError(
            f"{name}: targets must be labels [B] int64 as a tensor, or limbeck.Targets; got {type(given).__name__}"
        )
    batch, classes = logits.shape
    whole = labels.dtype == torch.int64 and labels.shape == (batch,)
    if not whole and not (labels.is_floating_point() and labels.shape == (batch, classes)):
        raise LimbeckError(
            f"{name}: targets must be labels [{batch}] int64, or floating-point distributions [{batch}, {classes}]; "
            f"got {described(labels)}"
        )
    return given


def _check_option(name: str, word: str, value: Any, default: Any) -> None:
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise LimbeckError(f"{name}: {word} must be True or False; got {short_repr(value)}")
        return
    if not isinstance(default, int | float) or (isinstance(value, Tensor) and value.ndim == 0):
        return  # a learned scalar is not checked
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
    if not number or (word == "temperature" and value <= 0):
        expected = "a number above 0" if word == "temperature" else "a number"
        raise LimbeckError(f"{name}: {word} must be {expected}, at most {LARGEST:g}; got {short_repr(value)}")


def _reason(error: Exception, targets: Any, logits: Tensor) -> str:
    """Why a loss failed although its arguments have the right shapes."""
    for part in (targets.labels, targets.partner_labels) if isinstance(targets, Targets) else ():
        if part.device.type == "cpu" and part.numel() and not part.is_floating_point():
            low, high = int(part.min()), int(part.max())
            if low < 0 or high >= logits.shape[-1]:
                wrong = low if low < 0 else high
                return f"label {wrong} is outside the {logits.shape[-1]} classes (0 to {logits.shape[-1] - 1})"
    return one_line(error)


def described(value: Any) -> str:
    """Shape and dtype of a tensor, for example `[128, 10] float32`, or the type of another value."""
    if isinstance(value, Tensor):
        return f"{list(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    return type(value).__name__


def _shown(signature: inspect.Signature) -> str:
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(bare))
