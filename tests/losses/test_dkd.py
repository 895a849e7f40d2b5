"""Decoupled distillation against its definition, at every size of logits."""

from __future__ import annotations

import float64_references as reference
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limbeck.losses import dkd, soft_targets
from limbeck.types import Outputs, Targets

weights = st.floats(0.0, 16.0)


def parts(student: reference.Array, teacher: reference.Array, labels: np.ndarray, temperature: float) -> tuple:
    """TCKD and NCKD as the loss has them, without T²."""
    both = reference.answer(student, torch.float64), reference.answer(teacher, torch.float64)
    targets = reference.of_labels(labels)
    target, others = (
        dkd(*both, targets, temperature=temperature, target_weight=a, non_target_weight=b) / temperature**2
        for a, b in ((1.0, 0.0), (0.0, 1.0))
    )
    return target.numpy(), others.numpy()


@given(reference.pairs(), reference.temperatures, weights, weights, st.integers(0, 2**31))
def test_float64_reference(pair: tuple, temperature: float, alpha: float, beta: float, draw: int) -> None:
    student, teacher = pair
    labels = np.random.default_rng(draw).integers(0, student.shape[1], student.shape[0])
    target, others = reference.dkd(student, teacher, labels, temperature)
    ours = dkd(
        reference.answer(student, torch.float64),
        reference.answer(teacher, torch.float64),
        reference.of_labels(labels),
        temperature=temperature, target_weight=alpha, non_target_weight=beta,
    )  # fmt: skip
    scale = 1 + max(np.abs(student).max(), np.abs(teacher).max()) / temperature  # what log-probabilities are made of
    expected = temperature**2 * (alpha * target + beta * others)
    assert ours.numpy() == pytest.approx(expected, rel=1e-6, abs=1e-13 * scale * temperature**2 * (alpha + beta + 1))


@given(reference.pairs(), reference.temperatures, st.integers(0, 2**31))
def test_the_divergence_is_the_sum_of_its_parts(pair: tuple, temperature: float, draw: int) -> None:
    """KL = TCKD + (1 - p_t) NCKD (equation 5 of the paper)."""
    student, teacher = pair
    labels = np.random.default_rng(draw).integers(0, student.shape[1], student.shape[0])
    target, others = parts(student, teacher, labels, temperature)
    rest = 1 - np.exp(reference.log_softmax(teacher, temperature)[np.arange(len(labels)), labels])
    whole = soft_targets(
        reference.answer(student, torch.float64),
        reference.answer(teacher, torch.float64),
        reference.of_labels(labels),
        temperature=temperature,
    ).numpy()
    scale = 1 + max(np.abs(student).max(), np.abs(teacher).max()) / temperature
    assert target + rest * others == pytest.approx(whole / temperature**2, rel=1e-6, abs=1e-12 * scale**2)


@given(reference.pairs(), reference.temperatures, st.integers(0, 2**31))
def test_the_parts_are_divergences(pair: tuple, temperature: float, draw: int) -> None:
    student, teacher = pair
    labels = np.random.default_rng(draw).integers(0, student.shape[1], student.shape[0])
    scale = 1 + max(np.abs(student).max(), np.abs(teacher).max()) / temperature
    for part in parts(student, teacher, labels, temperature):
        assert (part >= -1e-13 * scale).all()


def test_two_classes_have_no_others() -> None:
    logits = torch.tensor([[3.0, -2.0], [1e4, -1e4]])
    labels = torch.tensor([0, 1])
    targets = Targets(labels, labels, torch.ones(2))
    value = dkd(Outputs(logits), Outputs(-logits), targets, target_weight=0.0, non_target_weight=8.0)
    assert torch.equal(value, torch.zeros(2))


@given(st.floats(0, 1, width=32), st.integers(0, 100))
def test_a_mixed_image_counts_its_labels_by_their_shares(share: float, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    student, teacher = Outputs(torch.randn(5, 7, generator=g) * 4), Outputs(torch.randn(5, 7, generator=g) * 4)
    own, partner = torch.randint(0, 7, (2, 5), generator=g)
    shares = torch.full((5,), share)
    whole, ones = dkd(student, teacher, Targets(own, partner, shares)), torch.ones(5)
    first = dkd(student, teacher, Targets(own, own, ones))
    second = dkd(student, teacher, Targets(partner, partner, ones))
    torch.testing.assert_close(whole, share * first + (1 - share) * second)


def test_gradients() -> None:
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 6, generator=g, dtype=torch.float64, requires_grad=True)
    teacher = Outputs(torch.randn(4, 6, generator=g, dtype=torch.float64) * 3)
    own, partner = torch.randint(0, 6, (2, 4), generator=g)
    targets = Targets(own, partner, torch.tensor([1.0, 0.7, 0.2, 0.0]))
    assert torch.autograd.gradcheck(lambda z: dkd(Outputs(z), teacher, targets), logits)


@pytest.mark.parametrize("gap", [85.0, 500.0, 1e4])
def test_where_probabilities_underflow_the_textbook_formula_fails_and_ours_does_not(gap: float) -> None:
    """1 - p_t is 0 in float32 from a gap of about 17 on, and its logarithm is no number."""
    logits = torch.tensor([[gap, 0.0, 1.0]], requires_grad=True)
    teacher = torch.tensor([[gap / 2, 1.0, 0.0]])
    label = torch.tensor([0])
    p, q = (teacher / 4).softmax(-1), (logits / 4).softmax(-1)
    textbook = ((1 - p[:, 0]) * ((1 - p[:, 0]) / (1 - q[:, 0])).log()).sum()
    ours = dkd(Outputs(logits), Outputs(teacher), Targets(label, label, torch.ones(1)))
    ours.sum().backward()
    assert ours.isfinite().all() and logits.grad is not None and logits.grad.isfinite().all()
    if gap > 100:
        assert not textbook.isfinite()
    target, others = reference.dkd(logits.detach().double().numpy(), teacher.double().numpy(), label.numpy(), 4.0)
    assert ours.item() == pytest.approx(16 * (target + 8 * others).item(), rel=1e-5)
