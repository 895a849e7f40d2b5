"""Random resized crop against torchvision's, for the same windows."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from real_images import cifar
from torch import Tensor

from limbeck.models.torchvision_operators import declare_missing_operators
from limbeck.recipes.views import ResizedCrop
from limbeck.views.resized_crop import apply, draw, has_kernel_for_bytes, resize_one_by_one, resize_together

declare_missing_operators()
from torchvision.transforms import InterpolationMode, v2  # noqa: E402
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


def noise(batch: int, height: int, width: int, seed: int) -> Tensor:
    """Where bicubic weights overshoot most."""
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8, generator=g)


def drawn(crop: ResizedCrop, batch: int, height: int, width: int, seed: int) -> Tensor:
    return draw(crop, batch, height, width, torch.Generator().manual_seed(seed))


def theirs(images: Tensor, windows: Tensor, crop: ResizedCrop) -> Tensor:
    """torchvision's own, image by image."""
    size = list(images.shape[1:3])
    mode = InterpolationMode(crop.interpolation)
    resized = [
        reference.resized_crop(image.permute(2, 0, 1), *window, size=size, interpolation=mode, antialias=True)
        for image, window in zip(images, windows.tolist(), strict=True)
    ]
    return torch.stack(resized).permute(0, 2, 3, 1)


def check(images: Tensor, windows: Tensor, crop: ResizedCrop) -> None:
    """Pixel for pixel torchvision's kernel for bytes; that for real numbers does not round between the directions."""
    ours = apply(images, windows, crop)
    assert ours.dtype == torch.uint8 and ours.is_contiguous()
    if has_kernel_for_bytes():
        assert torch.equal(ours, theirs(images, windows, crop))
    if crop.interpolation == "bilinear":
        exact = theirs(images.float(), windows, crop)
        assert (ours.float() - exact).abs().max() <= 1.02, "half a level in each direction"


@given(st.integers(1, 6), sides, sides, st.integers(0, 10_000), kinds, st.booleans())
@settings(max_examples=60)
def test_as_torchvision_resizes_the_same_window(b: int, h: int, w: int, seed: int, kind: str, rough: bool) -> None:
    crop = ResizedCrop(interpolation=kind)
    images, windows = (noise if rough else smooth)(b, h, w, seed), drawn(crop, b, h, w, seed)
    top, left, tall, wide = windows.unbind(1)
    assert (top >= 0).all() and (left >= 0).all() and (tall > 0).all() and (wide > 0).all()
    assert (top + tall <= h).all() and (left + wide <= w).all()
    check(images, windows, crop)


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
def test_as_torchvision_resizes_real_images(kind: str) -> None:
    images, crop = cifar(64), ResizedCrop(interpolation=kind)
    check(images, drawn(crop, 64, 32, 32, 5), crop)


@pytest.mark.skipif(not has_kernel_for_bytes(), reason="torch has no kernel for bytes on this processor")
@given(
    st.integers(1, 4), st.integers(1, 90), st.integers(1, 90), st.integers(1, 4), st.integers(0, 10_000), kinds
)  # fmt: skip
@settings(max_examples=80)
def test_both_ways_give_the_same_bytes(b: int, h: int, w: int, channels: int, seed: int, kind: str) -> None:
    """Stored teacher outputs and interrupted runs depend on it: a view is the same, however it is made."""
    g = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (b, h, w, channels), dtype=torch.uint8, generator=g)
    crop = ResizedCrop(interpolation=kind)
    windows = drawn(crop, b, h, w, seed)
    assert torch.equal(resize_one_by_one(images, windows, crop), resize_together(images, windows, crop))


@pytest.mark.skipif(not has_kernel_for_bytes(), reason="torch has no kernel for bytes on this processor")
@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
def test_both_ways_give_the_same_bytes_at_the_size_of_photos(kind: str) -> None:
    images, crop = torch.cat([noise(4, 224, 224, 1), smooth(4, 224, 224, 2)]), ResizedCrop(interpolation=kind)
    windows = drawn(crop, 8, 224, 224, 3)
    made = resize_one_by_one(images, windows, crop)
    assert made.is_contiguous() and torch.equal(made, resize_together(images, windows, crop))
    assert torch.equal(apply(images, windows, crop), made)


def test_an_image_does_not_feel_its_neighbours() -> None:
    images, windows = noise(9, 20, 30, 0), drawn(ResizedCrop(), 9, 20, 30, 0)
    together = apply(images, windows, ResizedCrop())
    alone = [apply(images[i : i + 1], windows[i : i + 1], ResizedCrop()) for i in range(9)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
def test_the_device_does_not_matter(kind: str) -> None:
    crop = ResizedCrop(interpolation=kind)
    images, windows = noise(16, 40, 50, 0), drawn(crop, 16, 40, 50, 0)
    assert torch.equal(apply(images.cuda(), windows, crop).cpu(), apply(images, windows, crop))


def test_windows_are_drawn_as_torchvision_draws_them() -> None:
    """The same distributions of sides and corners, on an image so flat that several tries are needed."""
    ours = drawn(ResizedCrop(), 4000, 20, 40, 0).double()
    torch.manual_seed(0)
    image, draws = torch.zeros(3, 20, 40), v2.RandomResizedCrop(20)
    made = [draws.make_params([image]) for _ in range(4000)]
    others = torch.tensor([[p["top"], p["left"], p["height"], p["width"]] for p in made]).double()
    error = (ours.var(0) / 4000 + others.var(0) / 4000).sqrt()
    assert ((ours.mean(0) - others.mean(0)).abs() < 4 * error).all()
    torch.testing.assert_close(ours.std(0), others.std(0), rtol=0.06, atol=0)


def test_equal_generators_draw_equally() -> None:
    assert torch.equal(drawn(ResizedCrop(), 9, 20, 30, 3), drawn(ResizedCrop(), 9, 20, 30, 3))
    assert not torch.equal(drawn(ResizedCrop(), 9, 20, 30, 3), drawn(ResizedCrop(), 9, 20, 30, 4))


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
