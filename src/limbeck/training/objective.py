"""The objective of a learner: a weighted sum of losses."""

from __future__ import annotations

import functools
import inspect
import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from limbeck.errors import LimbeckError, one_line
from limbeck.losses.ensembles import (
    ensemble,
    log_probability_of_labels,
    log_weights_by_confidence,
    log_weights_by_entropy,
    mixture,
)
from limbeck.losses.plain_tensors import described
from limbeck.types import Outputs, Shapes, Targets

from .model_errors import is_out_of_memory
from .precision import autocast

Loss = Callable[..., Tensor]
MakeState = Callable[..., nn.Module]
EnsembleWeights = Literal["fixed", "confidence", "entropy", "learned"]
LEARNED_WEIGHTS = "teacher_weights"
"""The name of the value that trains learned weights of teachers, beside the names of the losses."""
Compared = TypeVar("Compared", Outputs, Shapes)


@dataclass(frozen=True)
class WeightedLoss:
    """One loss of an objective: weight · mean over the batch of function(student, teacher, targets, **options).

    warmup_epochs: the number of epochs over which the weight grows linearly from 0 to `weight`.
    needs_features: whether the loss reads features; other losses receive none.
    make_state: `(student_shapes, teacher_shapes, **options) -> nn.Module`, for a loss with a `state`: a module that is
    trained with the student, such as an adapter. It receives the options of the loss that its signature names.
    """

    name: str
    function: Loss
    weight: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    warmup_epochs: float = 0.0
    needs_features: bool = False
    make_state: MakeState | None = None

    @property
    def temperature(self) -> float:
        """The temperature at which several teachers are averaged for this loss: its option, or 1 if it has none."""
        option = inspect.signature(self.function).parameters.get("temperature")
        default = 1.0 if option is None or option.default is option.empty else option.default
        return float(self.options.get("temperature", default))

    def __call__(self, student: Outputs, teacher: Outputs | None, targets: Targets, **state: nn.Module) -> Tensor:
        """The value of the loss, `[B]` or one number. Raises LimbeckError with the loss, its inputs and the error."""
        try:
            value = self.function(student, teacher, targets, **self.options, **state)
        except LimbeckError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise LimbeckError(
                f"loss {self.name!r} raised {type(error).__name__}{_where(error)}: {one_line(error)} "
                f"({self._given(student, teacher, targets)})"
            ) from error
        batch = student.logits.shape[0]
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.shape not in ((batch,), ()):
            raise LimbeckError(
                f"loss {self.name!r} must return [{batch}] or one number, floating point; it returned "
                f"{described(value)} ({self._given(student, teacher, targets)})"
            )
        if student.logits.requires_grad and torch.is_grad_enabled() and not value.requires_grad:
            raise LimbeckError(
                f"loss {self.name!r} returned a value that does not depend on the student: no gradient reaches it "
                f"({self._given(student, teacher, targets)})"
            )
        return value

    def build_state(self, student: Shapes, teachers: Sequence[Shapes]) -> nn.Module | None:
        """The module that the loss takes as `state`; None for a loss without one.

        The state function receives the shapes of what the loss will receive: `teacher_shapes` is None without a
        teacher, and has no features if there are several. It draws from torch's global generator.
        Raises LimbeckError that names the loss, the error and the shapes.
        """
        if self.make_state is None:
            return None
        teacher = combined_shapes(teachers)
        compared = f"student {_shown(student)}, teacher {'none' if teacher is None else _shown(teacher)}"
        loss_options = inspect.signature(self.function).parameters.values()
        options = {p.name: p.default for p in loss_options if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}
        options |= self.options
        try:
            named = inspect.signature(self.make_state).parameters.values()
            if not any(p.kind is p.VAR_KEYWORD for p in named):
                options = {name: value for name, value in options.items() if name in {p.name for p in named}}
            options.pop("state", None)
            state = self.make_state(*self.visible(student, teacher, len(teachers)), **options)
        except LimbeckError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise LimbeckError(
                f"loss {self.name!r}: its state raised {type(error).__name__}{_where(error)}: {one_line(error)} "
                f"({compared})"
            ) from error
        if not isinstance(state, nn.Module):
            raise LimbeckError(
                f"loss {self.name!r}: its state function must return a torch.nn.Module; it returned "
                f"{described(state)} ({compared})"
            )
        if any(isinstance(parameter, UninitializedParameter) for parameter in state.parameters()):
            raise LimbeckError(f"loss {self.name!r}: its state has lazy layers; give them their sizes ({compared})")
        return state

    def visible(self, student: Compared, teacher: Compared | None, teachers: int) -> tuple[Compared, Compared | None]:
        """What the loss may see of student and teacher (outputs or shapes): features only if it needs them."""
        if not self.needs_features:
            none = _NoFeatures(
                f"loss {self.name!r} reads features; say so in its file or on the function: NEEDS_FEATURES = True"
            )
            return student._replace(features=none), teacher and teacher._replace(features=none)
        if teachers > 1 and teacher:
            reason = f"loss {self.name!r} compares features, and {teachers} teachers have none in common; give it one"
            teacher = teacher._replace(features=_NoFeatures(reason))
        return student, teacher

    def _given(self, student: Outputs, teacher: Outputs | None, targets: Targets) -> str:
        parameters = [p.replace(annotation=p.empty) for p in inspect.signature(self.function).parameters.values()]
        return (
            f"{getattr(self.function, '__name__', self.name)}{inspect.Signature(parameters)} was given student "
            f"{self._described(student)}, teacher {'logits none' if teacher is None else self._described(teacher)}, "
            f"labels {described(targets.labels)}, options {dict(self.options) or 'none'}"
        )

    def _described(self, outputs: Outputs) -> str:
        """`logits [128, 10] float32`, and the shapes of the features if the loss reads them."""
        logits = f"logits {described(outputs.logits)}"
        if not self.needs_features or isinstance(outputs.features, _NoFeatures):
            return logits
        return f"{logits} and features {', '.join(str(list(f.shape)) for f in outputs.features) or 'none'}"

    def weight_at(self, epochs: float) -> float:
        """The weight in a step after which `epochs` epochs are done."""
        return self.weight * min(1.0, epochs / self.warmup_epochs) if self.warmup_epochs else self.weight


class _NoFeatures(tuple[Any, ...]):
    """Features that a loss may not read. An empty tuple would silently give a loss of zero in a loop over it."""

    reason: str

    def __new__(cls, reason: str) -> _NoFeatures:
        features = super().__new__(cls)
        features.reason = reason
        return features

    def _refuse(self, *_: Any) -> Any:
        raise LimbeckError(self.reason)

    __iter__ = __getitem__ = __len__ = _refuse


class Objective(nn.Module):
    """The weighted sum of a learner's losses, and the modules that these losses train.

    teacher_weights: relative weights of the teachers, scaled to sum to 1. ensemble: how several teachers are weighed.
    `fixed`: by these weights alone. `confidence`, `entropy`: for each image (`log_weights_by_confidence`, `…_entropy`).
    `learned`: by weights that are trained to make the ensemble's probability of the labels as high as possible. They
    start from the given ones; the value that is minimised, −log Σ_i w_i p_i(y), is one more value of the objective.
    states: for each loss that has one, the module that the loss takes as `state=`. It is trained and checkpointed
    with the learner, but is not part of the student. A loss with a state receives half-precision outputs as float32,
    because the parameters of the state are float32.
    """

    def __init__(
        self,
        losses: Sequence[WeightedLoss],
        *,
        teacher_weights: Sequence[float] = (),
        states: Mapping[str, nn.Module] | None = None,
        ensemble: EnsembleWeights = "fixed",
    ) -> None:
        super().__init__()
        self.losses = tuple(losses)
        self.temperatures = tuple(loss.temperature for loss in self.losses)
        total = sum(teacher_weights)
        self.teacher_weights = tuple(weight / total for weight in teacher_weights)
        self.ensemble = ensemble if len(self.teacher_weights) > 1 else "fixed"
        if self.ensemble == "learned":
            self.teacher_scores = nn.Parameter(torch.tensor(self.teacher_weights).log())
        self.states = nn.ModuleDict({_module_name(name): state for name, state in (states or {}).items()})
        self.needs_features = any(loss.needs_features for loss in self.losses)

    @property
    def value_names(self) -> list[str]:
        """The name of each value that `forward` returns: of the losses in order, then `teacher_weights` if learned."""
        return [loss.name for loss in self.losses] + [LEARNED_WEIGHTS] * (self.ensemble == "learned")

    def learned_weights(self) -> list[float]:
        """The learned weights of the teachers, which sum to 1; empty if they are not learned."""
        return self.teacher_scores.detach().softmax(dim=0).tolist() if self.ensemble == "learned" else []

    def forward(
        self, student: Outputs, teachers: Sequence[Outputs], targets: Targets, epochs: float = math.inf
    ) -> Tensor:
        """Weighted values of all losses, as in `value_names`, float32. Their sum is minimised.

        epochs: done after this step, as a fraction; for weights with a warm-up.
        Raises LimbeckError if a loss reads features that it does not declare, or those of several teachers.
        """
        values = []
        log_weights = self._log_weights(teachers, targets)
        for loss, temperature in zip(self.losses, self.temperatures, strict=True):
            if log_weights is None:
                teacher = ensemble(teachers, self.teacher_weights, temperature)
            else:
                teacher = mixture(teachers, log_weights, temperature)
            seen = loss.visible(student, teacher, len(teachers))
            if _module_name(loss.name) in self.states:
                state = self.states[_module_name(loss.name)]
                with autocast(torch.float32, student.logits.device):
                    value = loss(_in_float32(seen[0]), seen[1] and _in_float32(seen[1]), targets, state=state)
            else:
                value = loss(*seen, targets)
            values.append(loss.weight_at(epochs) * value.mean())
        if self.ensemble == "learned":
            together = mixture(teachers, self.teacher_scores.log_softmax(dim=0), 1.0)
            values.append(-log_probability_of_labels(together.logits, targets).mean())
        return torch.stack(values)

    def _log_weights(self, teachers: Sequence[Outputs], targets: Targets) -> Tensor | None:
        """The logarithms of the teachers' weights, `[n]` or `[n, B]`; None if they are fixed. Without gradient."""
        if self.ensemble == "confidence":
            return log_weights_by_confidence(teachers, self.teacher_weights, targets)
        if self.ensemble == "entropy":
            return log_weights_by_entropy(teachers, self.teacher_weights)
        return self.teacher_scores.detach().log_softmax(dim=0) if self.ensemble == "learned" else None


def _where(error: BaseException) -> str:
    """` at file.py:12`: the innermost frame of an error outside torch."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    own = [frame for frame in frames if "/torch/" not in frame.filename]
    return f" at {own[-1].filename}:{own[-1].lineno}" if own else ""


def _shown(shapes: Shapes) -> str:
    """`logits [2, 10], features [2, 16, 8, 8], [2, 32, 4, 4]`."""
    features = ", ".join(str(list(shape)) for shape in shapes.features)
    return f"logits {list(shapes.logits)}, features {features or 'none'}"


@functools.cache
def _module_name(name: str) -> str:
    """The key of a loss's state in a `ModuleDict`, which takes neither dots nor the names of its own attributes."""
    key = name.replace(".", "/")
    return f"{key}/" if hasattr(nn.ModuleDict(), key) else key


def _in_float32(outputs: Outputs) -> Outputs:
    """Outputs with half-precision tensors converted to float32."""
    features = outputs.features
    if not isinstance(features, _NoFeatures):
        features = tuple(map(_widened, features))
    return Outputs(_widened(outputs.logits), features)


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def combined_shapes(teachers: Sequence[Shapes]) -> Shapes | None:
    """The shapes of the ensemble of several teachers, which has logits only."""
    return teachers[0] if len(teachers) == 1 else Shapes(teachers[0].logits) if teachers else None
