"""What all cohorts of a run share."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from limbeck.runs.directory import RunDirectory
from limbeck.runs.recipe import Functions, Recipe
from limbeck.types import Split

from .images import Images


@dataclass(frozen=True)
class Bench:
    """What all cohorts of a run share."""

    recipe: Recipe
    images: Images
    train: Split
    device: torch.device
    directory: RunDirectory
    losses: Functions
    models: Functions
