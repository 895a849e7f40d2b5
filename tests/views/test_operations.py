"""Every operation of the policies against torchvision's own, on real images where they are at hand."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from limbeck.models.torchvision_operators import declare_missing_operators
from limbeck.views import operations
from limbeck.views.operations import GEOMETRY, INTENSITY, KINDS, NAMES, Operations

declare_missing_operators()
from torchvision.transforms.v2 import functional as reference  # noqa: E402

FOLDER = Path(os.environ.get("LIMBECK_TEST_IMAGES", Path(__file__).resolve().parents[3] / "shared" / "data"))
SHEAR = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "center": [0, 0]}
SHIFT = {"angle": 0.0, "scale": 1.0, "shear": [0.0, 0.0]}


def degrees(slope: float) -> float:
    return math.degrees(math.atan(slope))


THEIRS: dict[str, Callable[[Tensor, float], Any]] = {
    "identity": lambda image, m: image,
    "shear_x": lambda image, m: reference.affine(image, shear=[degrees(m), 0.0], **SHEAR),
    "shear_y": lambda image, m: reference.affine(image, shear=[0.0, degrees(m)], **SHEAR),
    "translate_x": lambda image, m: reference.affine(image, translate=[int(m), 0], **SHIFT),
    "translate_y": lambda image, m: reference.affine(image, translate=[0, int(m)], **SHIFT),
    "rotate": lambda image, m: reference.rotate(image, m),
    "brightness": lambda image, m: reference.adjust_brightness(image, 1 + m),
    "contrast": lambda image, m: reference.adjust_contrast(image, 1 + m),
    "saturation": lambda image, m: reference.adjust_saturation(image, 1 + m),
    "sharpness": lambda image, m: reference.adjust_sharpness(image, 1 + m),
    "posterize": lambda image, m: reference.posterize(image, int(m)),
    "solarize": lambda image, m: reference.solarize(image, 255 * m),
    "invert": lambda image, m: reference.invert(image),
    "auto_contrast": lambda image, m: reference.autocontrast(image),
    "equalize": lambda image, m: reference.equalize(image),
}
MAGNITUDES = {
    **{name: (-0.99, -0.3, -0.1, 0.0, 0.07, 0.2, 0.3, 0.66) for name in ("shear_x", "shear_y")},
    **{name: (-32.0, -13.6, -1.9, 0.0, 0.5, 3.0, 14.5) for name in ("translate_x", "translate_y")},
    "rotate": (-135.0, -90.0, -30.0, -4.5, 0.0, 3.3, 22.5, 45.0, 90.0, 121.5),
    **{name: (-0.99, -0.9, -0.5, 0.0, 0.1, 0.3, 0.9) for name in ("brightness", "contrast", "saturation", "sharpness")},
    "posterize": tuple(map(float, range(2, 9))),
    "solarize": (0.0, 0.1, 0.5, 5 / 9, 0.999, 1.0),
    **{name: (0.0,) for name in ("identity", "invert", "auto_contrast", "equalize")},
}


def noise(count: int, height: int = 32, width: int = 32) -> Tensor:
    draw = torch.Generator().manual_seed(height * 1000 + width)
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=draw)


def special() -> Tensor:
    """One colour, two colours, a ramp, black, white: where scales and histograms degenerate."""
    images = torch.zeros(5, 32, 32, 3, dtype=torch.uint8)
    images[0] = torch.tensor([17, 200, 99])
    images[1, :16] = 255
    images[2] = torch.arange(32, dtype=torch.uint8).mul(8).view(1, 32, 1)
    images[4] = 255
    return images


@pytest.fixture(scope="module", params=["real", "noise", "special", "wide", "tiny"])
def images(request: pytest.FixtureRequest) -> Iterator[Tensor]:
    """`[N, H, W, 3]` uint8."""
    if request.param == "real":
        if not (FOLDER / "cifar10").is_dir():
            pytest.skip(f"no real images at {FOLDER}")
        import io

        import numpy as np
        import pyarrow.parquet as pq
        from PIL import Image

        rows = pq.ParquetFile(next((FOLDER / "cifar10").rglob("*test*.parquet"))).iter_batches(64, columns=["img"])
        pixels = [np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("RGB")) for row in next(rows)[0].to_pylist()]
        yield torch.from_numpy(np.stack(pixels))
    else:
        made = {"noise": noise(16), "special": special(), "wide": noise(6, 20, 37), "tiny": noise(4, 2, 2)}
        yield made[request.param]


def ties(name: str, magnitude: float, height: int, width: int) -> Tensor:
    """Pixels whose source, by plain geometry in float64, lies between two columns or two rows, `[H, W]` bool."""
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    column, row = x, y
    if name == "shear_x":
        column = x + magnitude * (y + 0.5)
    elif name == "shear_y":
        row = y + magnitude * (x + 0.5)
    elif name == "rotate":
        angle, middle, centre = math.radians(magnitude), (width - 1) / 2, (height - 1) / 2
        column = middle + math.cos(angle) * (x - middle) - math.sin(angle) * (y - centre)
        row = centre + math.sin(angle) * (x - middle) + math.cos(angle) * (y - centre)
    from_tie = torch.minimum((column - column.floor() - 0.5).abs(), (row - row.floor() - 0.5).abs())
    return from_tie < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_as_torchvision_has_it(images: Tensor, name: str) -> None:
    count = len(images)
    for magnitude in MAGNITUDES[name]:
        ours = operations.apply(images, Operations(torch.full((count,), KINDS[name]), torch.full((count,), magnitude)))
        float32 = torch.tensor(magnitude).item()  # as the magnitudes of a view are kept
        theirs = torch.stack([THEIRS[name](image.permute(2, 0, 1), float32).permute(1, 2, 0) for image in images])
        apart = (ours.int() - theirs.int()).abs()
        if name in GEOMETRY:
            # A place exactly between two pixels falls to either by the last bit of its float; all others must agree.
            tied = ties(name, float32, *images.shape[1:3])
            assert not apart[:, ~tied].any(), magnitude
            # Every fifth row at a slope of 0.2, a diagonal at 45 degrees; small or odd shapes may have nothing else.
            assert images.shape[1:3] != (32, 32) or tied.float().mean() <= 0.2, "or the comparison would say little"
        elif name in (*INTENSITY, "identity"):
            assert apart.max() <= (1 if name in ("brightness", "contrast", "auto_contrast") else 0), magnitude
            assert (apart > 0).float().mean() < 0.01, "and that hardly ever"
        else:
            assert apart.max() <= 1, magnitude
            assert (apart > 0).float().mean() < 0.01


def random_operations(count: int, seed: int) -> Operations:
    g = torch.Generator().manual_seed(seed)
    kinds = torch.randint(0, len(NAMES), (count,), generator=g)
    choices = [MAGNITUDES[NAMES[kind]] for kind in kinds.tolist()]
    places = torch.randint(0, 1000, (count,), generator=g).tolist()
    return Operations(kinds, torch.tensor([c[p % len(c)] for c, p in zip(choices, places, strict=True)]))


@given(st.integers(1, 40), st.integers(0, 10_000))
@settings(max_examples=40)
def test_an_image_does_not_feel_its_neighbours(count: int, seed: int) -> None:
    batch, drawn = noise(count), random_operations(count, seed)
    together = operations.apply(batch, drawn)
    alone = [
        operations.apply(batch[i : i + 1], Operations(drawn.kinds[i : i + 1], drawn.magnitudes[i : i + 1]))
        for i in range(count)
    ]
    assert torch.equal(together, torch.cat(alone))
    assert torch.equal(together[drawn.kinds == 0], batch[drawn.kinds == 0])


def test_what_is_given_is_not_changed() -> None:
    batch = noise(30)
    before = batch.clone()
    operations.apply(batch, random_operations(30, 1))
    assert torch.equal(batch, before)
