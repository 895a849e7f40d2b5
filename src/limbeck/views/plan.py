"""Draw what a view needs to know, by key.

A view is a pure function of (dataset, view recipe, seed, epoch, step): each draw has a generator of its own,
keyed by what it is for, so adding a kind of augmentation moves none of the others' numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from limbeck.seeding import generator


@dataclass(frozen=True)
class ViewRecipe:
    """How views are made of the training images.

    batch_size: images a view. padding: of the random crop, in pixels on every side, filled with black
    (0: no crop). flip: mirror every image with probability 1/2.
    """

    batch_size: int = 128
    padding: int = 0
    flip: bool = False


@dataclass(frozen=True)
class ViewPlan:
    """The parameters of one view.

    indices: `[B]` int64, places in the data set. offsets: `[B, 2]` int64, top and left of the crop in the
    padded image, or None. flips: `[B]` bool, or None.
    """

    epoch: int
    step: int
    indices: Tensor
    offsets: Tensor | None
    flips: Tensor | None


@dataclass(frozen=True)
class ViewPlanner:
    """Plans of all views of one data set under one recipe and seed.

    `size` images are drawn without replacement in each epoch. What does not fill a batch is left out of
    that epoch (another part each time): a last batch of one image breaks batch normalisation. A data set
    smaller than the batch is one whole batch.
    """

    fingerprint: str
    size: int
    recipe: ViewRecipe
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Views in an epoch, at least one."""
        return max(1, self.size // self.recipe.batch_size)

    def order(self, epoch: int) -> Tensor:
        """The permutation of an epoch, `[size]` int64."""
        return torch.randperm(self.size, generator=generator(self.fingerprint, self.seed, epoch, "order"))

    def plan(self, epoch: int, step: int, order: Tensor | None = None) -> ViewPlan:
        """The plan of one view. `order` is `self.order(epoch)`, where the caller already has it."""
        order = self.order(epoch) if order is None else order
        indices = order[step * self.recipe.batch_size : (step + 1) * self.recipe.batch_size]
        count, padding = indices.shape[0], self.recipe.padding
        keyed = (self.fingerprint, self.seed, epoch, step)
        offsets = flips = None
        if padding:
            offsets = torch.randint(0, 2 * padding + 1, (count, 2), generator=generator(*keyed, "crop"))
        if self.recipe.flip:
            flips = torch.randint(0, 2, (count,), generator=generator(*keyed, "flip")).bool()
        return ViewPlan(epoch, step, indices, offsets, flips)
