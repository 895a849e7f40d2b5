"""Metrics against loops in float64, ties and missing answers included."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

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


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(2, 70), st.integers(1, 400), st.integers(0, 10_000))
def test_blocks_of_rows_change_no_bit(count: int, classes: int, at_once: int, seed: int) -> None:
    """What is measured of many classes in pieces is what would be measured at once."""
    g = torch.Generator().manual_seed(seed)
    logits, other = (4 * torch.randn(2, count, classes, generator=g)).unbind(0)
    logits[torch.rand(count, classes, generator=g) < 0.02] = -math.inf
    labels = torch.randint(0, classes, (count,), generator=g)

    def everything() -> list[object]:
        own = [metrics.accuracy(logits, labels), metrics.accuracy(logits, labels, 5)]
        own += [metrics.cross_entropy(logits, labels), metrics.expected_calibration_error(logits, labels)]
        own += [metrics.agreement(logits, other), metrics.kl_divergence(other, logits)]
        return [*map(repr, own), metrics.per_class(logits, labels), metrics.confusion(logits, labels)]

    whole = everything()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "LOGITS_AT_ONCE", at_once)
        assert everything() == whole


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from Linux")
def test_many_classes_are_measured_in_bounded_memory() -> None:
    """20,000 images of 2,000 classes: 153 MiB of logits each, of which float64 copies of all would take a gigabyte."""
    code = """
import resource, torch
from limbeck.evaluation.evaluate import evaluate_logits
from limbeck.types import Split
torch.set_num_threads(1)
def peak(images):
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(images, 2000, generator=g)
    split = Split(torch.zeros(images, 3, 1, 1, dtype=torch.uint8), torch.randint(0, 2000, (images,), generator=g))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    evaluate_logits(logits, split, num_classes=2000, reference=logits)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(peak(4000), peak(20000))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    few, many = map(float, done.stdout.split())
    assert few < 350 and many < 100, "MiB beside the logits: blocks and vectors, however many images there are"
