"""DIST against Pearson's correlation as numpy has it."""

from __future__ import annotations

import float64_references as reference
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from limbeck.losses import dist
from limbeck.types import Outputs

moderate = st.integers(0, 10_000)


def draw(seed: int, scale: float = 3.0, shape: tuple[int, int] = (6, 5)) -> reference.Array:
    return np.random.default_rng(seed).normal(0, scale, shape)


@given(moderate, st.integers(2, 9), st.integers(2, 9), st.floats(0.5, 20.0), st.floats(0, 4), st.floats(0, 4))
def test_float64_reference(seed: int, batch: int, classes: int, temperature: float, beta: float, gamma: float) -> None:
    student, teacher = draw(seed, shape=(batch, classes)), draw(seed + 20_000, shape=(batch, classes))
    q, p = (np.exp(reference.log_softmax(z, temperature)) for z in (student, teacher))
    assume(all(np.ptp(v) > 1e-3 * np.abs(v).max() for m in (q, p) for v in (*m, *m.T)))  # none nearly constant
    inter = np.mean([reference.one_minus_pearson(u, v) for u, v in zip(q, p, strict=True)])
    intra = np.mean([reference.one_minus_pearson(u, v) for u, v in zip(q.T, p.T, strict=True)])
    ours = dist(
        reference.answer(student, torch.float64), reference.answer(teacher, torch.float64), reference.no_labels(batch),
        temperature=temperature, inter_weight=beta, intra_weight=gamma,
    )  # fmt: skip
    assert ours.item() == pytest.approx(temperature**2 * (beta * inter + gamma * intra), rel=1e-6, abs=1e-9)


@given(moderate, st.floats(0.1, 10), st.floats(-5, 5))
def test_only_relations_count(seed: int, scale: float, shift: float) -> None:
    """Rows of probabilities that differ by a positive linear map are the same relation between classes."""
    p = torch.from_numpy(np.exp(reference.log_softmax(draw(seed))))
    flatter = 0.3 * p + 0.7 / p.shape[1]
    value = dist(Outputs(flatter.log()), Outputs(p.log()), reference.no_labels(6), intra_weight=0.0)
    assert value.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_constant_has_no_direction(dtype: torch.dtype) -> None:
    flat = torch.zeros(4, 3, dtype=dtype, requires_grad=True)
    other = torch.tensor([[4.0, 0, 0], [0, 4, 0], [0, 0, 4], [1, 2, 3]], dtype=dtype)
    both = dist(Outputs(flat), Outputs(flat.detach()), reference.no_labels(4))
    one = dist(Outputs(flat), Outputs(other), reference.no_labels(4))
    assert both.item() == 0
    assert one.item() == pytest.approx(1.0)  # half for rows and half for columns
    one.backward()
    assert flat.grad is not None and flat.grad.isfinite().all()


def test_a_batch_of_one_has_relations_between_classes_alone() -> None:
    student, teacher = draw(1, shape=(1, 5)), draw(2, shape=(1, 5))
    q, p = (np.exp(reference.log_softmax(z)) for z in (student, teacher))
    ours = dist(reference.answer(student), reference.answer(teacher), reference.no_labels(1))
    assert ours.item() == pytest.approx(reference.one_minus_pearson(q[0], p[0]), rel=1e-5)


def test_gradients() -> None:
    logits = torch.from_numpy(draw(3)).requires_grad_()
    teacher = Outputs(torch.from_numpy(draw(4)))
    assert torch.autograd.gradcheck(lambda z: dist(Outputs(z), teacher, reference.no_labels(6)), logits)
