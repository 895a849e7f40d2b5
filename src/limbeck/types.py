"""Types shared by several packages: model outputs, targets, splits and data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

Predict = Callable[[Tensor], Tensor]
"""A function from uint8 images `[B, C, H, W]` to logits `[B, K]`: all that evaluation needs of a model."""


IMAGES_TO_MOVE = 1024
"""Images copied to another device at a time, which bounds the memory that copies need."""


class Classifier(NamedTuple):
    """The linear layer that ends a model: logits = weight · means of the last feature map + bias.

    weight: `[K, C]`. bias: `[K]` or None.
    """

    weight: Tensor
    bias: Tensor | None = None


class Outputs(NamedTuple):
    """The outputs of a model.

    logits: `[B, K]`, before any softmax.
    features: the outputs of its stages, from shallow to deep, each `[B, C, H, W]`.
    classifier: set for losses on features, if the model ends in a linear layer on the means of the last of them. Models
    leave it out.
    """

    logits: Tensor
    features: tuple[Tensor, ...] = ()
    classifier: Classifier | None = None


class Shapes(NamedTuple):
    """The shapes of a model's `Outputs` for a small batch.

    logits: `(B, K)`.
    features: `(B, C, H, W)` of each stage, from shallow to deep.
    classifier: `(K, C)` of the weight, if there is a classifier.
    """

    logits: tuple[int, ...]
    features: tuple[tuple[int, ...], ...] = ()
    classifier: tuple[int, ...] | None = None

    @classmethod
    def of(cls, outputs: Outputs) -> Shapes:
        """The shapes of these outputs."""
        last = outputs.classifier
        return cls(
            tuple(outputs.logits.shape),
            tuple(tuple(feature.shape) for feature in outputs.features),
            None if last is None else tuple(last.weight.shape),
        )


class Targets(NamedTuple):
    """The labels of a view. An image that is not mixed has `share` 1, and its own label as `partner_labels` too.

    labels: `[B]` int64.
    partner_labels: `[B]` int64, the labels of the images that the images are mixed with.
    share: `[B]` float32 in [0, 1], the weight of `labels`; `partner_labels` have the rest.
    """

    labels: Tensor
    partner_labels: Tensor
    share: Tensor


class UnmixedTargets(Targets):
    """Targets of a view without mixed images. Every share is known to be 1 without reading it from the device."""

    __slots__ = ()

    def _replace(self, **changed: Tensor) -> Targets:  # pyright: ignore[reportIncompatibleMethodOverride]
        return Targets(*self)._replace(**changed)


class Split:
    """Decoded images and their labels, in a fixed order.

    stored: `[M, C, H, W]` uint8 with memory in the order `M, H, W, C` (channels last).
    labels: `[N]` int64.
    rows: `[N]` int64, the index of each image in `stored`; None means all of them in order (M = N). A part of a
    memory-mapped data set thus needs eight bytes per image, and pixels are read batch by batch.
    """

    def __init__(self, images: Tensor, labels: Tensor, rows: Tensor | None = None) -> None:
        self.stored = images
        self.labels = labels
        self.rows = rows

    def __len__(self) -> int:
        return self.labels.shape[0]

    @property
    def images(self) -> Tensor:
        """All images `[N, C, H, W]`, channels last. With `rows` this copies them; reading in batches is cheaper."""
        return self.stored if self.rows is None else self._gather(self.rows)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        channels, height, width = self.stored.shape[1:]
        return channels, height, width

    def take(self, places: Tensor) -> Tensor:
        """The images at positions `[B]` of the split: `[B, C, H, W]`, channels last, always a copy."""
        places = places.to(self.stored.device)
        return self._gather(places if self.rows is None else self.rows[places])

    def first(self, count: int) -> Tensor:
        """The first `count` images, or all if there are fewer: `[B, C, H, W]`, channels last."""
        return self.stored[:count] if self.rows is None else self._gather(self.rows[:count])

    def spread(self, count: int) -> Tensor:
        """Images spread evenly over the split, fewer if there are not so many: `[B, C, H, W]`, channels last."""
        count = min(count, len(self))
        return self.take(torch.arange(count) * len(self) // count)

    def batches(self, size: int) -> Iterator[Tensor]:
        """All images in order, as batches `[size, C, H, W]`; the last batch may be smaller."""
        if self.rows is None:
            yield from self.stored.split(size)
        else:
            yield from map(self._gather, self.rows.split(size))

    def part(self, places: Tensor) -> Split:
        """The images at positions `[K]`, as a split, without copying pixels."""
        return Split(self.stored, self.labels[places], places if self.rows is None else self.rows[places])

    def to(self, device: torch.device) -> Split:
        """The split on a device. If it is on another device, its images are copied, and no others of `stored`."""
        if device == self.stored.device:
            return self
        channels, height, width = self.image_shape
        copied = torch.empty((len(self), height, width, channels), dtype=self.stored.dtype, device=device)
        done = 0
        for images in self.batches(IMAGES_TO_MOVE):
            copied[done : done + len(images)] = images.permute(0, 2, 3, 1).to(device)
            done += len(images)
        return Split(copied.permute(0, 3, 1, 2), self.labels.to(device))

    def _gather(self, rows: Tensor) -> Tensor:
        # index_select copies whole images; advanced indexing copies pixel by pixel and is eight times slower.
        return self.stored.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation per channel of pixels scaled to [0, 1]."""

    mean: tuple[float, ...]
    sd: tuple[float, ...]


@dataclass(frozen=True)
class Dataset:
    """A labelled set of images, decoded once.

    fingerprint: a hash of the pixels, labels and class names.
    validation: the source's own validation split; None if it has none, and images are held out of `train`.
    split_key: determines which images are held out, whatever size they are stored in; if empty, the fingerprint does.
    notes: lines for the report about these images.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    validation: Split | None
    test: Split
    fingerprint: str
    normalisation: Normalisation
    split_key: str = ""
    notes: tuple[str, ...] = ()
