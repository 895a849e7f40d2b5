"""Decoupled distillation against its definition, at every size of logits."""

from __future__ import annotations

from typing import Any

import float64_references as reference
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from published_values import published_inputs
from torch.overrides import TorchFunctionMode

from limbeck.errors import LimbeckError
from limbeck.losses import dkd, soft_targets
from limbeck.types import Outputs, Targets, UnmixedTargets

weights = st.floats(0.0, 16.0)


class Logsumexps(TorchFunctionMode):
    """Counts calls of torch.logsumexp."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += function is torch.logsumexp
        return function(*args, **(kwargs or {}))


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


@given(
    reference.pairs(),
    reference.temperatures,
    st.integers(0, 2**31),
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
)
def test_lower_precision_loses_rounding_alone(pair: tuple, temperature: float, draw: int, dtype: torch.dtype) -> None:
    """Half precision loses what its logits lost; then each log-probability is off by float32's rounding."""
    student, teacher = (torch.from_numpy(z).to(dtype) for z in pair)
    s, t = student.double().numpy(), teacher.double().numpy()
    labels = np.random.default_rng(draw).integers(0, s.shape[1], s.shape[0])
    target, others = reference.dkd(s, t, labels, temperature)
    ours = dkd(Outputs(student), Outputs(teacher), reference.of_labels(labels), temperature=temperature)
    off = reference.log_rounding(s, temperature) + reference.log_rounding(t, temperature)
    allowed = off * (2 + target + 8 * (2 + others))  # Σ p |log p − log q| is at most the divergence + 2/e
    assert (np.abs(ours.double().numpy() / temperature**2 - (target + 8 * others)) <= allowed + 1e-30).all()


@given(reference.pairs(), reference.temperatures, weights, weights, st.integers(0, 2**31))
def test_the_gradient_at_every_size_of_logits(
    pair: tuple, temperature: float, alpha: float, beta: float, draw: int
) -> None:
    student, teacher = pair
    labels = np.random.default_rng(draw).integers(0, student.shape[1], student.shape[0])
    leaf = torch.from_numpy(student).requires_grad_()
    dkd(
        Outputs(leaf), reference.answer(teacher, torch.float64), reference.of_labels(labels),
        temperature=temperature, target_weight=alpha, non_target_weight=beta,
    ).sum().backward()  # fmt: skip
    target, others = reference.dkd_gradient(student, teacher, labels, temperature)
    assert leaf.grad is not None
    expected = temperature**2 * (alpha * target + beta * others)
    np.testing.assert_allclose(leaf.grad.numpy(), expected, rtol=1e-6, atol=1e-9 * temperature * (alpha + beta + 1))


@given(reference.pairs(), reference.temperatures, st.integers(0, 2**31))
def test_the_divergence_is_the_sum_of_its_parts(pair: tuple, temperature: float, draw: int) -> None:
    """KL = TCKD + (1 - p_t) NCKD (equation 5 of the paper)."""
    student, teacher = pair
    labels = np.random.default_rng(draw).integers(0, student.shape[1], student.shape[0])
    target, others = parts(student, teacher, labels, temperature)
    log_p = reference.log_softmax(teacher, temperature)
    rest = np.array([np.exp(np.delete(row, label)).sum() for row, label in zip(log_p, labels, strict=True)])
    whole = soft_targets(
        reference.answer(student, torch.float64),
        reference.answer(teacher, torch.float64),
        reference.of_labels(labels),
        temperature=temperature,
    ).numpy()
    scale = 1 + max(np.abs(student).max(), np.abs(teacher).max()) / temperature
    assert target + rest * others == pytest.approx(whole / temperature**2, rel=1e-6, abs=1e-13 * scale)


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


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("classes", [2, 6])
def test_gradcheck_of_mixed_images(temperature: float, classes: int) -> None:
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(4, classes, generator=g, dtype=torch.float64, requires_grad=True)
    teacher = Outputs(torch.randn(4, classes, generator=g, dtype=torch.float64) * 3)
    own, partner = torch.randint(0, classes, (2, 4), generator=g)
    targets = Targets(own, partner, torch.tensor([1.0, 0.7, 0.2, 0.0]))
    assert torch.autograd.gradcheck(lambda z: dkd(Outputs(z), teacher, targets, temperature=temperature), logits)


def test_an_unmixed_batch_is_the_same_with_its_labels_named_once_or_twice() -> None:
    g = torch.Generator().manual_seed(0)
    student, teacher = (Outputs(torch.randn(8, 5, generator=g)) for _ in range(2))
    labels, ones = torch.randint(0, 5, (8,), generator=g), torch.ones(8)
    once, twice = Targets(labels, labels, ones), Targets(labels, labels.clone(), ones)
    assert torch.equal(dkd(student, teacher, once), dkd(student, teacher, twice))


def test_that_nothing_is_mixed_is_known_after_a_move_to_another_device() -> None:
    """Told by the type, which `_make` keeps: labels that were copied twice are two objects."""
    labels = torch.tensor([0, 3, 1])
    moved = UnmixedTargets(labels, labels, torch.ones(3))
    moved = moved._make(t.clone() for t in moved)
    assert moved.partner_labels is not moved.labels
    student, teacher = (torch.randn(3, 5, generator=torch.Generator().manual_seed(n)) for n in (1, 2))
    found = {}
    for targets in (moved, Targets(*moved)):
        leaf = student.clone().requires_grad_()
        with Logsumexps() as calls:
            loss = dkd(Outputs(leaf), Outputs(teacher), targets)
        loss.sum().backward()
        found[type(targets)] = loss.detach(), leaf.grad, calls.count
    (loss, gradient, calls), (whole, whole_gradient, whole_calls) = found[UnmixedTargets], found[Targets]
    assert torch.equal(loss, whole) and torch.equal(gradient, whole_gradient), "the same to the last bit"
    assert 2 * calls == whole_calls, "at half the work"


def test_a_part_that_is_replaced_may_be_mixed() -> None:
    labels = torch.tensor([0, 3])
    changed = UnmixedTargets(labels, labels, torch.ones(2))._replace(share=torch.tensor([0.5, 1.0]))
    assert type(changed) is Targets


def test_distributions_have_no_target_class() -> None:
    logits, smooth = Outputs(torch.zeros(2, 3)), torch.full((2, 3), 1 / 3)
    with pytest.raises(LimbeckError, match="one target class per image"):
        dkd(logits, logits, Targets(smooth, smooth, torch.ones(2)))


@pytest.mark.parametrize(("gap", "dtype"), [(80.0, torch.float16), (450.0, torch.float32), (1e4, torch.float64)])
def test_where_the_probabilities_underflow_their_logarithms_are_no_numbers(gap: float, dtype: torch.dtype) -> None:
    """The definition read aloud: softmax, the two classes' probabilities, their logarithms. T = 4."""
    student = torch.tensor([[gap, 0.0, 1.0]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[8.0, 2.0, 0.0]], dtype=dtype)
    label = torch.tensor([0])

    def two_classes(logits: torch.Tensor) -> torch.Tensor:
        p = (logits / 4).softmax(-1)
        return torch.stack((p[:, 0], p[:, 1:].sum(-1)), dim=-1)

    p, q = two_classes(teacher), two_classes(student)
    assert not (p * (p.log() - q.log())).sum().isfinite()
    check_against_reference(student, teacher, label)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_finite_mask_lets_the_target_back_in(dtype: torch.dtype) -> None:
    """1000 taken off the target's softened logit hides it only while it leads the others by less than that."""
    student = torch.tensor([[5e3, 0.0, 4.0]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[5e3, 4.0, 0.0]], dtype=dtype)
    mask = torch.tensor([1e3, 0.0, 0.0])
    log_p, log_q = ((z.float() / 4 - mask).log_softmax(-1) for z in (teacher, student))
    assert (log_p.exp() * (log_p - log_q)).sum().abs() < 1e-6, "the others have all but vanished"
    assert dkd(Outputs(student), Outputs(teacher), reference.of_labels(np.array([0]))).item() > 1
    check_against_reference(student, teacher, torch.tensor([0]))


def check_against_reference(student: torch.Tensor, teacher: torch.Tensor, label: torch.Tensor) -> None:
    value = dkd(Outputs(student), Outputs(teacher), Targets(label, label, torch.ones(1)))
    value.sum().backward()
    assert student.grad is not None and student.grad.isfinite().all()
    logits = (z.detach().double().numpy() for z in (student, teacher))
    target, others = reference.dkd(*logits, label.numpy(), 4.0)
    assert value.item() == pytest.approx(16 * (target + 8 * others).item(), rel=1e-5)


def test_published_value() -> None:
    assert dkd(*published_inputs()).mean().item() == pytest.approx(41.93427905, rel=1e-8)
