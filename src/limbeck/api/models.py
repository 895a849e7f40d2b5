"""What a caller from Python brings as a student or a teacher: modules, scripted ones, functions, loaded models."""

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
    """A teacher as a module. input_format: how it takes its images, where it says so itself."""

    name: str
    module: nn.Module
    input_format: InputFormat | None = None

    def resolution(self, usual: int | None) -> int | None:
        """Side of the images that it is given."""
        return self.input_format.resolution if self.input_format else usual


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
    """All teachers of a call, named `teacher-0` and so on, in the order of the data's classes where they name theirs.

    class_names: of the data; None where they are not known yet.
    """
    if teacher is None:
        return []
    given = [teacher] if callable(teacher) or not isinstance(teacher, list | tuple) else list(teacher)
    return [_as_teacher(f"teacher-{number}", one, class_names) for number, one in enumerate(given)]


def _as_teacher(name: str, given: Any, class_names: Sequence[str] | None) -> GivenTeacher:
    if isinstance(given, LoadedModel):
        known = given.class_names if class_names is None else class_names
        return GivenTeacher(name, reorder_classes(given.model, name, given.class_names, known), given.input_format)
    if isinstance(given, type):
        raise LimbeckError(f"{name}: takes a model, got the class {given.__name__}; make one: {given.__name__}(...)")
    if isinstance(given, nn.Module) and not isinstance(given, torch.jit.ScriptModule):
        return GivenTeacher(name, given)
    if not callable(given):
        raise LimbeckError(f"{name}: takes a torch module or a function; got {type(given).__name__}")
    return GivenTeacher(name, AsModule(given))


def check_student(student: Any) -> None:
    """Raises LimbeckError where a student is no module or has nothing to train."""
    if isinstance(student, LoadedModel):
        raise LimbeckError("student: takes a torch module; of a loaded model, give its `.model`")
    if not isinstance(student, nn.Module):
        kind = f"the class {student.__name__}" if isinstance(student, type) else type(student).__name__
        raise LimbeckError(f"student: takes a torch module that can be trained; got {kind}")
    parameters = list(student.parameters())
    if not any(parameter.requires_grad for parameter in parameters):
        why = f"none of its {len(parameters)} parameters requires a gradient" if parameters else "it has no parameters"
        freed = "; student.requires_grad_(True) frees them" if parameters else ""
        raise LimbeckError(f"student: there is nothing to train: {why}{freed}")


@contextlib.contextmanager
def averaged_outputs(student: nn.Module, pixels: Tensor) -> Iterator[None]:
    """Train a student on the outputs that it is measured by afterwards. pixels: prepared images `[B, C, H, W]`.

    Some models return several logits in training and their mean in eval mode (DeiT's two tokens). They are trained on
    that mean: otherwise the second logits would stay at their initial values and spoil the mean. Of all others,
    `as_outputs` takes the first. Raises LimbeckError where no gradient flows back from the logits.
    """
    handle = None
    if not isinstance(student, torch.jit.ScriptModule) and _gives_mean(student, pixels):
        handle = student.register_forward_hook(lambda module, args, answer: _mean(answer) if _several(answer) else None)
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()


def _gives_mean(student: nn.Module, pixels: Tensor) -> bool:
    training = student.training
    student.eval()
    try:
        with torch.enable_grad():
            measured = as_outputs(student(pixels)).logits
        if not measured.requires_grad:
            raise LimbeckError("student: there is nothing to train: its logits carry no gradient")
        student.training = True  # its own flag alone: layers stay as they are measured, without noise or statistics
        with torch.no_grad():
            answer = student(pixels)
    except LimbeckError:
        raise
    except Exception:  # what cannot be asked so is heard as all others are
        return False
    finally:
        student.train(training)
    return _several(answer) and _close(_mean(answer), measured) and not _close(answer[0], measured)


def _several(answer: Any) -> bool:
    """Whether these are several logits of one shape in a bare tuple."""
    if isinstance(answer, Outputs) or not isinstance(answer, tuple | list) or hasattr(answer, "logits"):
        return False
    return len(answer) > 1 and all(isinstance(a, Tensor) and a.shape == answer[0].shape for a in answer)


def _mean(answer: Any) -> Tensor:
    return torch.stack(list(answer)).mean(dim=0)


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other.detach(), rtol=1e-4, atol=1e-5)
