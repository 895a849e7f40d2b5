"""Two models compared from what was kept of them are compared as by their logits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limbeck.errors import LimbeckError
from limbeck.evaluation import metrics
from limbeck.evaluation.correctness import packed, paired_difference_of
from limbeck.evaluation.paired import paired_difference


@given(st.integers(1, 40), st.integers(0, 99))
def test_as_from_the_logits(n: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    one, other = torch.randn(n, 3, generator=draw), torch.randn(n, 3, generator=draw)
    labels = torch.randint(3, (n,), generator=draw)
    expected = paired_difference(one, other, labels)
    kept = [packed(metrics.correct(logits, labels)) for logits in (one, other)]
    found = paired_difference_of(kept[0], kept[1], n)
    wanted = {name: getattr(expected, name) for name in ("n", "only_first", "only_second", "difference", "low", "high")}
    assert found == wanted


def test_ten_thousand_images_are_small() -> None:
    assert len(packed(torch.ones(10_000, dtype=torch.bool))) < 1700


@pytest.mark.parametrize("text", ["", "AAAA", "no base64 at all", "é"])
def test_what_is_damaged_is_refused(text: str) -> None:
    with pytest.raises(LimbeckError, match="record of correct images"):
        paired_difference_of(text, packed(torch.ones(9, dtype=torch.bool)), 9)
