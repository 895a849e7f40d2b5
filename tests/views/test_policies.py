"""Policies: the published tables, and draws that follow them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limbeck.models.torchvision_operators import declare_missing_operators
from limbeck.recipes.views import AutoAugment, Policy, RandAugment, TrivialAugment
from limbeck.views import operations, policies
from limbeck.views.operations import KINDS, NAMES

declare_missing_operators()
from torchvision.transforms import v2  # noqa: E402
from torchvision.transforms.autoaugment import AutoAugmentPolicy  # noqa: E402

WORDS = {
    "ShearX": "shear_x", "ShearY": "shear_y", "TranslateX": "translate_x", "TranslateY": "translate_y",
    "Rotate": "rotate", "Brightness": "brightness", "Color": "saturation", "Contrast": "contrast",
    "Sharpness": "sharpness", "Posterize": "posterize", "Solarize": "solarize", "Invert": "invert",
    "AutoContrast": "auto_contrast", "Equalize": "equalize", "Identity": "identity",
}  # fmt: skip
EVERY = [
    AutoAugment(table="cifar10"),
    AutoAugment(table="imagenet"),
    AutoAugment(table="svhn"),
    RandAugment(operations=3, magnitude=12),
    TrivialAugment(),
]
ids = [str(policy) for policy in EVERY]


@pytest.mark.parametrize("table", ["cifar10", "imagenet", "svhn"])
def test_the_tables_are_the_published_ones(table: str) -> None:
    theirs = v2.AutoAugment(AutoAugmentPolicy(table))._policies
    kinds, chances, bins = policies._policy_table(table)
    ours = [
        tuple((NAMES[kinds[i, r]], round(chances[i, r].item(), 3), bins[i, r].item()) for r in range(2))
        for i in range(25)
    ]
    assert ours == [tuple((WORDS[name], p, m or 0) for name, p, m in pair) for pair in theirs]


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 48)])
@pytest.mark.parametrize(
    ("theirs", "bins", "wide"),
    [(v2.AutoAugment, 10, False), (v2.RandAugment, 31, False), (v2.TrivialAugmentWide, 31, True)],
)
def test_magnitudes(theirs: type, bins: int, wide: bool, height: int, width: int) -> None:
    ours = policies._magnitude_table(bins, height, width, wide=wide)
    space = theirs._AUGMENTATION_SPACE
    for word, (magnitudes, signed) in space.items():
        expected = magnitudes(bins, height, width)
        if expected is not None:
            torch.testing.assert_close(ours[KINDS[WORDS[word]]], expected.float())
            assert signed == (WORDS[word] in policies.SIGNED_OPERATIONS)
    if theirs is not v2.AutoAugment:
        assert {WORDS[word] for word in space} == set(policies.RANDOM_OPERATIONS)


@pytest.mark.parametrize("policy", EVERY, ids=ids)
def test_equal_generators_draw_equally_and_images_stay_images(policy: Policy) -> None:
    first, second, other = (
        policies.draw(policy, 64, 32, 32, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6)
    )
    assert all(torch.equal(a, b) for x, y in zip(first, second, strict=True) for a, b in zip(x, y, strict=True))
    assert not all(torch.equal(x.kinds, y.kinds) for x, y in zip(first, other, strict=True))
    images = torch.randint(0, 256, (64, 32, 32, 3), dtype=torch.uint8)
    for drawn in first:
        images = operations.apply(images, drawn)
    assert images.shape == (64, 32, 32, 3)
    assert images.dtype == torch.uint8


def test_autoaugment_draws_pairs_evenly_and_applies_as_often_as_told() -> None:
    count = 200_000
    first, second = policies.draw(AutoAugment(table="cifar10"), count, 32, 32, torch.Generator().manual_seed(0))
    kinds, chances, _ = policies._policy_table("cifar10")
    for r, drawn in enumerate((first, second)):
        for name, kind in KINDS.items():
            if name == "identity":
                continue
            expected = chances[:, r][kinds[:, r] == kind].sum().item() / 25
            found = (drawn.kinds == kind).float().mean().item()
            assert found == pytest.approx(expected, abs=5 * (expected / count) ** 0.5 + 1e-9), name
    rotations = first.magnitudes[first.kinds == KINDS["rotate"]]
    assert (rotations < 0).float().mean().item() == pytest.approx(0.5, abs=0.03)
    torch.testing.assert_close(rotations.abs().unique(), torch.tensor([60 / 9]))


def test_trivialaugment_draws_everything_evenly() -> None:
    count = 140_000
    (drawn,) = policies.draw(TrivialAugment(), count, 32, 32, torch.Generator().manual_seed(0))
    for name in policies.RANDOM_OPERATIONS:
        share = (drawn.kinds == KINDS[name]).float().mean().item()
        assert share == pytest.approx(1 / 14, abs=0.005), name
    shears = drawn.magnitudes[drawn.kinds == KINDS["shear_x"]]
    assert shears.unique().numel() == 61, "31 steps, in both directions but for 0"


@given(st.integers(1, 5), st.integers(0, 30), st.integers(1, 9))
def test_randaugment_does_as_many_as_told_at_one_magnitude(count: int, magnitude: int, batch: int) -> None:
    policy = RandAugment(operations=count, magnitude=magnitude)
    rounds = policies.draw(policy, batch, 32, 32, torch.Generator().manual_seed(1))
    strengths = policies._magnitude_table(31, 32, 32, wide=False)
    assert len(rounds) == count
    for drawn in rounds:
        assert torch.equal(drawn.magnitudes.abs(), strengths[drawn.kinds, magnitude])
