"""The views of a recipe: everything that may happen to a training image before a model sees it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .recipe_values import Count, Flag, Fraction, Part, Positive, Seed

Share = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, le=1)]


class Crop(Part):
    """Random crop of the image padded with black, in pixels on each side."""

    padding: Annotated[int, Field(ge=1, le=4096, strict=True)]


class ResizedCrop(Part):
    """A random part of the image, resized to the whole. area: share of the image; aspect: width / height."""

    area: tuple[Share, Share] = (0.08, 1.0)
    aspect: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    @model_validator(mode="after")
    def _ordered(self) -> ResizedCrop:
        _in_order(area=self.area, aspect=self.aspect)
        return self


class AutoAugment(Part):
    """One of 25 learned pairs of operations an image."""

    name: Literal["autoaugment"]
    table: Literal["cifar10", "imagenet", "svhn"] = "cifar10"


class RandAugment(Part):
    """So many random operations an image, all of one magnitude from 0 to 30."""

    name: Literal["randaugment"]
    operations: Annotated[int, Field(ge=1, le=16, strict=True)] = 2
    magnitude: Annotated[int, Field(ge=0, le=30, strict=True)] = 9


class TrivialAugment(Part):
    """One random operation an image, of a random magnitude."""

    name: Literal["trivialaugment"]


class Erasing(Part):
    """A random rectangle painted over. area: share of the image; aspect: height / width."""

    probability: Fraction = 0.25
    area: tuple[Share, Share] = (0.02, 0.33)
    aspect: tuple[Positive, Positive] = (0.3, 3.3)
    fill: Literal["mean", "black", "noise"] = "mean"

    @model_validator(mode="after")
    def _ordered(self) -> Erasing:
        _in_order(area=self.area, aspect=self.aspect)
        return self


class Mixing(Part):
    """Mixup or CutMix of a whole batch. The numbers are the α of their Beta(α, α).

    probability: that a batch is mixed at all. cutmix_probability: that CutMix is chosen where both are given.
    """

    mixup: Positive | None = None
    cutmix: Positive | None = None
    probability: Fraction = 1.0
    cutmix_probability: Fraction = 0.5

    @model_validator(mode="after")
    def _something(self) -> Mixing:
        if self.mixup is None and self.cutmix is None:
            raise ValueError("takes `mixup`, `cutmix` or both, each with its α, as in {mixup: 0.8, cutmix: 1.0}")
        return self


class Views(Part):
    """How views are made, in this order.

    distinct_epochs: the views of so many epochs are seen again and again, epoch e those of epoch e mod K (null: no
    view comes twice). seed: holds the views fixed over the run's seeds.
    """

    batch_size: Count = 128
    crop: Crop | None = None
    resized_crop: ResizedCrop | None = None
    flip: Flag = False
    policy: Annotated[AutoAugment | RandAugment | TrivialAugment, Field(discriminator="name")] | None = None
    erasing: Erasing | None = None
    mixing: Mixing | None = None
    distinct_epochs: Count | None = None
    seed: Seed | None = None

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
