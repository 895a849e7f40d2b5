"""The training loop: for each view, one forward pass of each teacher, then one step of every student.

The same loop trains teachers. It yields events; the caller logs, saves, validates and shows progress in the body of
its `for` statement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from limbeck.types import Outputs, Split
from limbeck.views.apply import View
from limbeck.views.epoch import epoch_of_views
from limbeck.views.plan import ViewPlanner
from limbeck.views.preprocess import InputFormat, prepare

from .learner import Learner
from .model_errors import explain_out_of_memory
from .teacher import PreparePixels

STEPS_BETWEEN_CHECKS = 50
"""How often losses are copied from the device and checked to be finite; also at the end of an epoch."""


@dataclass(frozen=True)
class Position:
    """The next step to take. Epoch and step count from 0."""

    epoch: int = 0
    step: int = 0


@dataclass(frozen=True)
class StepDone:
    """Every active learner has taken one step; `position` is the next step."""

    position: Position


@dataclass(frozen=True)
class EpochEnded:
    """An epoch is over. rows: the means of the epoch for each active learner, by name.

    The caller validates the learners (`Learner.record_validation`) before it continues; `position` is the next step.
    """

    position: Position
    rows: Mapping[str, dict[str, float]]


class TeacherLike(Protocol):
    """A source of teacher outputs: a model, or a bank of stored outputs."""

    def outputs(self, pixels: PreparePixels, *, epoch: int, step: int) -> Outputs:
        """Outputs for the view of a step. pixels: prepares the view for a given input format and dtype."""
        ...


def train(
    learners: Sequence[Learner],
    teachers: Mapping[str, TeacherLike],
    split: Split,
    planner: ViewPlanner,
    position: Position = Position(),
) -> Iterator[StepDone | EpochEnded]:
    """Train a cohort from `position` until every learner has ended.

    A learner that is ahead of the others takes no part until they reach its next epoch.
    split: the training images, on the CPU or on the device.
    """
    steps = planner.steps_per_epoch
    finite_outputs: dict[tuple[str, int], Tensor] = {}  # by teacher and step; read only when a loss is not finite
    for epoch in range(position.epoch, max(learner.training.epochs for learner in learners)):
        if all(learner.ended for learner in learners):
            return
        active = [learner for learner in learners if learner.ended is None and learner.epochs_done <= epoch]
        if not active:
            continue
        first = position.step if epoch == position.epoch else 0
        for learner in active:
            learner.train_mode() if first else learner.begin_epoch()
        for step, view in epoch_of_views(split, planner, epoch, first):
            finite = take_step(active, teachers, view, epoch=epoch, step=step, steps=steps)
            finite_outputs |= {(name, step): value for name, value in finite.items()}
            if (step + 1) % STEPS_BETWEEN_CHECKS == 0:
                for learner in active:
                    learner.check(epoch)
                    _attribute_to_teacher(learner, finite_outputs)
                finite_outputs.clear()
                active = [learner for learner in active if learner.ended is None]
            yield StepDone(Position(epoch, step + 1))
            if not active:
                break
        if not active:
            continue
        rows = {learner.name: learner.finish_epoch(epoch) for learner in active}
        for learner in active:
            _attribute_to_teacher(learner, finite_outputs)
        finite_outputs.clear()
        yield EpochEnded(Position(epoch + 1, 0), rows)


def _attribute_to_teacher(learner: Learner, finite_outputs: Mapping[tuple[str, int], Tensor]) -> None:
    """Name the teacher in a learner's failure if its outputs were not finite at that step."""
    if learner.failure is None:
        return
    step = learner.failure.step - 1
    for name in learner.training.teachers:
        if (name, step) in finite_outputs and not bool(finite_outputs[name, step]):
            learner.failure = replace(learner.failure, term=f"teacher {name} outputs")
            return


def take_step(
    active: Sequence[Learner], teachers: Mapping[str, TeacherLike], view: View, *, epoch: int, step: int, steps: int
) -> dict[str, Tensor]:
    """One step of every active learner on one view; this process computes its own part of the batch.

    The view is prepared once for each input format and dtype. Features of a teacher are dropped if no loss reads them.
    Returns, by teacher, whether all its logits are finite, as a tensor on the device.
    """
    device, processes = active[0].device, active[0].processes
    size = view.images.shape[0]
    images = view.images[processes.shard(size)].to(device)
    targets = view.targets._make(t.to(device) for t in view.targets)
    prepared: dict[tuple[InputFormat, torch.dtype], Tensor] = {}

    def pixels(input_format: InputFormat, dtype: torch.dtype) -> Tensor:
        dtype = torch.float32 if dtype == torch.float16 else dtype
        if (input_format, dtype) not in prepared:
            prepared[input_format, dtype] = prepare(images, input_format, dtype)
        return prepared[input_format, dtype]

    batch = images.shape[0]
    teacher_outputs: dict[str, Outputs] = {}
    needs_features = {name for one in active if one.objective.needs_features for name in one.training.teachers}
    for name in dict.fromkeys(name for learner in active for name in learner.training.teachers):
        with explain_out_of_memory(name, batch):
            outputs = teachers[name].outputs(pixels, epoch=epoch, step=step)
            outputs = outputs if name in needs_features else Outputs(outputs.logits)
            teacher_outputs[name] = processes.all_gather(outputs, size)
            del (
                outputs
            )  # otherwise the features of this process's part stay in memory while the students take their steps
    for learner in active:
        of_teachers = [teacher_outputs[name] for name in learner.training.teachers]
        with explain_out_of_memory(learner.name, batch):
            learner.step(
                pixels(learner.input_format, learner.dtype), targets, of_teachers, epoch=epoch, step=step, steps=steps
            )
    return {name: outputs.logits.isfinite().all() for name, outputs in teacher_outputs.items()}
