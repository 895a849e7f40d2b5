"""Distillation's first loss against its definition in float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from float64_references import Array, answer, kl, log_rounding, log_softmax, no_labels, pairs, temperatures
from hypothesis import assume, given
from hypothesis import strategies as st
from published_values import published_inputs
from torch import Tensor

from limbeck.losses import cross_entropy, soft_targets
from limbeck.types import Outputs, Targets


def loss(student: Array, teacher: Array, temperature: float, dtype: torch.dtype = torch.float64) -> Array:
    value = soft_targets(
        answer(student, dtype), answer(teacher, dtype), no_labels(len(student)), temperature=temperature
    )
    return value.double().numpy()


def gradient(student: Array, teacher: Array, temperature: float) -> Array:
    leaf = torch.from_numpy(student.copy()).requires_grad_()
    soft_targets(
        Outputs(leaf), answer(teacher, torch.float64), no_labels(len(student)), temperature=temperature
    ).sum().backward()
    assert leaf.grad is not None
    return leaf.grad.numpy()


def allowance(student: Array, teacher: Array, temperature: float, expected: Array) -> Array:
    """How far float32 may be off: each log-probability is, and each probability by the same share of itself.

    Σ p |log p − log q| is at most the divergence + 2/e.
    """
    off = log_rounding(student, temperature) + log_rounding(teacher, temperature)
    return temperature**2 * off * (2 + expected / temperature**2)


@given(pairs(), temperatures)
def test_float64_reference(pair: tuple[Array, Array], temperature: float) -> None:
    student, teacher = pair
    expected = temperature**2 * kl(student, teacher, temperature)
    scale = temperature**2 * (1 + max(np.abs(student).max(), np.abs(teacher).max()) / temperature)
    np.testing.assert_allclose(loss(student, teacher, temperature), expected, rtol=1e-10, atol=1e-13 * scale)
    wide = loss(student, teacher, temperature, torch.float32)
    assert (np.abs(wide - expected) <= allowance(student, teacher, temperature, expected)).all()


@given(pairs(), temperatures, st.sampled_from([torch.float16, torch.bfloat16]))
def test_half_precision_loses_only_what_the_logits_lost(
    pair: tuple[Array, Array], temperature: float, dtype: torch.dtype
) -> None:
    student, teacher = (torch.from_numpy(z).to(dtype) for z in pair)
    s, t = student.double().numpy(), teacher.double().numpy()
    expected = temperature**2 * kl(s, t, temperature)
    value = soft_targets(Outputs(student), Outputs(teacher), no_labels(len(s)), temperature=temperature)
    assert (np.abs(value.double().numpy() - expected) <= allowance(s, t, temperature, expected)).all()


@given(pairs(), temperatures)
def test_it_is_a_divergence(pair: tuple[Array, Array], temperature: float) -> None:
    student, teacher = pair
    tiny = 1e-12 * temperature**2 * (1 + np.abs(student).max() / temperature)
    assert (loss(student, teacher, temperature) >= -tiny).all()
    off = allowance(student, teacher, temperature, np.zeros(len(student)))
    assert (loss(student, teacher, temperature, torch.float32) >= -off).all()
    assert (loss(student, student, temperature) == 0).all()
    assert (loss(student, student, temperature, torch.float32) == 0).all()


@given(pairs(), temperatures)
def test_it_is_zero_only_for_equal_probabilities(pair: tuple[Array, Array], temperature: float) -> None:
    """Pinsker: twice the squared total variation is at most the divergence."""
    student, teacher = pair
    p, q = np.exp(log_softmax(teacher, temperature)), np.exp(log_softmax(student, temperature))
    variation = np.abs(p - q).sum(axis=-1) / 2
    assume((variation > 1e-3).any())
    assert (loss(student, teacher, temperature) >= temperature**2 * 2 * variation**2 * (1 - 1e-6) - 1e-9).all()
    assert (loss(student, teacher, temperature)[variation > 1e-3] > 0).all()


@given(pairs(), temperatures, st.integers(-1000, 1000), st.integers(-1000, 1000))
def test_a_shift_of_all_logits_changes_nothing(
    pair: tuple[Array, Array], temperature: float, first: int, second: int
) -> None:
    student, teacher = pair
    one = loss(student, teacher, temperature)
    other = loss(student + first, teacher + second, temperature)
    np.testing.assert_allclose(other, one, rtol=1e-8, atol=1e-7 * temperature)


@given(pairs(), temperatures, st.randoms(use_true_random=False))
def test_names_of_the_classes_do_not_matter(pair: tuple[Array, Array], temperature: float, random) -> None:
    student, teacher = pair
    order = list(range(student.shape[1]))
    random.shuffle(order)
    one, other = loss(student, teacher, temperature), loss(student[:, order], teacher[:, order], temperature)
    np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9 * temperature)


@given(pairs(), temperatures)
def test_temperature_scales_the_logits(pair: tuple[Array, Array], temperature: float) -> None:
    """L(T·s, T·t; T) = T² · L(s, t; 1)."""
    student, teacher = pair
    scaled = loss(temperature * student, temperature * teacher, temperature)
    np.testing.assert_allclose(
        scaled, temperature**2 * loss(student, teacher, 1.0), rtol=1e-8, atol=1e-8 * temperature**2
    )


@given(pairs(), temperatures)
def test_the_gradient_is_temperature_times_the_gap_of_probabilities(
    pair: tuple[Array, Array], temperature: float
) -> None:
    student, teacher = pair
    gap = np.exp(log_softmax(student, temperature)) - np.exp(log_softmax(teacher, temperature))
    np.testing.assert_allclose(
        gradient(student, teacher, temperature), temperature * gap, rtol=1e-8, atol=1e-9 * temperature
    )


def test_a_high_temperature_is_the_matching_of_logits() -> None:
    """T → ∞: the gradient tends to (s − t) / K of centred logits (Hinton et al. 2015, section 2.1)."""
    random = np.random.default_rng(0)
    student, teacher = random.normal(0, 3, (2, 8, 10))
    centred = (student - student.mean(1, keepdims=True)) - (teacher - teacher.mean(1, keepdims=True))
    errors = [np.abs(gradient(student, teacher, t) - centred / 10).max() for t in (1e1, 1e2, 1e3, 1e4)]
    assert errors[-1] < 1e-3
    for before, after in itertools.pairwise(errors):
        assert after < before / 5, "the error falls as 1 / T"


@given(pairs(), st.floats(0.5, 20.0))
def test_it_learns_as_cross_entropy_with_the_teachers_distribution(
    pair: tuple[Array, Array], temperature: float
) -> None:
    """The two differ by the teacher's entropy, which the student cannot change."""
    student, teacher = pair
    p = torch.from_numpy(np.exp(log_softmax(teacher, temperature)))
    leaf = torch.from_numpy(student).requires_grad_()
    value = cross_entropy(Outputs(leaf / temperature), None, Targets(p, p, torch.ones(len(p))))
    (temperature**2 * value).sum().backward()
    assert leaf.grad is not None
    np.testing.assert_allclose(gradient(student, teacher, temperature), leaf.grad.numpy(), rtol=1e-8, atol=1e-9)


def test_it_agrees_with_torch() -> None:
    g = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 32, 10, generator=g, dtype=torch.float64)
    expected = torch.nn.functional.kl_div(
        (student / 3).log_softmax(1), (teacher / 3).softmax(1), reduction="batchmean"
    ) * 9  # fmt: skip
    value = soft_targets(Outputs(student), Outputs(teacher), no_labels(32), temperature=3.0).mean()
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


def test_labels_are_not_used() -> None:
    g = torch.Generator().manual_seed(0)
    student, teacher = (Outputs(z) for z in torch.randn(2, 4, 5, generator=g))
    one = soft_targets(student, teacher, no_labels(4))
    labels = torch.tensor([1, 2, 3, 4])
    assert torch.equal(one, soft_targets(student, teacher, Targets(labels, labels.flip(0), torch.full((4,), 0.5))))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_gradcheck(temperature: float) -> None:
    g = torch.Generator().manual_seed(1)
    student, teacher = torch.randn(2, 3, 5, generator=g, dtype=torch.float64)

    def value(leaf: Tensor) -> Tensor:
        return soft_targets(Outputs(leaf), Outputs(teacher), no_labels(3), temperature=temperature)

    assert torch.autograd.gradcheck(value, (student.requires_grad_(),))


@given(pairs(), st.floats(0.5, 20.0))
def test_standardised_float64_reference(pair: tuple[Array, Array], temperature: float) -> None:
    def z_score(logits: Array) -> Array:
        sd = logits.std(axis=-1, keepdims=True)
        return np.where(sd > 0, (logits - logits.mean(axis=-1, keepdims=True)) / np.where(sd > 0, sd, 1), 0)

    student, teacher = pair
    assume(all(sd == 0 or sd > 1e-3 for z in pair for sd in z.std(axis=-1)))
    ours = soft_targets(
        answer(student, torch.float64), answer(teacher, torch.float64),
        no_labels(len(student)), temperature=temperature, standardise=True,
    )  # fmt: skip
    expected = temperature**2 * kl(z_score(student), z_score(teacher), temperature)
    assert ours.numpy() == pytest.approx(expected, rel=1e-6, abs=1e-11 * temperature**2)


@given(st.integers(0, 1000), st.floats(0.1, 50.0), st.floats(-50.0, 50.0))
def test_standardised_forgets_scale_and_shift(seed: int, scale: float, shift: float) -> None:
    z = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    value = soft_targets(Outputs(z * scale + shift), Outputs(z), no_labels(4), standardise=True)
    assert value.abs().max() < 1e-9


@pytest.mark.parametrize("standardise", [False, True])
def test_gradients(standardise: bool) -> None:
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, generator=g, dtype=torch.float64, requires_grad=True)
    teacher = Outputs(torch.randn(3, 5, generator=g, dtype=torch.float64) * 3)
    targets = no_labels(3)
    assert torch.autograd.gradcheck(
        lambda z: soft_targets(Outputs(z), teacher, targets, standardise=standardise), logits
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("largest", [0.0, 1e-7, 1e-4, 1.0, 1e4])
@pytest.mark.parametrize("offset", [0.0, 3.1])
def test_standardised_values_and_gradients_are_finite(dtype: torch.dtype, largest: float, offset: float) -> None:
    """Of logits that hardly vary, too: dividing by their deviation alone makes gradients that float16 cannot hold."""
    g = torch.Generator().manual_seed(0)
    near = (offset + largest * (2 * torch.rand(4, 5, generator=g) - 1)).to(dtype).requires_grad_()
    teacher = torch.randn(4, 5, generator=g)
    for temperature in (0.05, 1.0, 20.0):
        near.grad = None
        value = soft_targets(Outputs(near), Outputs(teacher), no_labels(4), temperature=temperature, standardise=True)
        value.sum().backward()
        assert value.isfinite().all() and near.grad is not None and near.grad.isfinite().all()
        assert near.grad.abs().max() <= 1000 * 2 * temperature


@given(pairs(), temperatures)
def test_standardised_equals_have_nothing_to_learn(pair: tuple[Array, Array], temperature: float) -> None:
    z = answer(pair[0])
    value = soft_targets(z, z, no_labels(len(pair[0])), temperature=temperature, standardise=True)
    assert (value == 0).all()


def test_constant_logits_standardise_to_nothing() -> None:
    g = torch.Generator().manual_seed(0)
    flat, teacher = Outputs(torch.full((2, 5), 3.0)), Outputs(torch.randn(2, 5, generator=g))
    value = soft_targets(flat, teacher, no_labels(2), standardise=True)
    even = soft_targets(Outputs(torch.zeros(2, 5)), teacher, no_labels(2), standardise=True)
    assert torch.equal(value, even)


def test_published_values() -> None:
    """The published code of standardisation divides the variance by K − 1: a temperature higher by √(K / (K − 1))."""
    student, teacher, labels = published_inputs()
    assert soft_targets(student, teacher, labels).mean().item() == pytest.approx(4.83184874, rel=1e-8)
    s, t = ((z - z.mean(-1, keepdim=True)) / (z.std(-1, keepdim=True) + 1e-7) for z in (student, teacher))
    assert soft_targets(s, t, labels, temperature=2.0).mean().item() == pytest.approx(0.93265727, rel=1e-8)
    higher = 2 * (5 / 4) ** 0.5
    value = soft_targets(student, teacher, labels, temperature=higher, standardise=True).mean().item()
    # The published 1e-7 beside a deviation of about 2 moves the value by a ten-millionth.
    assert value * (2 / higher) ** 2 == pytest.approx(0.93265727, rel=1e-6)


def test_a_uniform_student_costs_what_the_teacher_knows() -> None:
    """T² (log K − H): the mean over elements instead of examples would be K times smaller."""
    _, teacher, labels = published_inputs()
    p = (teacher / 4).softmax(-1)
    expected = 16 * (np.log(5) + (p * p.log()).sum(-1))
    torch.testing.assert_close(soft_targets(torch.zeros_like(teacher), teacher, labels), expected)


def test_standardised_logits_lie_on_a_sphere() -> None:
    """So it is also distillation of normalised logits, on a sphere of radius √K, as in spherical distillation."""
    z, _, labels = published_inputs()
    centred = z - z.mean(-1, keepdim=True)
    on_sphere = 5**0.5 * centred / centred.norm(dim=-1, keepdim=True)
    _, teacher, _ = published_inputs()
    t = teacher - teacher.mean(-1, keepdim=True)
    expected = soft_targets(on_sphere, 5**0.5 * t / t.norm(dim=-1, keepdim=True), labels, temperature=2.0)
    torch.testing.assert_close(soft_targets(z, teacher, labels, temperature=2.0, standardise=True), expected)
