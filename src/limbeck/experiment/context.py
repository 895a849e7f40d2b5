"""What all cohorts of a run share."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from limbeck.building.data import Images
from limbeck.recipes.recipe import CustomFunctions, Recipe
from limbeck.storage.run_directory import RunDirectory
from limbeck.training.distributed import SINGLE_PROCESS, Processes
from limbeck.types import Split


@dataclass(frozen=True)
class RunContext:
    """What all cohorts of a run share. processes: that teach them together; the first writes and measures.
    earlier: recipes of the run before it was
    extended, whose checkpoints it goes on from.
    """

    recipe: Recipe
    images: Images
    train: Split
    device: torch.device
    directory: RunDirectory
    losses: CustomFunctions
    models: CustomFunctions
    processes: Processes = SINGLE_PROCESS
    earlier: tuple[Recipe, ...] = ()
