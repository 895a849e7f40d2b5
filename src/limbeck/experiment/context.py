"""What all cohorts of a run share."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from limbeck.runs.directory import RunDirectory
from limbeck.runs.recipe import Functions, Recipe
from limbeck.teaching.processes import ALONE, Processes
from limbeck.types import Split

from .board import Board
from .images import Images


@dataclass(frozen=True)
class Bench:
    """What all cohorts of a run share. processes: that teach them together; the first writes and measures.
    board: where machines without a common disk share the cohorts of a sweep. earlier: recipes of the run before it was
    extended, whose checkpoints it goes on from.
    """

    recipe: Recipe
    images: Images
    train: Split
    device: torch.device
    directory: RunDirectory
    losses: Functions
    models: Functions
    processes: Processes = ALONE
    board: Board | None = None
    earlier: tuple[Recipe, ...] = ()
