"""Normalising and resizing against plain arithmetic, torch's own resizing and Pillow's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from limbeck.types import Normalisation
from limbeck.views.preprocess import InputFormat, prepare

CIFAR = Normalisation((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
PLAIN = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
sides = st.integers(1, 11)
three = st.tuples(*[st.floats(0.0, 1.0)] * 3)
normalisations = st.builds(Normalisation, three, st.tuples(*[st.floats(0.05, 1.0)] * 3))


def images(batch: int, height: int, width: int, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8, generator=g).permute(0, 3, 1, 2)


def arithmetic(pixels: np.ndarray, normalisation: Normalisation) -> np.ndarray:
    mean, sd = (np.array(v).reshape(1, 3, 1, 1) for v in (normalisation.mean, normalisation.sd))
    return (pixels.astype(np.float64) / 255 - mean) / sd


def check_form(made: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    assert made.shape == shape
    assert made.dtype == dtype
    assert made.is_contiguous(memory_format=torch.channels_last)


@given(st.integers(1, 5), sides, sides, normalisations, st.integers(0, 99))
def test_plain_arithmetic(batch: int, height: int, width: int, normalisation: Normalisation, seed: int) -> None:
    pixels = images(batch, height, width, seed)
    before = pixels.clone()
    expected = arithmetic(pixels.numpy(), normalisation)
    made = prepare(pixels, InputFormat(normalisation))
    check_form(made, tuple(pixels.shape), torch.float32)
    size = 1 / min(normalisation.sd)  # the largest summand
    np.testing.assert_allclose(made.numpy(), expected, rtol=0, atol=1e-6 * size)
    assert torch.equal(pixels, before)


@given(st.integers(1, 5), sides, sides, normalisations, st.sampled_from([torch.bfloat16, torch.float16]))
def test_half_precision_rounds_once_at_the_end(
    batch: int, height: int, width: int, normalisation: Normalisation, dtype: torch.dtype
) -> None:
    pixels = images(batch, height, width)
    made = prepare(pixels, InputFormat(normalisation), dtype)
    check_form(made, tuple(pixels.shape), dtype)
    assert torch.equal(made, prepare(pixels, InputFormat(normalisation)).to(dtype))
    expected = arithmetic(pixels.numpy(), normalisation)
    unit = torch.finfo(dtype).eps * np.abs(expected) + 1e-6 / min(normalisation.sd)
    assert (np.abs(made.double().numpy() - expected) <= unit).all(), "one unit in the last place"


@given(sides, sides, st.integers(1, 17), st.sampled_from(["bilinear", "bicubic"]), st.integers(0, 99))
def test_resizing_is_torchs_antialiased(height: int, width: int, side: int, how: str, seed: int) -> None:
    pixels = images(2, height, width, seed)
    made = prepare(pixels, InputFormat(CIFAR, side, how))
    check_form(made, (2, 3, side, side), torch.float32)
    # Each channel alone, in the usual layout.
    resized = torch.nn.functional.interpolate(
        pixels.contiguous().double(), size=(side, side), mode=how, antialias=True, align_corners=False
    )
    np.testing.assert_allclose(made.numpy(), arithmetic(resized.numpy(), CIFAR), rtol=0, atol=2e-5)


@pytest.mark.parametrize("how", ["bilinear", "bicubic"])
@pytest.mark.parametrize("side", [8, 20, 50])
def test_resizing_is_pillows_within_its_rounding(how: str, side: int) -> None:
    """A smooth image, whose bicubic stays within 0 to 255, where Pillow would clip."""
    at = np.linspace(0, 3, 32)
    smooth = 128 + 60 * np.sin(at)[:, None, None] * np.cos(at * np.arange(1, 4)[:, None]).T[None]
    pixels = smooth.round().astype(np.uint8)
    made = prepare(torch.from_numpy(pixels)[None].permute(0, 3, 1, 2), InputFormat(PLAIN, side, how))
    method = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[how]
    expected = np.asarray(Image.fromarray(pixels).resize((side, side), method)).astype(np.float64)
    assert np.abs(made[0].permute(1, 2, 0).numpy() * 255 - expected).max() < 1.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_images_of_the_right_size_are_not_resized(dtype: torch.dtype) -> None:
    pixels = images(3, 9, 9)
    assert torch.equal(prepare(pixels, InputFormat(CIFAR, 9), dtype), prepare(pixels, InputFormat(CIFAR), dtype))


@pytest.mark.parametrize("side", [None, 5])
def test_each_image_is_prepared_by_itself(side: int | None) -> None:
    pixels, input_format = images(4, 8, 7), InputFormat(CIFAR, side)
    alone = torch.cat([prepare(pixels[i : i + 1], input_format) for i in range(4)])
    assert torch.equal(prepare(pixels, input_format), alone)


def test_memory_layout_of_the_input_does_not_matter() -> None:
    pixels = images(4, 8, 7)
    assert torch.equal(prepare(pixels, InputFormat(CIFAR)), prepare(pixels.contiguous(), InputFormat(CIFAR)))


def test_equal_formats_are_one_key() -> None:
    """The loop prepares a view once for all models of equal format."""
    assert len({InputFormat(CIFAR), InputFormat(Normalisation(CIFAR.mean, CIFAR.sd)), InputFormat(CIFAR, 32)}) == 2
