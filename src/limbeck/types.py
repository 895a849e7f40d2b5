"""The few values that travel between rooms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

Predict = Callable[[Tensor], Tensor]
"""Images `[B, C, H, W]` (uint8) to logits `[B, K]`: all that evaluation knows of a model."""


class Outputs(NamedTuple):
    """What a model answers.

    logits: `[B, K]`, before any softmax.
    features: the outputs of the stages, shallow to deep, each `[B, C, H, W]`.
    """

    logits: Tensor
    features: tuple[Tensor, ...] = ()


class Targets(NamedTuple):
    """The labels of a view. An image that is not mixed has `share` 1 and its own label twice.

    labels: `[B]` int64.
    partner_labels: `[B]` int64, of the image mixed in.
    share: `[B]` float32 in [0, 1], the part that belongs to `labels`.
    """

    labels: Tensor
    partner_labels: Tensor
    share: Tensor


@dataclass(frozen=True)
class Split:
    """Decoded images and their labels, in a fixed order.

    images: `[N, C, H, W]` uint8 whose memory is laid out `N, H, W, C` (channels last).
    labels: `[N]` int64.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return self.labels.shape[0]


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
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    validation: Split | None
    test: Split
    fingerprint: str
    normalisation: Normalisation
