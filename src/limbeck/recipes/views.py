"""The views of a recipe: everything that may happen to a training image before a model sees it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .fields import Count, Flag, Fraction, Positive, RecipePart, Seed

Share = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, le=1)]


class Crop(RecipePart):
    """Random crop of the image padded with black, in pixels on each side."""

    padding: Annotated[int, Field(ge=1, le=4096, strict=True)]
    """Black pixels on each side of the image, of which a random part of its size is cut."""


class ResizedCrop(RecipePart):
    """A random part of the image, resized to the whole. area: share of the image; aspect: width / height."""

    area: tuple[Share, Share] = (0.08, 1.0)
    """Smallest and largest share of the image that is cut out."""
    aspect: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    """Smallest and largest ratio of width to height."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How the part is resized to the whole."""

    @model_validator(mode="after")
    def _ordered(self) -> ResizedCrop:
        _in_order(area=self.area, aspect=self.aspect)
        return self


class AutoAugment(RecipePart):
    """One of 25 learned pairs of operations an image."""

    name: Literal["autoaugment"] = Field("autoaugment", repr=False)
    """One of 25 learned pairs of operations an image."""
    table: Literal["cifar10", "imagenet", "svhn"] = "cifar10"
    """The data set for which the pairs were learned."""


class RandAugment(RecipePart):
    """So many random operations an image, all of one magnitude from 0 to 30."""

    name: Literal["randaugment"] = Field("randaugment", repr=False)
    """A few random operations an image, all of one magnitude."""
    operations: Annotated[int, Field(ge=1, le=16, strict=True)] = 2
    """How many operations an image."""
    magnitude: Annotated[int, Field(ge=0, le=30, strict=True)] = 9
    """How strong they are, from 0 to 30."""


class TrivialAugment(RecipePart):
    """One random operation an image, of a random magnitude."""

    name: Literal["trivialaugment"] = Field("trivialaugment", repr=False)
    """One random operation an image, of a random magnitude."""


Policy = AutoAugment | RandAugment | TrivialAugment


class Erasing(RecipePart):
    """A random rectangle painted over. area: share of the image; aspect: height / width."""

    probability: Fraction = 0.25
    """Share of the images in which a rectangle is painted over."""
    area: tuple[Share, Share] = (0.02, 0.33)
    """Smallest and largest share of the image that is painted over."""
    aspect: tuple[Positive, Positive] = (0.3, 3.3)
    """Smallest and largest ratio of height to width."""
    fill: Literal["mean", "black", "noise"] = "mean"
    """What it is painted with: the data's mean colour, black or noise."""

    @model_validator(mode="after")
    def _ordered(self) -> Erasing:
        _in_order(area=self.area, aspect=self.aspect)
        return self


class Mixing(RecipePart):
    """Mixup or CutMix of a whole batch. The numbers are the α of their Beta(α, α)."""

    mixup: Positive | None = None
    """The α of the Beta(α, α) from which mixup draws its share; leave it out for no mixup."""
    cutmix: Positive | None = None
    """The α of the Beta(α, α) from which CutMix draws its share; leave it out for no CutMix."""
    probability: Fraction = 1.0
    """Share of the batches that are mixed at all."""
    cutmix_probability: Fraction = 0.5
    """Share of the mixed batches that CutMix takes, where both are given."""

    @model_validator(mode="after")
    def _something(self) -> Mixing:
        if self.mixup is None and self.cutmix is None:
            raise ValueError("takes `mixup`, `cutmix` or both, each with its α, as in {mixup: 0.8, cutmix: 1.0}")
        return self


class Views(RecipePart):
    """How views are made, in this order."""

    batch_size: Count = 128
    """Images in a batch."""
    crop: Crop | None = None
    """Random crop of the padded image."""
    resized_crop: ResizedCrop | None = None
    """Random part of the image, resized to the whole."""
    flip: Flag = False
    """Mirror every image with probability 1/2."""
    policy: Annotated[Policy, Field(discriminator="name")] | None = None
    """AutoAugment, RandAugment or TrivialAugment."""
    erasing: Erasing | None = None
    """Paint over a random rectangle."""
    mixing: Mixing | None = None
    """Mix each batch with itself, by mixup or CutMix."""
    distinct_epochs: Count | None = None
    """The views of so many epochs are seen again and again, epoch e those of epoch e mod K (default: no view comes
    twice)."""
    seed: Seed | None = None
    """Hold the views fixed over the run's seeds (default: each seed has views of its own)."""

    @model_validator(mode="after")
    def _one_crop(self) -> Views:
        if self.crop is not None and self.resized_crop is not None:
            raise ValueError("takes `crop` or `resized_crop`, not both")
        return self


def _in_order(**ranges: tuple[float, float]) -> None:
    wrong = [
        f"{name} takes the smaller number first, as in [{high}, {low}]; got [{low}, {high}]"
        for name, (low, high) in ranges.items()
        if low > high
    ]
    if wrong:
        raise ValueError("; ".join(wrong))
