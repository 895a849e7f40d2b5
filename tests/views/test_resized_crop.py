"""Random resized crop against torchvision's, for the same windows."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from limbeck.models.torchvision_operators import declare_missing_operators
from limbeck.views.resized_crop import ResizedCrop, apply, draw

declare_missing_operators()
from torchvision.transforms import InterpolationMode  # noqa: E402
from torchvision.transforms.v2 import functional as reference  # noqa: E402

sides = st.integers(1, 48)
kinds = st.sampled_from(["bilinear", "bicubic"])


def smooth(batch: int, height: int, width: int, seed: int) -> Tensor:
    """Waves with some noise: what photographs are to a resampler."""
    g = torch.Generator().manual_seed(seed)
    y, x = torch.arange(height).view(1, -1, 1, 1), torch.arange(width).view(1, 1, -1, 1)
    waves = torch.rand(6, batch, 1, 1, 3, generator=g)
    image = 127 + 90 * torch.sin(waves[0] * y / 2 + waves[1] * 6) * torch.cos(waves[2] * x / 2 + waves[3] * 6)
    return (image + 20 * torch.randn(image.shape, generator=g)).clamp(0, 255).to(torch.uint8)


def drawn(crop: ResizedCrop, batch: int, height: int, width: int, seed: int) -> Tensor:
    return draw(crop, batch, height, width, torch.Generator().manual_seed(seed))


@given(st.integers(1, 6), sides, sides, st.integers(0, 10_000), kinds)
@settings(max_examples=60)
def test_as_torchvision_resizes_the_same_window(b: int, h: int, w: int, seed: int, kind: str) -> None:
    crop = ResizedCrop(interpolation=kind)
    images, windows = smooth(b, h, w, seed), drawn(crop, b, h, w, seed)
    ours = apply(images, windows, crop)
    for image, window, mine in zip(images, windows.tolist(), ours, strict=True):
        assert 0 <= window[0] <= h - window[2] and 0 <= window[1] <= w - window[3]
        exact = reference.resized_crop(
            image.permute(2, 0, 1).float(), *window, size=[h, w], interpolation=InterpolationMode(kind), antialias=True
        ).clamp(0, 255)
        assert (mine.permute(2, 0, 1).float() - exact).abs().max() <= 0.51, "the nearest level"
        theirs = reference.resized_crop(
            image.permute(2, 0, 1), *window, size=[h, w], interpolation=InterpolationMode(kind), antialias=True
        )
        apart = (mine.permute(2, 0, 1).int() - theirs.int()).abs()
        if kind == "bilinear":
            assert apart.max() <= 1
        else:  # theirs rounds and clips between rows and columns, which bicubic overshoots feel
            assert (apart > 1).float().mean() <= 0.05


def test_areas_and_aspects_are_in_their_ranges() -> None:
    windows = drawn(ResizedCrop(area=(0.2, 0.6)), 20_000, 224, 224, 0).double()
    share, aspect = windows[:, 2] * windows[:, 3] / 224**2, windows[:, 3] / windows[:, 2]
    assert share.min() > 0.19 and share.max() < 0.61
    assert aspect.min() > 0.73 and aspect.max() < 1.36
    assert share.mean().item() == pytest.approx(0.4, abs=0.005)
    assert aspect.log().mean().item() == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(("height", "width"), [(4, 400), (400, 4)])
def test_where_nothing_fits_it_is_the_middle(height: int, width: int) -> None:
    windows = drawn(ResizedCrop(area=(0.9, 1.0)), 50, height, width, 0)
    assert (windows[:, 2] * windows[:, 3] <= 24).all(), "the largest window of an allowed aspect"
    middle = windows[:, :2] + windows[:, 2:] / 2
    torch.testing.assert_close(middle, torch.tensor([[height / 2, width / 2]]).expand(50, 2), atol=0.5, rtol=0)


def test_the_whole_image_stays_as_it_is() -> None:
    images = smooth(3, 20, 30, 0)
    whole = torch.tensor([[0, 0, 20, 30]] * 3)
    assert torch.equal(apply(images, whole, ResizedCrop()), images)
    assert math.isclose(ResizedCrop().aspect[0] * ResizedCrop().aspect[1], 1)
