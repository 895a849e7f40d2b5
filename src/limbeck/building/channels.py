"""Greyscale images, and models that take one or three channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from limbeck.types import Normalisation, Split

from .data import Images


def grey_where_wanted(images: Images, channels: Mapping[str, int]) -> Images:
    """The images with one channel, if a model takes one and the three channels of every image are equal."""
    if images.shape[0] != 3 or 1 not in channels.values():
        return images
    parts = {name: getattr(images, name) for name in ("train", "validation", "test")}
    if not all(map(_is_grey, parts.values())):
        return images
    normalisation = Normalisation(images.normalisation.mean[:1], images.normalisation.sd[:1])
    grey = {name: _one_channel(split) for name, split in parts.items()}
    return replace(images, **grey, normalisation=normalisation, fingerprint=f"{images.fingerprint}/grey")


def normalisation_for(images: Images, channels: int) -> Normalisation:
    """The normalisation of the data for a model with so many input channels: one channel is repeated for three."""
    own = images.normalisation
    if images.shape[0] == 1 and channels == 3:
        return Normalisation(own.mean * 3, own.sd * 3)
    return own


def channels_taken(model: nn.Module, images: Images, side: int | None) -> int:
    """How many channels a model takes: that of the images if it accepts them, otherwise three or one.

    If it accepts none of these, that of the images; the error is reported when the model gets them.
    """
    channels, height, width = images.shape
    like = next((t for t in model.state_dict().values() if t.is_floating_point()), torch.empty(0))
    training = model.training
    model.eval()
    try:
        for count in dict.fromkeys((channels, 3, 1)):
            shape = (1, count, side or height, side or width)
            if _accepts(model, torch.zeros(shape, device=like.device)):
                return count
    finally:
        model.train(training)
    return channels


def _accepts(model: nn.Module, pixels: Tensor) -> bool:
    try:
        with torch.no_grad():
            model(pixels)
    except Exception:
        return False
    return True


def _is_grey(split: Split) -> bool:
    return all(bool((batch == batch[:, :1]).all()) for batch in split.batches(1024))


def _one_channel(split: Split) -> Split:
    rows = torch.cat([batch[:, :1].permute(0, 2, 3, 1).contiguous() for batch in split.batches(1024)])
    return Split(rows.permute(0, 3, 1, 2), split.labels)
