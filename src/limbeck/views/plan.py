"""Draw the random parameters of views.

A view is a pure function of (dataset, view options, seed, epoch, step). Each draw has its own generator, keyed by
its purpose, so adding one kind of augmentation does not change the random numbers of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limbeck.recipes.views import Views
from limbeck.seeding import generator
from limbeck.types import Normalisation

from . import erasing, mixing, policies, resized_crop


def key_text(views: Views) -> str:
    """The view options as text for cache keys and checkpoint identities, without `seed`.

    The text is part of these file formats and must never change.
    """
    options = {
        "batch_size": views.batch_size,
        "padding": views.crop.padding if views.crop else 0,
        "flip": views.flip,
        "resized_crop": views.resized_crop,
        "policy": views.policy,
        "erasing": views.erasing,
        "mixing": views.mixing,
        "distinct_epochs": views.distinct_epochs,
    }
    return f"ViewRecipe({', '.join(f'{name}={value!r}' for name, value in options.items())})"


@dataclass(frozen=True)
class ViewPlan:
    """The drawn parameters of one view. An augmentation that the view options leave out is None.

    indices: `[B]` int64, positions in the data set. offsets: `[B, 2]` int64, top and left of the crop in the
    padded image. flips: `[B]` bool. windows: `[B, 4]` int64, top, left, height and width of the resized crop.
    rounds: the operations of a policy, applied in this order. boxes: the rectangles to erase. mix: the partner and
    the share of each image.
    """

    epoch: int
    step: int
    indices: Tensor
    offsets: Tensor | None
    flips: Tensor | None
    windows: Tensor | None = None
    rounds: tuple[policies.Operations, ...] = ()
    boxes: erasing.Boxes | None = None
    mix: mixing.Mix | None = None


def concatenate(plans: Sequence[ViewPlan]) -> ViewPlan:
    """Join plans with the same view options into one plan of all their images, without mixing."""
    if len(plans) == 1:
        return plans[0]
    per_image = ("indices", "offsets", "flips", "windows", "rounds", "boxes")
    parts = {name: _concatenate([getattr(plan, name) for plan in plans]) for name in per_image}
    return ViewPlan(plans[0].epoch, plans[0].step, **parts)


def _concatenate(parts: Sequence[Any]) -> Any:
    """Concatenate tensors along their first dimension, and tuples element by element."""
    first = parts[0]
    if first is None:
        return None
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    elements = [_concatenate(same_element) for same_element in zip(*parts, strict=True)]
    return first._make(elements) if hasattr(first, "_make") else tuple(elements)


@dataclass(frozen=True)
class ViewPlanner:
    """Plans all views of one data set for the given view options and random seed.

    Each epoch draws `size` images without replacement. An incomplete last batch is dropped, because a batch of one
    image breaks batch normalisation; which images are dropped differs between epochs. A data set smaller than the batch
    size is one batch.

    fingerprint: of the images. seed: used instead of `views.seed`. shape: height and width of the images.
    normalisation: statistics of the data set, from which erasing takes its fill colour (None: grey).
    """

    fingerprint: str
    size: int
    views: Views
    seed: int
    shape: tuple[int, int] = (32, 32)
    normalisation: Normalisation | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Number of views in an epoch, at least one."""
        return max(1, self.size // self.views.batch_size)

    def drawn_epoch(self, epoch: int) -> int:
        """The epoch whose views `epoch` uses: itself, or one of the first `distinct_epochs`.

        It keys all random generators, so repeating views does not change the views themselves.
        """
        distinct = self.views.distinct_epochs
        return epoch if distinct is None else epoch % distinct

    def order(self, epoch: int) -> Tensor:
        """The permutation of an epoch, `[size]` int64."""
        drawn = self.drawn_epoch(epoch)
        return torch.randperm(self.size, generator=generator(self.fingerprint, self.seed, drawn, "order"))

    def plan(self, epoch: int, step: int, order: Tensor | None = None) -> ViewPlan:
        """The plan of one view. order: `self.order(epoch)`, if the caller already has it."""
        order = self.order(epoch) if order is None else order
        indices = order[step * self.views.batch_size : (step + 1) * self.views.batch_size]
        views, count, drawn = self.views, indices.shape[0], self.drawn_epoch(epoch)

        def draw(what: str) -> torch.Generator:
            return generator(self.fingerprint, self.seed, drawn, step, what)

        offsets = flips = windows = boxes = mix = None
        rounds: tuple[policies.Operations, ...] = ()
        if views.resized_crop is not None:
            windows = resized_crop.draw(views.resized_crop, count, *self.shape, draw("resized crop"))
        elif views.crop is not None:
            offsets = torch.randint(0, 2 * views.crop.padding + 1, (count, 2), generator=draw("crop"))
        if views.flip:
            flips = torch.randint(0, 2, (count,), generator=draw("flip")).bool()
        if views.policy is not None:
            rounds = policies.draw(views.policy, count, *self.shape, draw("policy"))
        if views.erasing is not None:
            boxes = erasing.draw(views.erasing, count, *self.shape, draw("erasing"))
        if views.mixing is not None:
            mix = mixing.draw(views.mixing, count, *self.shape, draw("mixing"))
        return ViewPlan(epoch, step, indices, offsets, flips, windows, rounds, boxes, mix)
