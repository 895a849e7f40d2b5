from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data.splits import small_classes_note, stratified_mask, stratified_split, stratified_subset
from limbeck.errors import LimbeckError
from limbeck.types import Split


def a_split(counts: list[int]) -> Split:
    labels = torch.tensor([label for label, n in enumerate(counts) for _ in range(n)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    places = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 2, 2, 3)
    return Split(places.contiguous().permute(0, 3, 1, 2), labels)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(1, 99))
def test_each_class_gives_its_share_halves_rounded_up_and_of_three_images_one_at_least(counts, percent):
    split, fraction = a_split(counts), percent / 100
    due = [int((Decimal(n) * percent / 100).quantize(Decimal(1), ROUND_HALF_UP)) for n in counts]
    due = [min(max(held, 1), n - 1) if n >= 3 else held if held < n else 0 for held, n in zip(due, counts, strict=True)]
    if not any(due):
        with pytest.raises(LimbeckError, match=f"the largest has {max(counts)}, and at least three are needed"):
            stratified_split(split, fraction, "f")
        return
    kept, held = stratified_split(split, fraction, "f")
    assert held.labels.bincount(minlength=len(counts)).tolist() == due
    together = torch.cat([kept.images, held.images])[:, 0, 0, 0].tolist()
    assert sorted(together) == list(range(len(split)))  # each image on one side


def test_a_subset_has_about_its_share_of_each_class_and_one_image_at_least():
    split = a_split([40, 20, 2, 1])
    assert stratified_subset(split, 0.1, "f").labels.bincount().tolist() == [4, 2, 1, 1]
    assert stratified_subset(split, 0.9, "f").labels.bincount().tolist() == [36, 18, 2, 1]
    large = a_split([40, 20])
    assert torch.equal(stratified_subset(large, 0.1, "f").images, stratified_split(large, 0.1, "f")[1].images)


def test_classes_that_are_too_small_are_named():
    assert small_classes_note([], "test") == []
    (said,) = small_classes_note(["eel"], "validation")
    assert said.startswith("1 class has too few images for the validation split")
    (said,) = small_classes_note([f"class {i}" for i in range(9)], "test")
    assert said.startswith("9 classes have")
    assert said.endswith("'class 4' and 4 more")


def test_images_keep_their_labels_their_order_and_their_layout():
    split = a_split([30, 20])
    for part in stratified_split(split, 0.2, "f"):
        places = part.images[:, 0, 0, 0].long()
        assert torch.equal(split.labels[places], part.labels)
        assert places.diff().gt(0).all()
        assert part.images.is_contiguous(memory_format=torch.channels_last)
        assert part.images.dtype == torch.uint8


def test_the_split_depends_on_the_data_and_on_nothing_else():
    split = a_split([30, 20])
    torch.manual_seed(1)
    one = stratified_split(split, 0.2, "f")[1].images
    torch.manual_seed(2)
    assert torch.equal(one, stratified_split(split, 0.2, "f")[1].images)
    assert not torch.equal(one, stratified_split(split, 0.2, "another")[1].images)


def test_a_larger_fraction_holds_out_what_a_smaller_one_does():
    labels = np.repeat(np.arange(4), 50)
    keys = [str(i) for i in range(200)]
    few, many = (stratified_mask(labels, fraction, keys) for fraction in (0.1, 0.3))
    assert (many | ~few).all()


def test_the_split_is_the_same_in_every_version():
    # Fixed once and for all: results that were published with it stay comparable.
    held = stratified_mask(np.repeat([0, 1], 10), 0.2, [str(i) for i in range(20)])
    assert np.flatnonzero(held).tolist() == [8, 9, 13, 17]


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, True, "a tenth", float("nan")])
def test_senseless_fractions_are_refused(fraction):
    with pytest.raises(LimbeckError, match="between 0 and 1"):
        stratified_split(a_split([5, 5]), fraction, "f")
