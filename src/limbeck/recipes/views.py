"""The `views` section of a recipe: how training images are augmented before a model sees them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .fields import Count, Flag, Fraction, Positive, RecipePart, Seed

Share = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, le=1)]


class Crop(RecipePart):
    """Random crop of the padded image, at its original size."""

    padding: Annotated[int, Field(ge=1, le=4096, strict=True)]
    """Black padding on each side of the image, in pixels."""


class ResizedCrop(RecipePart):
    """Random resized crop: a random part of the image, resized to the image size."""

    area: tuple[Share, Share] = (0.08, 1.0)
    """Minimum and maximum area of the crop, as a fraction of the image."""
    aspect: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    """Minimum and maximum aspect ratio, width / height."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How the crop is resized."""

    @model_validator(mode="after")
    def _ordered(self) -> ResizedCrop:
        _in_order(area=self.area, aspect=self.aspect)
        return self


class AutoAugment(RecipePart):
    """AutoAugment: one of 25 learned pairs of operations for each image."""

    name: Literal["autoaugment"] = Field("autoaugment", repr=False)
    """One of 25 learned pairs of operations for each image."""
    table: Literal["cifar10", "imagenet", "svhn"] = "cifar10"
    """The data set on which the pairs were learned."""


class RandAugment(RecipePart):
    """RandAugment: a fixed number of random operations for each image, all with the same magnitude."""

    name: Literal["randaugment"] = Field("randaugment", repr=False)
    """A fixed number of random operations for each image, all with the same magnitude."""
    operations: Annotated[int, Field(ge=1, le=16, strict=True)] = 2
    """Number of operations for each image."""
    magnitude: Annotated[int, Field(ge=0, le=30, strict=True)] = 9
    """Magnitude of the operations, from 0 to 30."""


class TrivialAugment(RecipePart):
    """TrivialAugment: one random operation with a random magnitude for each image."""

    name: Literal["trivialaugment"] = Field("trivialaugment", repr=False)
    """One random operation with a random magnitude for each image."""


Policy = AutoAugment | RandAugment | TrivialAugment


class Erasing(RecipePart):
    """Random erasing: fill a random rectangle of the image."""

    probability: Fraction = 0.25
    """Probability that an image is erased."""
    area: tuple[Share, Share] = (0.02, 0.33)
    """Minimum and maximum area of the rectangle, as a fraction of the image."""
    aspect: tuple[Positive, Positive] = (0.3, 3.3)
    """Minimum and maximum aspect ratio, height / width."""
    fill: Literal["mean", "black", "noise"] = "mean"
    """What the rectangle is filled with: the mean colour of the data, black or noise."""

    @model_validator(mode="after")
    def _ordered(self) -> Erasing:
        _in_order(area=self.area, aspect=self.aspect)
        return self


class Mixing(RecipePart):
    """Mixup or CutMix of a whole batch."""

    mixup: Positive | None = None
    """Mixup, with the α of its distribution Beta(α, α) (default: no mixup)."""
    cutmix: Positive | None = None
    """CutMix, with the α of its distribution Beta(α, α) (default: no CutMix)."""
    probability: Fraction = 1.0
    """Probability that a batch is mixed."""
    cutmix_probability: Fraction = 0.5
    """Probability of CutMix instead of mixup for a mixed batch, if both are given."""

    @model_validator(mode="after")
    def _something(self) -> Mixing:
        if self.mixup is None and self.cutmix is None:
            raise ValueError("expected `mixup`, `cutmix` or both, each with its α, such as {mixup: 0.8, cutmix: 1.0}")
        return self


class Views(RecipePart):
    """How training images are augmented, in this order."""

    batch_size: Count = 128
    """Number of images in a batch."""
    crop: Crop | None = None
    """Random crop of the padded image (default: none)."""
    resized_crop: ResizedCrop | None = None
    """Random resized crop (default: none)."""
    flip: Flag = False
    """Flip each image horizontally with probability 1/2."""
    policy: Annotated[Policy, Field(discriminator="name")] | None = None
    """Augmentation policy: AutoAugment, RandAugment or TrivialAugment (default: none)."""
    erasing: Erasing | None = None
    """Random erasing (default: none)."""
    mixing: Mixing | None = None
    """Mixup or CutMix among the images of a batch (default: none)."""
    distinct_epochs: Count | None = None
    """Repeat the views of the first K epochs: epoch e uses the views of epoch e mod K (default: never repeat)."""
    seed: Seed | None = None
    """Random seed of the views, shared by all seeds of the run (default: each seed has its own views)."""

    @model_validator(mode="after")
    def _one_crop(self) -> Views:
        if self.crop is not None and self.resized_crop is not None:
            raise ValueError("expected `crop` or `resized_crop`, not both")
        return self


def _in_order(**ranges: tuple[float, float]) -> None:
    wrong = [
        f"{name}: expected the smaller number first, such as [{high}, {low}]; got [{low}, {high}]"
        for name, (low, high) in ranges.items()
        if low > high
    ]
    if wrong:
        raise ValueError("; ".join(wrong))
