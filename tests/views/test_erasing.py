"""Random erasing: where, how much, and with what."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from limbeck.models.torchvision_operators import declare_missing_operators
from limbeck.views.erasing import Boxes, Erasing, draw, erase

declare_missing_operators()
from torchvision.transforms.v2 import functional as reference  # noqa: E402

MEAN, SD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
sides = st.integers(1, 48)
seeds = st.integers(0, 100_000)


def noise(batch: int, height: int, width: int) -> Tensor:
    g = torch.Generator().manual_seed(batch)
    return torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8, generator=g)


def drawn(erasing: Erasing, batch: int, height: int, width: int, seed: int) -> Boxes:
    return draw(erasing, batch, height, width, torch.Generator().manual_seed(seed))


@given(st.integers(1, 8), sides, sides, seeds, st.sampled_from(["mean", "black"]))
def test_as_torchvision_paints_the_same_box(b: int, h: int, w: int, seed: int, fill: str) -> None:
    erasing = Erasing(1.0, fill=fill)
    boxes, images = drawn(erasing, b, h, w, seed), noise(b, h, w)
    ours = erase(images, boxes, erasing, MEAN, SD)
    levels = [round(255 * m) for m in MEAN] if fill == "mean" else [0, 0, 0]
    colour = torch.tensor(levels, dtype=torch.uint8).view(3, 1, 1)
    for image, box, mine in zip(images, boxes.corners.tolist(), ours, strict=True):
        top, left, tall, wide = box
        theirs = image.permute(2, 0, 1)
        if tall:
            assert 0 <= top <= h - tall and 0 <= left <= w - wide and tall < h and wide < w
            theirs = reference.erase(theirs, top, left, tall, wide, colour)
        assert torch.equal(mine.permute(2, 0, 1), theirs)


def test_areas_and_aspects_are_in_their_ranges() -> None:
    corners = drawn(Erasing(1.0, area=(0.05, 0.2), aspect=(0.5, 2.0)), 20_000, 224, 224, 0).corners.double()
    tall, wide = corners[:, 2], corners[:, 3]
    share, aspect = tall * wide / 224**2, tall / wide
    assert share.min() > 0.047 and share.max() < 0.204, "up to the rounding of sides"
    assert aspect.min() > 0.48 and aspect.max() < 2.08
    assert share.mean().item() == pytest.approx(0.125, abs=0.002)
    assert aspect.log().mean().item() == pytest.approx(0, abs=0.01), "as often tall as wide"


def test_images_are_chosen_as_often_as_told() -> None:
    boxes = drawn(Erasing(0.25, area=(0.02, 0.2)), 20_000, 32, 32, 1)
    assert (boxes.corners[:, 2] > 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert not drawn(Erasing(0.0), 100, 32, 32, 1).corners.any()


def test_noise_has_the_datas_mean_and_deviation() -> None:
    erasing = Erasing(1.0, area=(0.5, 0.9), fill="noise")
    boxes, images = drawn(erasing, 400, 32, 32, 2), torch.zeros(400, 32, 32, 3, dtype=torch.uint8)
    erased = erase(images, boxes, erasing, (0.5, 0.5, 0.5), (0.1, 0.1, 0.1))
    top, left, _, wide = boxes.corners[0].tolist()
    assert not erased[0, :top].any() and not erased[0, :, left + wide :].any()
    inside = erased[erased > 0].double()
    assert inside.mean().item() == pytest.approx(127.5, abs=0.3)
    assert inside.std().item() == pytest.approx(25.5, abs=0.3)
    assert torch.equal(erased, erase(images, drawn(erasing, 400, 32, 32, 2), erasing, (0.5,) * 3, (0.1,) * 3))


@given(seeds)
def test_what_is_given_is_not_changed(seed: int) -> None:
    images = noise(4, 16, 16)
    before = images.clone()
    erase(images, drawn(Erasing(1.0), 4, 16, 16, seed), Erasing(1.0), MEAN, SD)
    assert torch.equal(images, before)
