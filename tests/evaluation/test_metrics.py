"""Metrics against loops in float64, ties and missing answers included."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.evaluation import metrics


@st.composite
def answers(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits with many ties, and labels."""
    count, classes = draw(st.integers(1, 12)), draw(st.integers(2, 8))
    values = st.lists(st.integers(-3, 3), min_size=count * classes, max_size=count * classes)
    logits = torch.tensor(draw(values), dtype=torch.float64).view(count, classes)
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count))
    return logits, torch.tensor(labels)


def softmax(row: np.ndarray) -> np.ndarray:
    shifted = np.exp(row - row.max())
    return shifted / shifted.sum()


def ranked(row: np.ndarray) -> list[int]:
    """Classes, the largest logit first, the lower number first at a tie."""
    return sorted(range(len(row)), key=lambda place: (-row[place], place))


@settings(deadline=None)
@given(answers(), st.integers(1, 9))
def test_accuracy_counts_ranks(case: tuple[torch.Tensor, torch.Tensor], k: int) -> None:
    logits, labels = case
    hits = [label in ranked(row)[:k] for row, label in zip(logits.numpy(), labels.tolist(), strict=True)]
    assert metrics.accuracy(logits, labels, k) == pytest.approx(sum(hits) / len(hits))


@settings(deadline=None)
@given(answers())
def test_probabilities(case: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = case
    rows, wanted = logits.numpy(), labels.tolist()
    likelihood = [-math.log(softmax(row)[label]) for row, label in zip(rows, wanted, strict=True)]
    assert metrics.cross_entropy(logits, labels) == pytest.approx(np.mean(likelihood))
    bins: dict[int, list[tuple[float, bool]]] = {}
    for row, label in zip(rows, wanted, strict=True):
        confidence = softmax(row).max()
        place = next(m for m in range(1, 16) if confidence <= m / 15 + 1e-12)
        bins.setdefault(place, []).append((confidence, ranked(row)[0] == label))
    error = sum(abs(sum(c for c, _ in b) - sum(h for _, h in b)) for b in bins.values()) / len(rows)
    near_an_edge = any(abs(softmax(r).max() * 15 - round(softmax(r).max() * 15)) < 1e-9 for r in rows)
    if not near_an_edge:
        assert metrics.expected_calibration_error(logits, labels) == pytest.approx(error)


@settings(deadline=None)
@given(answers())
def test_classes(case: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = case
    found = metrics.per_class(logits, labels)
    top = [ranked(row)[0] for row in logits.numpy()]
    present = []
    for place in range(logits.shape[1]):
        own = [guess == place for guess, label in zip(top, labels.tolist(), strict=True) if label == place]
        assert found[place] == (pytest.approx(np.mean(own)) if own else None)
        present += [np.mean(own)] if own else []
    assert metrics.balanced_accuracy(logits, labels) == pytest.approx(np.mean(present))
    pairs = list(zip(labels.tolist(), top, strict=True))
    expected = [(true, guess, pairs.count((true, guess))) for true, guess in sorted(set(pairs))]
    assert metrics.confusion(logits, labels) == expected


@settings(deadline=None)
@given(answers())
def test_standing_to_a_reference(case: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, _ = case
    other = logits.flip(0) * 0.5
    same = [ranked(a)[0] == ranked(b)[0] for a, b in zip(logits.numpy(), other.numpy(), strict=True)]
    assert metrics.agreement(logits, other) == pytest.approx(np.mean(same))
    assert metrics.agreement(logits, logits) == 1
    expected = np.mean(
        [
            sum(p * math.log(p / q) for p, q in zip(softmax(b), softmax(a), strict=True))
            for a, b in zip(logits.numpy(), other.numpy(), strict=True)
        ]
    )
    assert metrics.kl_divergence(other, logits) == pytest.approx(expected, abs=1e-12)
    assert metrics.kl_divergence(logits, logits) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_answer_is_wrong(bad: float) -> None:
    logits = torch.tensor([[5.0, 0.0], [bad, 0.0], [0.0, 5.0]])
    labels = torch.tensor([0, 0, 1])
    assert metrics.accuracy(logits, labels) == pytest.approx(2 / 3)
    assert metrics.accuracy(logits, labels, 2) == pytest.approx(2 / 3)
    assert math.isnan(metrics.cross_entropy(logits, labels))
    assert math.isnan(metrics.expected_calibration_error(logits, labels))
    assert metrics.agreement(logits, logits) == pytest.approx(2 / 3)


def test_a_probability_of_zero_is_an_answer() -> None:
    logits = torch.tensor([[1.0, -math.inf], [-math.inf, 1.0]])
    assert metrics.accuracy(logits, torch.tensor([0, 1])) == 1
    assert metrics.cross_entropy(logits, torch.tensor([0, 1])) == 0


def test_one_answer_for_all_is_not_full_marks() -> None:
    assert metrics.accuracy(torch.zeros(10, 10), torch.arange(10)) == pytest.approx(0.1)
