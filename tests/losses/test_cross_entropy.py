"""Cross-entropy against its definition in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from float64_references import Array, answer, log_rounding, log_softmax, logits, of_labels, one_hot, sizes
from float64_references import cross_entropy as reference
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from limbeck.losses import cross_entropy
from limbeck.types import Outputs, Targets

shares = st.floats(0.0, 1.0, width=32)
smoothings = st.sampled_from([0.0, 0.05, 0.1, 0.5, 1.0])


@st.composite
def cases(draw: st.DrawFn) -> tuple[Array, Targets]:
    batch, classes = draw(sizes)
    z = draw(logits((batch, classes)))
    label = st.lists(st.integers(0, classes - 1), min_size=batch, max_size=batch)
    share = torch.tensor(draw(st.lists(shares, min_size=batch, max_size=batch)))
    return z, Targets(torch.tensor(draw(label)), torch.tensor(draw(label)), share)


def distribution(targets: Targets, classes: int, smoothing: float = 0.0) -> Array:
    share = targets.share.double().numpy()[:, None]
    own, partner = (one_hot(t.numpy(), classes) for t in (targets.labels, targets.partner_labels))
    return (1 - smoothing) * (share * own + (1 - share) * partner) + smoothing / classes


@given(cases(), smoothings)
def test_float64_reference(case: tuple[Array, Targets], smoothing: float) -> None:
    z, targets = case
    expected = reference(z, distribution(targets, z.shape[1], smoothing))
    exact = cross_entropy(answer(z, torch.float64), None, targets, label_smoothing=smoothing)
    np.testing.assert_allclose(exact.numpy(), expected, rtol=1e-11, atol=1e-9)
    wide = cross_entropy(answer(z), None, targets, label_smoothing=smoothing)
    np.testing.assert_allclose(wide.numpy(), expected, rtol=1e-5, atol=log_rounding(z))


@given(cases(), st.sampled_from([torch.float16, torch.bfloat16]))
def test_half_precision_loses_only_what_the_logits_lost(case: tuple[Array, Targets], dtype: torch.dtype) -> None:
    z, targets = case
    narrow = torch.from_numpy(z).to(dtype)
    expected = reference(narrow.double().numpy(), distribution(targets, z.shape[1]))
    value = cross_entropy(Outputs(narrow), None, targets)
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-5, atol=log_rounding(z))


@given(cases(), st.integers(-1000, 1000), smoothings)
def test_a_shift_of_all_logits_changes_nothing(case: tuple[Array, Targets], shift: int, smoothing: float) -> None:
    z, targets = case
    one = cross_entropy(answer(z, torch.float64), None, targets, label_smoothing=smoothing)
    other = cross_entropy(answer(z + shift, torch.float64), None, targets, label_smoothing=smoothing)
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-9)


@given(cases(), st.randoms(use_true_random=False))
def test_names_of_the_classes_do_not_matter(case: tuple[Array, Targets], random) -> None:
    z, targets = case
    order = list(range(z.shape[1]))
    random.shuffle(order)
    new_place = torch.from_numpy(np.argsort(order))
    renamed = Targets(new_place[targets.labels], new_place[targets.partner_labels], targets.share)
    one = cross_entropy(answer(z, torch.float64), None, targets, label_smoothing=0.1)
    other = cross_entropy(answer(z[:, order], torch.float64), None, renamed, label_smoothing=0.1)
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-10)


@given(cases(), smoothings)
def test_labels_may_be_the_distribution_itself(case: tuple[Array, Targets], smoothing: float) -> None:
    """Smoothing, mixing, or both: each is cross-entropy with a distribution, given directly."""
    z, targets = case
    given_directly = torch.from_numpy(distribution(targets, z.shape[1], smoothing))
    direct = Targets(given_directly, given_directly, torch.ones(len(z)))
    one = cross_entropy(answer(z, torch.float64), None, targets, label_smoothing=smoothing)
    other = cross_entropy(answer(z, torch.float64), None, direct)
    torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-9)


@given(cases())
def test_it_is_never_below_the_entropy_of_the_target(case: tuple[Array, Targets]) -> None:
    z, targets = case
    target = distribution(targets, z.shape[1], 0.1)
    entropy = -(target * np.log(target)).sum(axis=-1)
    value = cross_entropy(answer(z, torch.float64), None, targets, label_smoothing=0.1).numpy()
    assert (value >= entropy - 1e-9).all()
    best = cross_entropy(answer(np.log(target), torch.float64), None, targets, label_smoothing=0.1).numpy()
    np.testing.assert_allclose(best, entropy, rtol=1e-6)  # a share is stored in float32


def test_it_agrees_with_torch() -> None:
    z = torch.randn(64, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(64) % 10
    for smoothing in (0.0, 0.1):
        expected = torch.nn.functional.cross_entropy(z, labels, reduction="none", label_smoothing=smoothing)
        value = cross_entropy(Outputs(z), None, of_labels(labels.numpy()), label_smoothing=smoothing)
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


def test_known_values() -> None:
    even = cross_entropy(answer(np.zeros((1, 10))), None, of_labels(np.array([3])))
    assert even.item() == pytest.approx(np.log(10))
    wrong = cross_entropy(answer(np.array([[1e4, -1e4]])), None, of_labels(np.array([1])))
    assert wrong.item() == 2e4
    right = cross_entropy(answer(np.array([[1e4, -1e4]])), None, of_labels(np.array([0])))
    assert right.item() == 0


@given(cases(), smoothings)
def test_the_gradient_is_probability_less_target(case: tuple[Array, Targets], smoothing: float) -> None:
    z, targets = case
    leaf = torch.from_numpy(z).requires_grad_()
    cross_entropy(Outputs(leaf), None, targets, label_smoothing=smoothing).sum().backward()
    expected = np.exp(log_softmax(z)) - distribution(targets, z.shape[1], smoothing)
    assert leaf.grad is not None
    np.testing.assert_allclose(leaf.grad.numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradcheck(smoothing: float) -> None:
    z = torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    targets = Targets(torch.tensor([0, 1, 4]), torch.tensor([2, 1, 3]), torch.tensor([1.0, 0.5, 0.25]))

    def value(leaf: Tensor) -> Tensor:
        return cross_entropy(Outputs(leaf), None, targets, label_smoothing=smoothing)

    assert torch.autograd.gradcheck(value, (z,))
