"""Random erasing: where, how much, and with what."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from real_images import cifar
from torch import Tensor

from limbeck.models.torchvision_operators import declare_missing_operators
from limbeck.recipes.views import Erasing
from limbeck.views.erasing import Boxes, draw, erase

declare_missing_operators()
from torchvision.transforms import v2  # noqa: E402
from torchvision.transforms.v2 import functional as reference  # noqa: E402

MEAN, SD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
sides = st.integers(1, 48)
seeds = st.integers(0, 100_000)


def noise(batch: int, height: int, width: int) -> Tensor:
    g = torch.Generator().manual_seed(batch)
    return torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8, generator=g)


def drawn(erasing: Erasing, batch: int, height: int, width: int, seed: int) -> Boxes:
    return draw(erasing, batch, height, width, torch.Generator().manual_seed(seed))


def check(images: Tensor, boxes: Boxes, fill: str) -> None:
    """Every image as torchvision paints the same box in the same colour; the rest of it as it was."""
    height, width = images.shape[1:3]
    ours = erase(images, boxes, Erasing(fill=fill), MEAN, SD)
    levels = [round(255 * m) for m in MEAN] if fill == "mean" else [0, 0, 0]
    colour = torch.tensor(levels, dtype=torch.uint8).view(3, 1, 1)
    for image, box, mine in zip(images, boxes.corners.tolist(), ours, strict=True):
        top, left, tall, wide = box
        theirs = image.permute(2, 0, 1)
        if tall:
            assert 0 <= top <= height - tall and 0 <= left <= width - wide and tall < height and 0 < wide < width
            theirs = reference.erase(theirs, top, left, tall, wide, colour)
        else:
            assert box == [0, 0, 0, 0]
        assert torch.equal(mine.permute(2, 0, 1), theirs)


@given(st.integers(1, 8), sides, sides, seeds, st.sampled_from(["mean", "black"]))
def test_as_torchvision_paints_the_same_box(b: int, h: int, w: int, seed: int, fill: str) -> None:
    check(noise(b, h, w), drawn(Erasing(probability=1.0), b, h, w, seed), fill)


@pytest.mark.parametrize("fill", ["mean", "black"])
@pytest.mark.parametrize("probability", [0.25, 1.0])
def test_as_torchvision_paints_real_images(fill: str, probability: float) -> None:
    check(cifar(64), drawn(Erasing(probability=probability), 64, 32, 32, 0), fill)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (12, 30), (5, 5)])
def test_boxes_are_drawn_as_torchvision_draws_them(height: int, width: int) -> None:
    """The same distributions of sides and corners, where several tries are needed and where boxes have no pixel."""
    ours = drawn(Erasing(probability=1.0), 4000, height, width, 0).corners.double()
    torch.manual_seed(0)
    image, draws = torch.zeros(3, height, width), v2.RandomErasing(p=1.0, scale=(0.02, 0.33), ratio=(0.3, 3.3))
    made = [draws.make_params([image]) for _ in range(4000)]
    rows = [[p["i"], p["j"], p["h"], p["w"]] if p["v"] is not None and p["h"] * p["w"] else [0] * 4 for p in made]
    others = torch.tensor(rows).double()
    error = (ours.var(0) / 4000 + others.var(0) / 4000).sqrt()
    assert ((ours.mean(0) - others.mean(0)).abs() < 4 * error).all()
    torch.testing.assert_close(ours.std(0), others.std(0), rtol=0.06, atol=0)


def furthest(sample: Tensor) -> float:
    """Kolmogorov and Smirnov's statistic of numbers that should be uniform in [0, 1], times √n."""
    ordered = sample.sort().values
    return (ordered - (torch.arange(len(sample)) + 0.5) / len(sample)).abs().max().item() * len(sample) ** 0.5


def test_areas_are_uniform_and_aspects_log_uniform() -> None:
    """Where every first try fits; in an image so large that the rounding of sides is not seen."""
    side = 100_000
    erasing = Erasing(probability=1.0, area=(0.05, 0.2), aspect=(0.5, 2.0))
    corners = drawn(erasing, 10_000, side, side, 0).corners.double()
    top, left, tall, wide = corners.unbind(1)
    assert furthest((tall * wide / side**2 - 0.05) / 0.15) < 1.9
    assert furthest((tall / wide).log2() / 2 + 0.5) < 1.9
    assert furthest(top / (side - tall)) < 1.9
    assert furthest(left / (side - wide)) < 1.9


def test_areas_and_aspects_are_in_their_ranges() -> None:
    corners = drawn(Erasing(probability=1.0, area=(0.05, 0.2), aspect=(0.5, 2.0)), 20_000, 224, 224, 0).corners.double()
    tall, wide = corners[:, 2], corners[:, 3]
    share, aspect = tall * wide / 224**2, tall / wide
    assert share.min() > 0.047 and share.max() < 0.204, "up to the rounding of sides"
    assert aspect.min() > 0.48 and aspect.max() < 2.08
    assert share.mean().item() == pytest.approx(0.125, abs=0.002)
    assert aspect.log().mean().item() == pytest.approx(0, abs=0.01), "as often tall as wide"


def test_images_are_chosen_as_often_as_told() -> None:
    boxes = drawn(Erasing(probability=0.25, area=(0.02, 0.2)), 20_000, 32, 32, 1)
    assert (boxes.corners[:, 2] > 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert not drawn(Erasing(probability=0.0), 100, 32, 32, 1).corners.any()


def test_noise_has_the_datas_mean_and_deviation() -> None:
    erasing = Erasing(probability=1.0, area=(0.5, 0.9), fill="noise")
    boxes, images = drawn(erasing, 400, 32, 32, 2), torch.zeros(400, 32, 32, 3, dtype=torch.uint8)
    erased = erase(images, boxes, erasing, (0.5, 0.5, 0.5), (0.1, 0.1, 0.1))
    top, left, _, wide = boxes.corners[0].tolist()
    assert not erased[0, :top].any() and not erased[0, :, left + wide :].any()
    inside = erased[erased > 0].double()
    assert inside.mean().item() == pytest.approx(127.5, abs=0.3)
    assert inside.std().item() == pytest.approx(25.5, abs=0.3)
    assert torch.equal(erased, erase(images, drawn(erasing, 400, 32, 32, 2), erasing, (0.5,) * 3, (0.1,) * 3))


def test_noise_is_drawn_for_erased_pixels_alone_and_clipped() -> None:
    erasing = Erasing(probability=0.5, fill="noise")
    boxes, images = drawn(erasing, 40, 20, 30, 7), torch.full((40, 20, 30, 3), 77, dtype=torch.uint8)
    assert boxes.noise is not None
    assert boxes.noise.shape == (int((boxes.corners[:, 2] * boxes.corners[:, 3]).sum()), 3)
    exact = 255 * (torch.tensor(MEAN) + 5 * torch.tensor(SD) * boxes.noise)
    erased = erase(images, boxes, erasing, MEAN, tuple(5 * s for s in SD))
    rows = [
        image[top : top + tall, left : left + wide].reshape(-1, 3)
        for image, (top, left, tall, wide) in zip(erased, boxes.corners.tolist(), strict=True)
    ]
    assert (torch.cat(rows) - exact.clamp(0, 255)).abs().max() <= 0.51
    assert (exact < 0).any() and (exact > 255).any()
    assert int((erased != 77).any(dim=3).sum()) <= len(boxes.noise), "nothing outside the boxes"
    nothing = drawn(Erasing(probability=0.0, fill="noise"), 4, 9, 9, 0)
    assert nothing.noise is not None and len(nothing.noise) == 0
    assert torch.equal(erase(images[:4], nothing, erasing, MEAN, SD), images[:4])


@pytest.mark.parametrize("fill", ["mean", "black", "noise"])
def test_equal_generators_draw_equally(fill: str) -> None:
    first, second, other = (drawn(Erasing(fill=fill), 50, 20, 30, seed) for seed in (3, 3, 4))
    assert torch.equal(first.corners, second.corners) and not torch.equal(first.corners, other.corners)
    if first.noise is None or second.noise is None:
        assert fill != "noise"
    else:
        assert torch.equal(first.noise, second.noise)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("fill", ["mean", "black", "noise"])
def test_the_device_does_not_matter(fill: str) -> None:
    erasing = Erasing(probability=0.5, fill=fill)
    images, boxes = noise(50, 20, 30), drawn(erasing, 50, 20, 30, 0)
    there = erase(images.cuda(), boxes, erasing, MEAN, SD).cpu()
    apart = (there.int() - erase(images, boxes, erasing, MEAN, SD).int()).abs().max()
    assert apart <= (1 if fill == "noise" else 0), "noise near a half may round to either side"


@given(seeds)
def test_what_is_given_is_not_changed(seed: int) -> None:
    images = noise(4, 16, 16)
    before = images.clone()
    erase(images, drawn(Erasing(probability=1.0), 4, 16, 16, seed), Erasing(probability=1.0), MEAN, SD)
    assert torch.equal(images, before)
