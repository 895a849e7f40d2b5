"""The few values that travel between rooms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

Predict = Callable[[Tensor], Tensor]
"""Images `[B, C, H, W]` (uint8) to logits `[B, K]`: all that evaluation knows of a model."""


IMAGES_TO_MOVE = 1024
"""Copied to another device at a time: what waits in memory stays small."""


class Outputs(NamedTuple):
    """What a model answers.

    logits: `[B, K]`, before any softmax.
    features: the outputs of the stages, shallow to deep, each `[B, C, H, W]`.
    """

    logits: Tensor
    features: tuple[Tensor, ...] = ()


class Shapes(NamedTuple):
    """Shapes of a model's `Outputs` for a batch of a few images.

    logits: `(B, K)`.
    features: of each stage, shallow to deep, `(B, C, H, W)`.
    """

    logits: tuple[int, ...]
    features: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, outputs: Outputs) -> Shapes:
        """The shapes of these outputs."""
        return cls(tuple(outputs.logits.shape), tuple(tuple(feature.shape) for feature in outputs.features))


class Targets(NamedTuple):
    """The labels of a view. An image that is not mixed has `share` 1 and its own label twice.

    labels: `[B]` int64.
    partner_labels: `[B]` int64, of the image mixed in.
    share: `[B]` float32 in [0, 1], the part that belongs to `labels`.
    """

    labels: Tensor
    partner_labels: Tensor
    share: Tensor


class UnmixedTargets(Targets):
    """Targets of a view in which no image is mixed. That every share is 1 is known without asking the device."""

    __slots__ = ()

    def _replace(self, **changed: Tensor) -> Targets:  # pyright: ignore[reportIncompatibleMethodOverride]
        return Targets(*self)._replace(**changed)


class Split:
    """Decoded images and their labels, in a fixed order.

    stored: `[M, C, H, W]` uint8 whose memory is laid out `M, H, W, C` (channels last).
    labels: `[N]` int64.
    rows: `[N]` int64, where each image lies in `stored`; None means as they stand there (M = N). So a part of a
    memory-mapped set costs eight bytes an image, and pixels are read batch by batch.
    """

    def __init__(self, images: Tensor, labels: Tensor, rows: Tensor | None = None) -> None:
        self.stored = images
        self.labels = labels
        self.rows = rows

    def __len__(self) -> int:
        return self.labels.shape[0]

    @property
    def images(self) -> Tensor:
        """All images `[N, C, H, W]`, channels last. With `rows` this copies them: batch by batch is cheaper."""
        return self.stored if self.rows is None else self._gather(self.rows)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        channels, height, width = self.stored.shape[1:]
        return channels, height, width

    def take(self, places: Tensor) -> Tensor:
        """The images at these places `[B]` of the split: `[B, C, H, W]`, channels last, always a copy."""
        places = places.to(self.stored.device)
        return self._gather(places if self.rows is None else self.rows[places])

    def first(self, count: int) -> Tensor:
        """The first images, fewer if there are not so many: `[B, C, H, W]`, channels last."""
        return self.stored[:count] if self.rows is None else self._gather(self.rows[:count])

    def spread(self, count: int) -> Tensor:
        """Images spread evenly over the split, fewer if there are not so many: `[B, C, H, W]`, channels last."""
        count = min(count, len(self))
        return self.take(torch.arange(count) * len(self) // count)

    def batches(self, size: int) -> Iterator[Tensor]:
        """All images in their order, `[size, C, H, W]` at a time; the last batch may be smaller."""
        if self.rows is None:
            yield from self.stored.split(size)
        else:
            yield from map(self._gather, self.rows.split(size))

    def part(self, places: Tensor) -> Split:
        """Some of the images, by their places `[K]`, without a copy of any pixel."""
        return Split(self.stored, self.labels[places], places if self.rows is None else self.rows[places])

    def to(self, device: torch.device) -> Split:
        """The split on a device. On another device than now its images, and no others, are copied there."""
        if device == self.stored.device:
            return self
        channels, height, width = self.image_shape
        there = torch.empty((len(self), height, width, channels), dtype=self.stored.dtype, device=device)
        done = 0
        for images in self.batches(IMAGES_TO_MOVE):
            there[done : done + len(images)] = images.permute(0, 2, 3, 1).to(device)
            done += len(images)
        return Split(there.permute(0, 3, 1, 2), self.labels.to(device))

    def _gather(self, rows: Tensor) -> Tensor:
        # index_select copies whole images; advanced indexing goes pixel by pixel, eight times slower.
        return self.stored.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation per channel of pixels scaled to [0, 1]."""

    mean: tuple[float, ...]
    sd: tuple[float, ...]


@dataclass(frozen=True)
class Dataset:
    """A labelled set of images, decoded once.

    fingerprint: a hash of pixels, labels and class names: equal fingerprints, equal data.
    validation: None unless the source brings one of its own; else it is held out of `train`.
    split_key: decides which images are held out, whatever size they are stored at; empty: the fingerprint does.
    notes: what a reader of a report should know of these images, a line each.
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
