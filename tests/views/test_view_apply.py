"""The pixels of a view against one image at a time, padded, cut and mirrored in plain Python."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recipes_of_views import crop_and_flip
from torch import Tensor

from limbeck.recipes.views import Views
from limbeck.types import Split, UnmixedTargets
from limbeck.views.apply import View, make_view
from limbeck.views.plan import ViewPlan, ViewPlanner


def split(size: int, height: int, width: int, seed: int = 0) -> Split:
    """Random images without a black pixel, so that the border shows; labels name the image."""
    g = torch.Generator().manual_seed(seed)
    images = torch.randint(1, 256, (size, height, width, 3), dtype=torch.uint8, generator=g)
    return Split(images.permute(0, 3, 1, 2), torch.arange(size) * 7 + 3)


def slow_view(of: Split, plan: ViewPlan, padding: int) -> np.ndarray:
    made = []
    for place, index in enumerate(plan.indices.tolist()):
        image = of.images[index].permute(1, 2, 0).numpy()
        height, width, channels = image.shape
        if plan.offsets is not None:
            padded = np.zeros((height + 2 * padding, width + 2 * padding, channels), np.uint8)
            padded[padding : padding + height, padding : padding + width] = image
            top, left = plan.offsets[place].tolist()
            image = padded[top : top + height, left : left + width]
        if plan.flips is not None and plan.flips[place]:
            image = image[:, ::-1]
        made.append(image.transpose(2, 0, 1))
    return np.stack(made)


some_views = st.builds(crop_and_flip, batch_size=st.integers(1, 9), padding=st.integers(0, 12), flip=st.booleans())


@given(st.integers(1, 12), st.integers(1, 9), st.integers(1, 9), some_views, st.integers(0, 99))
def test_pixels_and_labels(size: int, height: int, width: int, views: Views, seed: int) -> None:
    of = split(size, height, width)
    planner = ViewPlanner("data", size, views, seed)
    plan = planner.plan(seed, planner.steps_per_epoch - 1)
    view = make_view(of, plan, views)
    assert np.array_equal(view.images.numpy(), slow_view(of, plan, views.crop.padding if views.crop else 0))
    assert torch.equal(view.targets.labels, plan.indices * 7 + 3)
    check_form(view, height, width)


def check_form(view: View, height: int, width: int) -> None:
    batch = len(view.targets.labels)
    assert view.images.dtype == torch.uint8
    assert view.images.shape == (batch, 3, height, width)
    assert view.images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(view.targets.labels, view.targets.partner_labels)
    assert torch.equal(view.targets.share, torch.ones(batch))
    assert view.targets.share.dtype == torch.float32
    assert isinstance(view.targets, UnmixedTargets)


@pytest.mark.parametrize("top", [0, 4, 8])
@pytest.mark.parametrize("left", [0, 4, 8])
@pytest.mark.parametrize("flip", [False, True])
def test_every_corner_of_the_padded_image(top: int, left: int, flip: bool) -> None:
    of = split(1, 6, 5)
    plan = ViewPlan(0, 0, torch.tensor([0]), torch.tensor([[top, left]]), torch.tensor([flip]))
    assert np.array_equal(make_view(of, plan, crop_and_flip(padding=4)).images.numpy(), slow_view(of, plan, 4))


def test_without_augmentation_the_images_are_as_they_were() -> None:
    of = split(6, 5, 7)
    planner = ViewPlanner("data", 6, crop_and_flip(batch_size=6), 0)
    plan = planner.plan(0, 0)
    assert torch.equal(make_view(of, plan, crop_and_flip()).images, of.images[plan.indices])


def test_making_a_view_changes_nothing_and_shares_nothing() -> None:
    of = split(6, 5, 7)
    before = of.images.clone()
    planner = ViewPlanner("data", 6, crop_and_flip(batch_size=6, padding=2, flip=True), 0)
    for views in (planner.views, crop_and_flip(batch_size=6)):
        view = make_view(of, dataclasses.replace(planner, views=views).plan(0, 0), views)
        view.images.zero_()
        view.targets.labels.zero_()
    assert torch.equal(of.images, before)
    assert torch.equal(of.labels, torch.arange(6) * 7 + 3)


def test_views_do_not_depend_on_the_order_in_which_they_are_made() -> None:
    of = split(40, 6, 6)
    planner = ViewPlanner("data", 40, crop_and_flip(batch_size=8, padding=2, flip=True), 5)

    def made(step: int) -> Tensor:
        return make_view(of, planner.plan(2, step), crop_and_flip(padding=2)).images

    forward = [made(step) for step in range(5)]
    backward = [made(step) for step in reversed(range(5))]
    assert all(torch.equal(a, b) for a, b in zip(forward, reversed(backward), strict=True))


def test_an_image_looks_the_same_whatever_the_other_images_are() -> None:
    """Only the places count: another data set with one image in common gives that image the same look."""
    one, two = split(8, 6, 6, seed=0), split(8, 6, 6, seed=1)
    two.images[3] = one.images[3]
    plan = ViewPlanner("data", 8, crop_and_flip(batch_size=8, padding=2, flip=True), 5).plan(0, 0)
    place = plan.indices.tolist().index(3)
    first, second = (
        make_view(one, plan, crop_and_flip(padding=2)).images,
        make_view(two, plan, crop_and_flip(padding=2)).images,
    )
    assert torch.equal(first[place], second[place])
    assert not torch.equal(first, second)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_device_does_not_matter() -> None:
    of = split(40, 9, 7)
    there = Split(of.images.cuda(), of.labels.cuda())
    plan = ViewPlanner("data", 40, crop_and_flip(batch_size=16, padding=3, flip=True), 5).plan(0, 1)
    here, view = make_view(of, plan, crop_and_flip(padding=3)), make_view(there, plan, crop_and_flip(padding=3))
    assert torch.equal(here.images, view.images.cpu())
    assert torch.equal(here.targets.labels, view.targets.labels.cpu())
