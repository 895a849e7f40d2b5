"""Correlation congruence: how the embeddings of images in a batch differ from each other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError, short_repr
from limbeck.types import Outputs, Shapes, Targets

from .layers import adapted, one_size_pair, pooled_pair, products
from .plain_tensors import takes_tensors

NEEDS_LABELS = False
NEEDS_FEATURES = True
FORMS = ("kernel", "neighbours")


@takes_tensors
def correlation_congruence(
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
    *,
    form: str = "kernel",
    gamma: float = 0.4,
    order: int = 2,
    dimension: int = 128,
    layers: tuple[int, ...] = (-1,),
    teacher_layers: str | tuple[int, ...] = "paired",
    state: nn.ModuleDict,
) -> Tensor:
    """Correlation congruence of a batch: ‖k(e) − k(h)‖² / B², a sum of squares over pairs of images.

    Peng et al. 2019, "Correlation Congruence for Knowledge Distillation". e and h are embeddings of
    student and teacher: pooled features through a linear layer each, which is trained with the student. k is the
    Gaussian kernel exp(−γ ‖a − b‖²) of embeddings of norm 1, as its Taylor series up to `order` P:
    exp(−2 γ) · Σ_p (2 γ)^p / p! · (aᵀ b)^p.

    form: `kernel`, as in the paper. `neighbours` is the loss of the code that tables cite: with δ = e − h, the mean
    over neighbours i, i + 1 in the batch of Σ_d |δ_i,d · δ_i+1,d|, without kernel and norms. It depends on the order of
    the images; it is used with `weight: 0.02`. The kernel's values are small: start with `weight: 100`, and sweep it.
    gamma, order: γ and P. dimension: of the embeddings. layers, teacher_layers: one layer of each model, the last by
    default. The value depends on which images share a batch. The labels are not used.
    student, teacher: outputs with features; no gradient flows into the teacher's, but into the layer that embeds it.
    Returns one number.
    """
    pair = pooled_pair("correlation_congruence", student, teacher, layers, teacher_layers)
    own, of_teacher = (adapted(state[who], x) for who, x in zip(("student", "teacher"), pair, strict=True))
    _checked_form(form)
    if form == "neighbours":
        difference = own - of_teacher
        return (difference[:-1] * difference[1:]).abs().sum(dim=1).mean() if len(difference) > 1 else own.sum() * 0
    return (_kernel(own, gamma, order) - _kernel(of_teacher, gamma, order)).square().mean()


def _kernel(embeddings: Tensor, gamma: float, order: int) -> Tensor:
    unit = nn.functional.normalize(embeddings, dim=1)
    cosines = products(unit, unit)
    total, term = torch.ones_like(cosines), torch.ones_like(cosines)
    for power in range(1, order + 1):
        term = term * cosines * (2 * gamma / power)
        total = total + term
    return total * torch.exp(torch.tensor(-2.0 * gamma, dtype=total.dtype, device=total.device))


def _checked_form(form: object) -> None:
    if form not in FORMS:
        raise LimbeckError(f"correlation_congruence: form: expected one of {', '.join(FORMS)}; got {short_repr(form)}")


def state(
    student_shapes: Shapes,
    teacher_shapes: Shapes | None,
    *,
    form: str,
    gamma: float,
    order: int,
    dimension: int,
    layers: tuple[int, ...],
    teacher_layers: str | tuple[int, ...],
) -> nn.ModuleDict:
    """The two embeddings. Raises LimbeckError for options that are not possible."""
    _checked_form(form)
    if dimension < 1 or order < 0 or gamma < 0:
        raise LimbeckError(
            "correlation_congruence: expected dimension ≥ 1, order ≥ 0 and gamma ≥ 0; "
            f"got {dimension}, {order} and {gamma}"
        )
    own, of_teacher = one_size_pair("correlation_congruence", student_shapes, teacher_shapes, layers, teacher_layers)
    return nn.ModuleDict(
        {"student": nn.Linear(own[0], int(dimension)), "teacher": nn.Linear(of_teacher[0], int(dimension))}
    )
