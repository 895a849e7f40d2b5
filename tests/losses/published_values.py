"""Inputs on which the published losses were worked out, and what they all must keep."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Call = Callable[[Tensor, Tensor, Tensor], Tensor]


def published_inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Logits of student and teacher `[4, 5]` float64 and labels: sines, so that anyone can write them down."""
    rows, columns = torch.arange(1, 5, dtype=torch.float64)[:, None], torch.arange(1, 6, dtype=torch.float64)
    student, teacher = 3 * torch.sin(0.7 * rows * columns + 0.3), 3 * torch.sin(0.9 * rows * columns + 1.1)
    return student, teacher, torch.arange(4)


def draws(seed: int, *, batch: int = 4, classes: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, batch, classes, generator=g, dtype=torch.float64) * 3
    return student, teacher, torch.randint(0, classes, (batch,), generator=g)


def check_gradient(call: Call, seed: int = 0) -> None:
    student, teacher, labels = draws(seed)
    assert torch.autograd.gradcheck(lambda z: call(z, teacher, labels), (student.requires_grad_(),))


def check_shifts(call: Call, seed: int = 0) -> None:
    """A constant added to all logits of an image changes no probability."""
    student, teacher, labels = draws(seed)
    moved = call(student + torch.arange(4.0)[:, None], teacher - 50.0, labels)
    torch.testing.assert_close(moved, call(student, teacher, labels), rtol=1e-9, atol=1e-9)


def check_extremes(call: Call) -> None:
    """Gaps at which softmax underflows in each precision, beside the label, on it, and none at all."""
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        for gap in (0.0, 30.0, 200.0, 500.0, 1e4):
            student = torch.tensor([[gap, 0.0, 1.0], [0.0, gap, -gap]], dtype=dtype, requires_grad=True)
            teacher = torch.tensor([[0.0, gap, 0.0], [-gap, 0.0, gap]], dtype=dtype)
            value = call(student, teacher, torch.tensor([0, 0]))
            value.sum().backward()
            assert value.isfinite().all() and student.grad is not None and student.grad.isfinite().all()


def divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> float:
    """KL of one image, as sums of Python numbers."""
    q, p = ([math.exp(x / temperature) for x in z.tolist()] for z in (student, teacher))
    q, p = [x / sum(q) for x in q], [x / sum(p) for x in p]
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def probabilities(z: Tensor, temperature: float = 1.0) -> list[float]:
    powers = [math.exp(x / temperature) for x in z.tolist()]
    return [x / sum(powers) for x in powers]
