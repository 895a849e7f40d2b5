"""What is kept of temperatures is the softmax of the logits, whatever the logits are."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limbeck.errors import LimbeckError
from limbeck.evaluation import softened as module
from limbeck.evaluation.softened import KEPT_RANKS, TEMPERATURES, softened
from limbeck.storage.predictions import read_softened, write_predictions, write_softened


def logits_of(n: int = 50, classes: int = 12, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    logits = torch.randn(n, classes, generator=generator) * 3
    logits[torch.arange(n), labels] += 4
    return logits, labels


def softmax(row: list[float], temperature: float) -> list[float]:
    exps = [math.exp((value - max(row)) / temperature) for value in row]
    return [value / math.fsum(exps) for value in exps]


def test_it_is_the_mean_of_the_sorted_softmax() -> None:
    logits, labels = logits_of()
    kept = softened(logits, labels)
    assert kept is not None
    for place, temperature in enumerate(TEMPERATURES):
        rows = [sorted(softmax(row, temperature), reverse=True) for row in logits.double().tolist()]
        expected = np.mean(rows, axis=0)[:KEPT_RANKS]
        assert np.allclose(kept.ranked[place], expected, atol=1e-6)
        entropy = np.mean([-math.fsum(p * math.log(p) for p in row if p > 0) for row in rows])
        assert kept.entropy[place] == pytest.approx(entropy, abs=1e-5)


def test_examples_are_answered_right_and_have_their_softmax() -> None:
    logits, labels = logits_of()
    kept = softened(logits, labels)
    assert kept is not None and len(kept.places) == 2
    certain = []
    for number, place in enumerate(kept.places.tolist()):
        row = logits[place].double().tolist()
        assert kept.labels[number] == labels[place] == kept.classes[number, 0] == np.argmax(row)
        for at, temperature in enumerate(TEMPERATURES):
            probabilities = softmax(row, temperature)
            of_kept = [probabilities[c] for c in kept.classes[number]]
            assert np.allclose(kept.probabilities[number, at], of_kept, atol=1e-6)
            assert of_kept == sorted(of_kept, reverse=True)
        certain.append(max(softmax(row, 1.0)))
    assert certain[0] > certain[1], "the second is less certain"


@given(st.floats(0.1, 30), st.integers(2, 12), st.integers(0, 5))
def test_a_higher_temperature_is_flatter_and_keeps_the_order(scale: float, classes: int, seed: int) -> None:
    logits, labels = logits_of(20, classes, seed)
    kept = softened(scale * logits, labels)
    assert kept is not None
    assert kept.ranked.shape == (len(TEMPERATURES), min(KEPT_RANKS, classes))
    assert (np.diff(kept.entropy) >= -1e-6).all() and (np.diff(kept.ranked[:, 0]) <= 1e-6).all()
    assert (np.diff(kept.ranked, axis=1) <= 1e-6).all()
    assert (kept.entropy <= math.log(classes) + 1e-6).all()


def test_rows_that_are_no_logits_are_left_out() -> None:
    logits, labels = logits_of(6, 4)
    broken = torch.cat([logits, torch.full((2, 4), torch.nan)])
    found, alone = softened(broken, torch.cat([labels, labels[:2]])), softened(logits, labels)
    assert found is not None and alone is not None
    assert np.array_equal(found.ranked, alone.ranked) and max(found.places) < 6
    assert softened(broken[6:], labels[:2]) is None
    impossible = softened(torch.tensor([[0.0, -torch.inf, 1.0]]), torch.tensor([2]))
    assert impossible is not None and np.isfinite(impossible.entropy).all()


def test_equal_logits_and_wrong_answers() -> None:
    wrong = softened(torch.tensor([[1.0, 0.0]] * 3), torch.tensor([1, 1, 1]))
    assert wrong is not None and len(wrong.places) == 0 and wrong.classes.shape == (0, 2)
    equal = softened(torch.zeros(3, 5), torch.tensor([0, 0, 4]))
    assert equal is not None and equal.classes[0, 0] == 0 and len(set(equal.classes[0].tolist())) == 5


def test_parts_of_a_large_split_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = logits_of(50)
    whole = softened(logits, labels)
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 7)
    parts = softened(logits, labels)
    assert whole is not None and parts is not None
    assert np.allclose(whole.ranked, parts.ranked, atol=1e-7) and np.array_equal(whole.places, parts.places)


def test_a_file_is_what_was_written_small_and_checked(tmp_path: Path) -> None:
    logits, labels = logits_of(4000, 100)
    kept = softened(logits, labels)
    assert kept is not None
    path = tmp_path / "softened" / "teacher.safetensors"
    write_softened(path, kept)
    again = read_softened(path)
    for name, array in vars(kept).items():
        assert np.array_equal(getattr(again, name), array), name
    assert path.stat().st_size < 4_000
    written = path.read_bytes()
    for place in (20, len(written) // 2, len(written) - 1):
        path.write_bytes(written[:place] + bytes([written[place] ^ 1]) + written[place + 1 :])
        with pytest.raises(LimbeckError, match=r"teacher\.safetensors: (damaged|is of format)"):
            read_softened(path)
    write_predictions(path, {})
    with pytest.raises(LimbeckError, match="not the probabilities of a teacher"):
        read_softened(path)
