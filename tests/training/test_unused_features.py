"""Features that no loss compares are neither kept nor sent to other processes; a loss that compares them says so."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from digit_cohorts import CROSS_ENTROPY, DISTILLED, PLANNER, STEPS, learner, teacher, train_split
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.training.loop import take_step
from limbeck.training.objective import Objective, WeightedLoss
from limbeck.types import Outputs, Targets
from limbeck.views.apply import make_view


def hints(student: Outputs, teacher: Outputs, targets: Targets) -> Tensor:
    """Compares the last stage."""
    return (student.features[-1] - teacher.features[-1]).square().flatten(1).mean(1)


HINTS = WeightedLoss("hints", hints, needs_features=True)


def one_step(*terms: WeightedLoss, heard: Any = None) -> None:
    view = make_view(train_split(), PLANNER.plan(0, 0), PLANNER.views)
    take_step([learner(terms=terms)], {"teacher": heard or teacher()}, view, epoch=0, step=0, steps=STEPS)


def test_the_teachers_maps_are_gone_before_a_student_takes_its_step() -> None:
    maps: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def looks(student: Outputs, teacher: Outputs, targets: Targets) -> Tensor:
        gc.collect()
        alive.append(sum(one() is not None for one in maps))
        return (student.logits - teacher.logits).square().mean(1)

    class Noting:
        """A real teacher; what it answers is remembered weakly."""

        def __init__(self) -> None:
            self.teacher = teacher()

        def outputs(self, pixels: Any, *, epoch: int, step: int) -> Outputs:
            found = self.teacher.outputs(pixels, epoch=epoch, step=step)
            maps.extend(weakref.ref(one) for one in found.features)
            return found

    one_step(WeightedLoss("looks", looks), heard=Noting())
    assert len(maps) >= 2 and alive == [0]
    maps.clear()
    one_step(WeightedLoss("looks", looks), HINTS, heard=Noting())
    assert alive[1] == len(maps) > 0, "kept where a loss compares them"


def test_a_loss_that_says_so_has_the_features_of_both() -> None:
    one_step(HINTS, CROSS_ENTROPY)
    assert Objective([HINTS]).needs_features and not Objective(DISTILLED).needs_features


def test_a_loss_that_does_not_say_so_is_told() -> None:
    """Empty features would make `zip(student.features, teacher.features)` a loss of zero, unseen."""
    with pytest.raises(LimbeckError, match=r"'hints' reads features; say so in its file or on the function: NEEDS_FEA"):
        one_step(WeightedLoss("hints", hints))

    def silent(student: Outputs, teacher: Outputs, targets: Targets) -> Tensor:
        zero = student.logits.sum(1) * 0.0
        return zero + sum((s - t).square().mean() for s, t in zip(student.features, teacher.features, strict=True))

    with pytest.raises(LimbeckError, match="NEEDS_FEATURES"):
        one_step(WeightedLoss("silent", silent))


def test_features_of_several_teachers_are_refused() -> None:
    objective = Objective([HINTS], teacher_weights=[1.0, 1.0])
    logits = torch.zeros(2, 10)
    answers = [Outputs(logits, (torch.zeros(2, 3, 4, 4),)) for _ in range(2)]
    labels = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(LimbeckError, match=r"'hints' compares features, and 2 teachers have none in common"):
        objective(answers[0], answers, Targets(labels, labels, torch.ones(2)))
