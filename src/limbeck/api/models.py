"""The `student` and `teacher` arguments of `distill`: modules, TorchScript, functions, loaded models."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.building.saved_model import LoadedModel
from limbeck.building.teachers import reorder_classes
from limbeck.errors import LimbeckError
from limbeck.training import code_fingerprint
from limbeck.training.teacher import as_outputs
from limbeck.types import Outputs
from limbeck.views.preprocess import InputFormat


@dataclass(frozen=True)
class GivenTeacher:
    """A teacher as a module. input_format: that of a loaded model; None for all others."""

    name: str
    module: nn.Module
    input_format: InputFormat | None = None

    def resolution(self, default: int | None) -> int | None:
        """Side length of its input in pixels."""
        return self.input_format.resolution if self.input_format else default


class AsModule(nn.Module):
    """A function, or a scripted module that cannot do all that a module can, as a module.

    What has no weights of its own has the hash of what it does in their place: equal states are equal models.
    """

    def __init__(self, given: Callable[..., Any]) -> None:
        super().__init__()
        self.function = given
        if isinstance(given, torch.jit.ScriptModule):
            identity = "" if given.state_dict() else hashlib.sha256(given.save_to_buffer()).hexdigest()
        else:
            identity = code_fingerprint.of_function(given)
        if identity:
            self.register_buffer("identity", torch.frombuffer(bytearray.fromhex(identity), dtype=torch.uint8))

    def forward(self, pixels: Tensor) -> Any:
        """Whatever it answers."""
        return self.function(pixels)


def as_teachers(teacher: Any, class_names: Sequence[str] | None) -> list[GivenTeacher]:
    """All teachers of a call, named `teacher-0` and so on. Loaded models answer in the order of `class_names`.

    class_names: those of the data; None before the data are loaded.
    """
    if teacher is None:
        return []
    given = [teacher] if callable(teacher) or not isinstance(teacher, list | tuple) else list(teacher)
    return [_as_teacher(f"teacher-{number}", one, class_names) for number, one in enumerate(given)]


def _as_teacher(name: str, given: Any, class_names: Sequence[str] | None) -> GivenTeacher:
    if isinstance(given, LoadedModel):
        order = given.class_names if class_names is None else class_names
        return GivenTeacher(name, reorder_classes(given.model, name, given.class_names, order), given.input_format)
    if isinstance(given, type):
        raise LimbeckError(f"{name}: takes a model, got the class {given.__name__}; create one: {given.__name__}(...)")
    if isinstance(given, nn.Module) and not isinstance(given, torch.jit.ScriptModule):
        return GivenTeacher(name, given)
    if not callable(given):
        raise LimbeckError(f"{name}: takes a torch module or a function; got {type(given).__name__}")
    return GivenTeacher(name, AsModule(given))


def check_student(student: Any) -> None:
    """Raises LimbeckError if the student is not a module, or has no parameters to train."""
    if isinstance(student, LoadedModel):
        raise LimbeckError("student: takes a torch module; of a loaded model, give its `.model`")
    if not isinstance(student, nn.Module):
        kind = f"the class {student.__name__}" if isinstance(student, type) else type(student).__name__
        raise LimbeckError(f"student: takes a torch module that can be trained; got {kind}")
    parameters = list(student.parameters())
    if not any(parameter.requires_grad for parameter in parameters):
        why = f"none of its {len(parameters)} parameters requires a gradient" if parameters else "it has no parameters"
        fix = "; student.requires_grad_(True) makes them trainable" if parameters else ""
        raise LimbeckError(f"student: there is nothing to train: {why}{fix}")


@contextlib.contextmanager
def averaged_outputs(student: nn.Module, pixels: Tensor) -> Iterator[None]:
    """Train a student on the outputs by which it is evaluated. pixels: prepared images `[B, C, H, W]`.

    Some models return several logits in training and their mean in eval mode (DeiT's two tokens). They are trained on
    that mean; otherwise the second logits would stay untrained and distort the mean. From all other models,
    `as_outputs` takes the first. Raises LimbeckError if the logits carry no gradient.
    """
    handle = None
    if not isinstance(student, torch.jit.ScriptModule) and _averages_in_eval_mode(student, pixels):
        handle = student.register_forward_hook(
            lambda module, args, output: _mean(output) if _are_several(output) else None
        )
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()


def _averages_in_eval_mode(student: nn.Module, pixels: Tensor) -> bool:
    training = student.training
    student.eval()
    try:
        with torch.enable_grad():
            evaluated = as_outputs(student(pixels)).logits
        if not evaluated.requires_grad:
            raise LimbeckError("student: there is nothing to train: its logits carry no gradient")
        student.training = (
            True  # its own flag only: all layers stay in eval mode, so without dropout and batch statistics
        )
        with torch.no_grad():
            output = student(pixels)
    except LimbeckError:
        raise
    except Exception:  # it cannot run in this mix of modes, so it does not return several logits
        return False
    finally:
        student.train(training)
    return _are_several(output) and _close(_mean(output), evaluated) and not _close(output[0], evaluated)


def _are_several(output: Any) -> bool:
    """Whether an output is a plain tuple or list of several logits of one shape."""
    if isinstance(output, Outputs) or not isinstance(output, tuple | list) or hasattr(output, "logits"):
        return False
    return len(output) > 1 and all(isinstance(logits, Tensor) and logits.shape == output[0].shape for logits in output)


def _mean(logits: Any) -> Tensor:
    return torch.stack(list(logits)).mean(dim=0)


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other.detach(), rtol=1e-4, atol=1e-5)
