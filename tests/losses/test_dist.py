"""DIST against Pearson's correlation in float64, and where that correlation has no value."""

from __future__ import annotations

import float64_references as reference
import numpy as np
import pytest
import torch
from float64_references import Array, pairs, temperatures
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from limbeck.losses import dist
from limbeck.types import Outputs

FLOOR = 1e-8
moderate = st.integers(0, 10_000)
weights = st.floats(0.0, 4.0)


def draw(seed: int, scale: float = 3.0, shape: tuple[int, int] = (6, 5)) -> Array:
    return np.random.default_rng(seed).normal(0, scale, shape)


def loss(student: Array, teacher: Array, dtype: torch.dtype = torch.float64, **options: float) -> float:
    none = reference.no_labels(len(student))
    return dist(reference.answer(student, dtype), reference.answer(teacher, dtype), none, **options).item()


def probabilities(z: Array, temperature: float) -> Array:
    return np.exp(reference.log_softmax(z, temperature))


def inter_and_intra(q: Array, p: Array, floor: float) -> tuple[float, float]:
    inter, intra = (
        float(np.mean([reference.one_minus_pearson(u, v, floor) for u, v in zip(m, n, strict=True)]))
        for m, n in ((q, p), (q.T, p.T))
    )
    return inter, intra


def allowance(student: Array, teacher: Array, temperature: float, rounding: float) -> float:
    """How far rounded probabilities may move the two parts, T² left out.

    Each probability is off by a share of itself, a direction by that over its length, and ½ |û − v̂|² by at most twice
    the sum of both directions' errors.
    """
    off = 0.0
    for z in (student, teacher):
        share = rounding / reference.ROUNDING * reference.log_rounding(z, temperature)
        p = probabilities(z, temperature)
        for m in (p, p.T):
            centred = m - m.mean(axis=1, keepdims=True)
            length = np.sqrt((centred**2).sum(axis=1) + FLOOR)
            off += 4 * (share * np.linalg.norm(m, axis=1) / length).mean()
    return off


@given(moderate, st.integers(3, 9), st.integers(3, 9), st.floats(0.5, 20.0), weights, weights)
def test_it_is_one_less_pearsons_correlation(
    seed: int, batch: int, classes: int, temperature: float, beta: float, gamma: float
) -> None:
    """Where probabilities vary: the floor is allowed what it may move, which is at most its share of each variance."""
    student, teacher = draw(seed, shape=(batch, classes)), draw(seed + 20_000, shape=(batch, classes))
    q, p = (probabilities(z, temperature) for z in (student, teacher))
    inter = np.mean([1 - np.corrcoef(u, v)[0, 1] for u, v in zip(q, p, strict=True)])
    intra = np.mean([1 - np.corrcoef(u, v)[0, 1] for u, v in zip(q.T, p.T, strict=True)])
    moved = [np.mean([2 * FLOOR / (n * v.var()) for m in (q, p) for v in w(m)])
             for n, w in ((classes, lambda m: m), (batch, lambda m: m.T))]  # fmt: skip
    expected = temperature**2 * (beta * inter + gamma * intra)
    allowed = temperature**2 * (beta * moved[0] + gamma * moved[1])
    ours = loss(student, teacher, temperature=temperature, inter_weight=beta, intra_weight=gamma)
    assert ours == pytest.approx(expected, rel=1e-6, abs=allowed + 1e-12 * temperature**2)


@given(pairs(), temperatures, weights, weights)
def test_float64_reference_at_every_size_of_logits(
    pair: tuple[Array, Array], temperature: float, beta: float, gamma: float
) -> None:
    student, teacher = pair
    inter, intra = inter_and_intra(*(probabilities(z, temperature) for z in pair), FLOOR)
    expected = beta * inter + gamma * intra
    options = {"temperature": temperature, "inter_weight": beta, "intra_weight": gamma}
    for dtype, rounding in ((torch.float64, 2.0**-53), (torch.float32, reference.ROUNDING)):
        ours = loss(student, teacher, dtype, **options) / temperature**2
        off = (beta + gamma) * (allowance(student, teacher, temperature, rounding) + 32 * rounding)
        assert ours == pytest.approx(expected, rel=1e-6, abs=off + 1e-30)  # a weight of 1e-200 underflows


@pytest.mark.parametrize("gap", [10.0, 30.0, 50.0, 80.0, 450.0, 1e4])
def test_float32_says_what_float64_says(gap: float) -> None:
    """Without a floor the squares of small probabilities vanish in float32 from a gap of about 30 on."""
    for seed in range(20):
        student, teacher = draw(seed, gap), draw(seed + 100, gap)
        student, teacher = (z.astype(np.float32).astype(np.float64) for z in (student, teacher))
        assert loss(student, teacher, torch.float32) == pytest.approx(loss(student, teacher), rel=1e-5, abs=2e-6)


@given(pairs(), temperatures, st.sampled_from([torch.float16, torch.bfloat16]))
def test_half_precision_loses_only_what_the_logits_lost(
    pair: tuple[Array, Array], temperature: float, dtype: torch.dtype
) -> None:
    student, teacher = (Outputs(torch.from_numpy(z).to(dtype)) for z in pair)
    none = reference.no_labels(len(student.logits))
    narrow = dist(student, teacher, none, temperature=temperature)
    wide = dist(Outputs(student.logits.float()), Outputs(teacher.logits.float()), none, temperature=temperature)
    assert torch.equal(narrow, wide)


@given(pairs(), temperatures)
def test_it_is_zero_for_equals_and_never_below(pair: tuple[Array, Array], temperature: float) -> None:
    student, teacher = pair
    for dtype in (torch.float32, torch.float64):
        assert loss(student, student, dtype, temperature=temperature) == 0
        assert 0 <= loss(student, teacher, dtype, temperature=temperature) <= 4.001 * temperature**2


@given(moderate)
def test_only_relations_count(seed: int) -> None:
    """Rows of probabilities that differ by a positive linear map are the same relation between classes."""
    p = probabilities(draw(seed), 1.0)
    flatter = 0.3 * p + 0.7 / p.shape[1]
    assert loss(np.log(flatter), np.log(p), intra_weight=0.0) == pytest.approx(0, abs=1e-6)
    assert loss(np.log(flatter), np.log(draw(seed + 1) ** 2 + 1), intra_weight=0.0) > 1e-3


@given(pairs(), st.randoms(use_true_random=False))
def test_order_of_examples_and_names_of_classes_do_not_matter(pair: tuple[Array, Array], random) -> None:
    student, teacher = pair
    rows, columns = list(range(student.shape[0])), list(range(student.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    turned = loss(student[rows][:, columns], teacher[rows][:, columns])
    assert turned == pytest.approx(loss(student, teacher), rel=1e-9, abs=1e-9)


def test_the_published_factor_of_temperature() -> None:
    student, teacher = draw(5), draw(6)
    softened = loss(student / 4, teacher / 4)
    assert loss(student, teacher, temperature=4.0) == pytest.approx(16 * softened, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_what_is_constant_correlates_with_nothing_else(dtype: torch.dtype, temperature: float) -> None:
    flat = torch.full((4, 3), 3.0, dtype=dtype, requires_grad=True)
    other = torch.tensor([[4.0, 0, 0], [0, 4, 0], [0, 0, 4], [1, 2, 3]], dtype=dtype)
    none = reference.no_labels(4)
    assert dist(Outputs(flat), Outputs(flat.detach()), none, temperature=temperature).item() == 0
    value = dist(Outputs(flat), Outputs(other), none, temperature=temperature)
    assert value.item() == pytest.approx(2 * temperature**2, rel=2e-3)  # 1 - ρ is 1 for rows, and for columns
    value.backward()
    assert flat.grad is not None and flat.grad.isfinite().all() and flat.grad.abs().max() > 0


def test_where_a_class_is_constant_the_textbook_correlation_is_no_number() -> None:
    student, teacher = (torch.tensor(rows, requires_grad=True) for rows in (
        [[120.0, 0.0, 3.0], [110.0, 1.0, 2.0]], [[90.0, 2.0, 0.0], [80.0, 0.0, 1.0]],
    ))  # fmt: skip
    q, p = student.softmax(1), teacher.softmax(1)
    a, b = q - q.mean(0), p - p.mean(0)
    textbook = 1 - (a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0))
    assert not textbook.isfinite().all()
    ours = dist(Outputs(student), Outputs(teacher), reference.no_labels(2))
    ours.backward()
    assert ours.isfinite() and student.grad is not None and student.grad.isfinite().all()
    both = [z.detach().double().numpy() for z in (student, teacher)]
    expected = sum(inter_and_intra(*(probabilities(z, 1.0) for z in both), FLOOR))
    assert ours.item() == pytest.approx(expected, abs=1e-6)


def test_a_batch_of_one_has_relations_between_classes_alone() -> None:
    student, teacher = draw(1, shape=(1, 5)), draw(2, shape=(1, 5))
    q, p = (probabilities(z, 1.0) for z in (student, teacher))
    assert loss(student, teacher) == pytest.approx(reference.one_minus_pearson(q[0], p[0], FLOOR), rel=1e-9)
    assert loss(student, teacher, inter_weight=0.0) == 0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_gradcheck(temperature: float) -> None:
    teacher = Outputs(torch.from_numpy(draw(4)))

    def value(leaf: Tensor) -> Tensor:
        return dist(Outputs(leaf), teacher, reference.no_labels(6), temperature=temperature)

    assert torch.autograd.gradcheck(value, torch.from_numpy(draw(3)).requires_grad_())
