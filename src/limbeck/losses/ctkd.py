"""Curriculum temperature: distillation at a temperature that learns to make the student's task harder."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.types import Outputs, Shapes, Targets

from .log_space import widened
from .plain_tensors import takes_tensors

NEEDS_LABELS = False
START = 1.0
"""Initial θ, as published; the first temperature is 1 + 20 · sigmoid(1) = 15.6."""


@takes_tensors
def ctkd(
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
    *,
    lowest: float = 1.0,
    span: float = 20.0,
    ramp_steps: int = 7820,
    state: CurriculumTemperature,
) -> Tensor:
    """Curriculum temperature distillation, T² · KL(p ‖ q) at a learned T = lowest + span · sigmoid(θ).

    Li et al. 2023, "Curriculum Temperature for Knowledge Distillation", with one temperature for all examples. p and q
    are the softmaxes of teacher and student at T. The student descends this loss while θ ascends it: the gradient that
    reaches θ is multiplied by −λ, where λ = ½ (1 − cos(π · s / ramp_steps)) grows from 0 to 1 over the first
    `ramp_steps` steps s, and then stays 1. θ has the student's optimizer, with its weight decay, and is trained and
    saved with the student. The factor T² is part of what θ maximises, as in the published code. The labels are not
    used.

    ramp_steps: the default is 10 epochs of 50,000 images in batches of 64, as published, where λ grows once an epoch.
    lowest, span: the range of the temperature. The paper uses weight 0.9, and 0.1 for cross-entropy. With several
    teachers, their probabilities are averaged at temperature 1.
    student, teacher: logits `[B, K]`; no gradient flows into the teacher's.
    Returns `[B]`, in nats.
    """
    temperature = state(widened(student.logits).dtype)
    log_p = torch.log_softmax(widened(teacher.logits.detach()) / temperature, dim=-1)
    log_q = torch.log_softmax(widened(student.logits) / temperature, dim=-1)
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def state(
    student_shapes: Shapes, teacher_shapes: Shapes | None, *, lowest: float, span: float, ramp_steps: int
) -> CurriculumTemperature:
    """The learned temperature. Raises LimbeckError for a range or a ramp that is not possible."""
    if not lowest > 0 or not span >= 0:
        raise LimbeckError(f"ctkd: expected lowest > 0 and span ≥ 0; got {lowest!r} and {span!r}")
    if ramp_steps < 0:
        raise LimbeckError(f"ctkd: ramp_steps: expected a number of steps, at least 0; got {ramp_steps!r}")
    return CurriculumTemperature(lowest, span, ramp_steps)


class CurriculumTemperature(nn.Module):
    """T = lowest + span · sigmoid(θ), with a reversed gradient whose size follows the steps taken so far."""

    steps: Tensor

    def __init__(self, lowest: float, span: float, ramp_steps: int) -> None:
        super().__init__()
        self.lowest, self.span, self.ramp_steps = lowest, span, ramp_steps
        self.theta = nn.Parameter(torch.tensor(START))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The temperature, a scalar. Every call in training with gradients counts as one step of the ramp."""
        strength = self.strength()
        if self.training and torch.is_grad_enabled():
            self.steps += 1
        temperature = self.lowest + self.span * self.theta.to(dtype).sigmoid()
        return ReversedGradient.apply(temperature, strength)  # pyright: ignore[reportReturnType]

    def strength(self) -> Tensor:
        """λ after the steps taken so far."""
        if not self.ramp_steps:
            return torch.ones_like(self.theta.detach())
        done = (self.steps / self.ramp_steps).clamp(max=1.0)
        return 0.5 * (1 - torch.cos(math.pi * done))


class ReversedGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by −strength (Ganin & Lempitsky 2015)."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, strength: Tensor) -> Tensor:
        """The value itself."""
        ctx.save_for_backward(strength)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """−strength times the gradient."""
        (strength,) = ctx.saved_tensors
        return -strength.to(gradients[0].dtype) * gradients[0], None
