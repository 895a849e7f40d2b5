"""What a learner minimises: a weighted sum of losses."""

from __future__ import annotations

import inspect
import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError, one_line
from limbeck.losses.log_space import log_probabilities
from limbeck.losses.plain_tensors import described
from limbeck.types import Outputs, Targets

from .out_of_memory import is_out_of_memory

Loss = Callable[..., Tensor]


@dataclass(frozen=True)
class Term:
    """One loss of an objective: weight · mean over the batch of function(student, teacher, targets, **options).

    warmup_epochs: the weight grows in a straight line from nothing to `weight` over so many epochs.
    needs_features: it compares more than logits; other losses are given none.
    """

    name: str
    function: Loss
    weight: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    warmup_epochs: float = 0.0
    needs_features: bool = False

    @property
    def temperature(self) -> float:
        """At which several teachers are averaged for this loss: its own, given or by default; 1 if it has none."""
        option = inspect.signature(self.function).parameters.get("temperature")
        usual = 1.0 if option is None or option.default is option.empty else option.default
        return float(self.options.get("temperature", usual))

    def __call__(self, student: Outputs, teacher: Outputs | None, targets: Targets, **state: nn.Module) -> Tensor:
        """Its values, `[B]` or one number. Raises LimbeckError that says which loss, given what, failed how."""
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

    def _given(self, student: Outputs, teacher: Outputs | None, targets: Targets) -> str:
        told = "none" if teacher is None else described(teacher.logits)
        parameters = [p.replace(annotation=p.empty) for p in inspect.signature(self.function).parameters.values()]
        return (
            f"{getattr(self.function, '__name__', self.name)}{inspect.Signature(parameters)} was given student logits "
            f"{described(student.logits)}, teacher logits {told}, labels {described(targets.labels)}, "
            f"options {dict(self.options) or 'none'}"
        )

    def weight_at(self, epochs: float) -> float:
        """The weight of the step with which `epochs` of the training are done."""
        return self.weight * min(1.0, epochs / self.warmup_epochs) if self.warmup_epochs else self.weight


class _NoFeatures(tuple[Tensor, ...]):
    """Stands for features that a loss is not given. Empty ones would pass for a loss of zero in a loop over them."""

    reason: str

    def __new__(cls, reason: str) -> _NoFeatures:
        made = super().__new__(cls)
        made.reason = reason
        return made

    def _refuse(self, *_: Any) -> Any:
        raise LimbeckError(self.reason)

    __iter__ = __getitem__ = __len__ = _refuse


class Objective(nn.Module):
    """The weighted sum of a learner's losses, and what they learn themselves.

    teacher_weights: how much each teacher counts; they are scaled to sum to 1.
    states: for each term that has one, the module that its loss takes as `state=`. It is trained and saved
    with the learner, and is no part of the student.
    """

    def __init__(
        self,
        terms: Sequence[Term],
        *,
        teacher_weights: Sequence[float] = (),
        states: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.terms = tuple(terms)
        self.temperatures = tuple(term.temperature for term in self.terms)
        total = sum(teacher_weights)
        self.teacher_weights = tuple(weight / total for weight in teacher_weights)
        self.states = nn.ModuleDict(dict(states or {}))
        self.needs_features = any(term.needs_features for term in self.terms)

    def forward(
        self, student: Outputs, teachers: Sequence[Outputs], targets: Targets, epochs: float = math.inf
    ) -> Tensor:
        """Weighted values of all terms, `[number of terms]` float32. Their sum is what is minimised.

        epochs: how much of the training is done with this step, for weights that grow.
        Raises LimbeckError where a loss reads features that it has not asked for, or those of several teachers.
        """
        values = []
        for term, temperature in zip(self.terms, self.temperatures, strict=True):
            teacher = ensemble(teachers, self.teacher_weights, temperature)
            state = {"state": self.states[term.name]} if term.name in self.states else {}
            given = self._as_given_to(term, student, teacher, len(teachers))
            value = term(*given, targets, **state)
            values.append(term.weight_at(epochs) * value.mean())
        return torch.stack(values)

    @staticmethod
    def _as_given_to(
        term: Term, student: Outputs, teacher: Outputs | None, teachers: int
    ) -> tuple[Outputs, Outputs | None]:
        """What a loss may see of both: features where it needs them."""
        if not term.needs_features:
            none = _NoFeatures(
                f"loss {term.name!r} reads features; say so in its file or on the function: NEEDS_FEATURES = True"
            )
            return student._replace(features=none), teacher and teacher._replace(features=none)
        if teachers > 1 and teacher:
            reason = f"loss {term.name!r} compares features, and {teachers} teachers have none in common; give it one"
            teacher = teacher._replace(features=_NoFeatures(reason))
        return student, teacher


def _where(error: BaseException) -> str:
    """` at file.py:12`, where an error was raised outside torch, as deep as can be told."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    own = [frame for frame in frames if "/torch/" not in frame.filename]
    return f" at {own[-1].filename}:{own[-1].lineno}" if own else ""


def ensemble(teachers: Sequence[Outputs], weights: Sequence[float], temperature: float) -> Outputs | None:
    """One answer of several teachers: their softened probabilities, averaged at a loss's own temperature.

    Logits z with softmax(z / T) = Σ_i w_i softmax(z_i / T). One teacher is passed through untouched; features
    have no average, so several teachers offer none.
    """
    if not teachers:
        return None
    if len(teachers) == 1:
        return teachers[0]
    logs = torch.stack([log_probabilities(t.logits, temperature) for t in teachers])
    scale = torch.tensor(weights, dtype=logs.dtype, device=logs.device).log().view(-1, 1, 1)
    return Outputs(temperature * torch.logsumexp(logs + scale, dim=0))
