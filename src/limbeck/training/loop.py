"""The one loop: for each view, one pass of each teacher, then one step of every student.

Training a teacher is the same loop with nobody to listen to. The loop yields what happened; logging, saving,
validation and progress bars are the body of the caller's `for`.
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
from .out_of_memory import naming_memory
from .teacher import Pixels

STEPS_BETWEEN_CHECKS = 50
"""How often losses are read from the device to see that they are finite; also at the end of an epoch."""


@dataclass(frozen=True)
class Position:
    """The next step to take, both counted from 0."""

    epoch: int = 0
    step: int = 0


@dataclass(frozen=True)
class Stepped:
    """Every active learner has taken one step; `position` is the next."""

    position: Position


@dataclass(frozen=True)
class EpochEnded:
    """An epoch is over. rows: means of the epoch for each learner that was active, by name.

    The caller validates the learners (`Learner.judge`) before it goes on; `position` is the next.
    """

    position: Position
    rows: Mapping[str, dict[str, float]]


class Answers(Protocol):
    """A teacher as the loop knows it: the model itself, or one whose answers are stored."""

    def answer(self, pixels: Pixels, *, epoch: int, step: int) -> Outputs:
        """What it says of the view of a step; pixels: the view, prepared as a model wants it."""
        ...


def train(
    learners: Sequence[Learner],
    teachers: Mapping[str, Answers],
    split: Split,
    planner: ViewPlanner,
    position: Position = Position(),
) -> Iterator[Stepped | EpochEnded]:
    """Teach a cohort from `position` until every learner has ended. One that is further on waits for its epoch.

    split: the training images, on the CPU or already on the device.
    """
    steps = planner.steps_per_epoch
    sound: dict[tuple[str, int], Tensor] = {}  # were a teacher's answers of a step finite? Read when a loss is not
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
            sound |= {(name, step): answer for name, answer in finite.items()}
            if (step + 1) % STEPS_BETWEEN_CHECKS == 0:
                for learner in active:
                    learner.check(epoch)
                    _blame_teachers(learner, sound)
                sound.clear()
                active = [learner for learner in active if learner.ended is None]
            yield Stepped(Position(epoch, step + 1))
            if not active:
                break
        if not active:
            continue
        rows = {learner.name: learner.finish_epoch(epoch) for learner in active}
        for learner in active:
            _blame_teachers(learner, sound)
        sound.clear()
        yield EpochEnded(Position(epoch + 1, 0), rows)


def _blame_teachers(learner: Learner, sound: Mapping[tuple[str, int], Tensor]) -> None:
    """Name the teacher in a learner's failure where it was the teacher's answers that were not finite."""
    if learner.failure is None:
        return
    step = learner.failure.step - 1
    for name in learner.training.teachers:
        if (name, step) in sound and not bool(sound[name, step]):
            learner.failure = replace(learner.failure, term=f"teacher {name} outputs")
            return


def take_step(
    active: Sequence[Learner], teachers: Mapping[str, Answers], view: View, *, epoch: int, step: int, steps: int
) -> dict[str, Tensor]:
    """One view for all, prepared once for each way in which a model wants it; this process's part of its images.

    Of a teacher whose features no loss compares, the logits alone are kept. Returns of each teacher whether all its
    logits are finite, on the device.
    """
    device, processes = active[0].device, active[0].processes
    size = view.images.shape[0]
    images = view.images[processes.part(size)].to(device)
    targets = view.targets._make(t.to(device) for t in view.targets)
    prepared: dict[tuple[InputFormat, torch.dtype], Tensor] = {}

    def pixels(form: InputFormat, dtype: torch.dtype) -> Tensor:
        dtype = torch.float32 if dtype == torch.float16 else dtype
        if (form, dtype) not in prepared:
            prepared[form, dtype] = prepare(images, form, dtype)
        return prepared[form, dtype]

    batch = images.shape[0]
    answers: dict[str, Outputs] = {}
    featured = {name for one in active if one.objective.needs_features for name in one.training.teachers}
    for name in dict.fromkeys(name for learner in active for name in learner.training.teachers):
        with naming_memory(name, batch):
            answer = teachers[name].answer(pixels, epoch=epoch, step=step)
            answers[name] = processes.whole(answer if name in featured else Outputs(answer.logits), size)
            del answer  # its features would live through every student's step
    for learner in active:
        heard = [answers[name] for name in learner.training.teachers]
        with naming_memory(learner.name, batch):
            learner.step(pixels(learner.form, learner.dtype), targets, heard, epoch=epoch, step=step, steps=steps)
    return {name: answer.logits.isfinite().all() for name, answer in answers.items()}
