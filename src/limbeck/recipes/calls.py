"""What `limbeck.distill` and `limbeck.evaluate` take, typed and checked like the sections of a recipe."""

from __future__ import annotations

from .fields import RecipePart
from .recipe import Data, OutputsBank, TrainingOptions
from .views import Views


class NamedData(RecipePart):
    """Data that a call names by their source."""

    data: Data
    """The images."""


class Distillation(TrainingOptions):
    """How `limbeck.distill` trains a student. `teacher` holds the names of the teachers."""

    data: Data | None = None
    """The images; None if the caller holds them in memory."""
    views: Views = Views()
    """How training images are augmented, the same for teachers and student."""
    outputs_bank: OutputsBank | None = None
    """Cache the teacher logits for later calls with the same views (default: no)."""
