"""Draw what a view needs to know, by key.

A view is a pure function of (dataset, view recipe, seed, epoch, step): each draw has a generator of its own,
keyed by what it is for, so adding a kind of augmentation moves none of the others' numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limbeck.seeding import generator
from limbeck.types import Normalisation

from . import erasing, mixing, policies, resized_crop


@dataclass(frozen=True)
class ViewRecipe:
    """How views are made of the training images, in this order.

    batch_size: images a view. padding: of the random crop, in pixels on every side, filled with black
    (0: no crop). resized_crop: a random part resized to the whole, in place of the crop.
    flip: mirror every image with probability 1/2. policy: one of `policies`. erasing: paint over a rectangle.
    mixing: mix the batch with itself. distinct_epochs: a long schedule goes through the views of so many epochs
    again and again (None: no view comes twice).
    """

    batch_size: int = 128
    padding: int = 0
    flip: bool = False
    resized_crop: resized_crop.ResizedCrop | None = None
    policy: policies.Policy | None = None
    erasing: erasing.Erasing | None = None
    mixing: mixing.Mixing | None = None
    distinct_epochs: int | None = None


@dataclass(frozen=True)
class ViewPlan:
    """The parameters of one view.

    indices: `[B]` int64, places in the data set. offsets: `[B, 2]` int64, top and left of the crop in the
    padded image, or None. windows: `[B, 4]` int64, top, left, height, width of the part to resize, or None.
    flips: `[B]` bool, or None. rounds: what a policy does to each image, one after the other.
    boxes: what is painted over, or None. mix: who is mixed with whom, or None.
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


def joined(plans: Sequence[ViewPlan]) -> ViewPlan:
    """What several plans of one recipe do to each image by itself, as one plan: all but who is mixed with whom."""
    if len(plans) == 1:
        return plans[0]
    of_images = ("indices", "offsets", "flips", "windows", "rounds", "boxes")
    parts = {name: _joined([getattr(plan, name) for plan in plans]) for name in of_images}
    return ViewPlan(plans[0].epoch, plans[0].step, **parts)


def _joined(parts: Sequence[Any]) -> Any:
    """Tensors one after the other; tuples place by place."""
    first = parts[0]
    if first is None:
        return None
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    places = [_joined(of_place) for of_place in zip(*parts, strict=True)]
    return first._make(places) if hasattr(first, "_make") else tuple(places)


@dataclass(frozen=True)
class ViewPlanner:
    """Plans of all views of one data set under one recipe and seed.

    `size` images are drawn without replacement in each epoch. What does not fill a batch is left out of
    that epoch (another part each time): a last batch of one image breaks batch normalisation. A data set
    smaller than the batch is one whole batch.

    shape: height and width of the images, for augmentations that depend on it. normalisation: of the data,
    for erasing with its colours (None: grey).
    """

    fingerprint: str
    size: int
    recipe: ViewRecipe
    seed: int
    shape: tuple[int, int] = (32, 32)
    normalisation: Normalisation | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Views in an epoch, at least one."""
        return max(1, self.size // self.recipe.batch_size)

    def drawn_epoch(self, epoch: int) -> int:
        """The epoch whose views are seen in `epoch`: itself, or one of the first `distinct_epochs`.

        It stands in every key below in the epoch's place, so that which views there are does not depend on how often
        they come again.
        """
        distinct = self.recipe.distinct_epochs
        return epoch if distinct is None else epoch % distinct

    def order(self, epoch: int) -> Tensor:
        """The permutation of an epoch, `[size]` int64."""
        drawn = self.drawn_epoch(epoch)
        return torch.randperm(self.size, generator=generator(self.fingerprint, self.seed, drawn, "order"))

    def plan(self, epoch: int, step: int, order: Tensor | None = None) -> ViewPlan:
        """The plan of one view. `order` is `self.order(epoch)`, where the caller already has it."""
        order = self.order(epoch) if order is None else order
        indices = order[step * self.recipe.batch_size : (step + 1) * self.recipe.batch_size]
        recipe, count, drawn = self.recipe, indices.shape[0], self.drawn_epoch(epoch)

        def draw(what: str) -> torch.Generator:
            return generator(self.fingerprint, self.seed, drawn, step, what)

        offsets = flips = windows = boxes = mix = None
        rounds: tuple[policies.Operations, ...] = ()
        if recipe.resized_crop is not None:
            windows = resized_crop.draw(recipe.resized_crop, count, *self.shape, draw("resized crop"))
        elif recipe.padding:
            offsets = torch.randint(0, 2 * recipe.padding + 1, (count, 2), generator=draw("crop"))
        if recipe.flip:
            flips = torch.randint(0, 2, (count,), generator=draw("flip")).bool()
        if recipe.policy is not None:
            rounds = policies.draw(recipe.policy, count, *self.shape, draw("policy"))
        if recipe.erasing is not None:
            boxes = erasing.draw(recipe.erasing, count, *self.shape, draw("erasing"))
        if recipe.mixing is not None:
            mix = mixing.draw(recipe.mixing, count, *self.shape, draw("mixing"))
        return ViewPlan(epoch, step, indices, offsets, flips, windows, rounds, boxes, mix)
