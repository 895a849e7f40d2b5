"""Limbeck's own distillation step: `train()` as a run calls it, and the parts it consists of."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from limbeck.losses import cross_entropy, soft_targets
from limbeck.models.folding import fold_batch_norms
from limbeck.recipes.optimization import Adam, Step
from limbeck.recipes.views import Crop, Views
from limbeck.training.learner import Learner, Training
from limbeck.training.loop import StepDone, train
from limbeck.training.objective import Objective, WeightedLoss
from limbeck.training.teacher import Teacher
from limbeck.types import Normalisation, Split
from limbeck.views.apply import View
from limbeck.views.epoch import epoch_of_views
from limbeck.views.plan import ViewPlanner
from limbeck.views.preprocess import InputFormat, prepare

EPOCHS = 10**6
SIDE = 32


def endless_views(split: Split, planner: ViewPlanner) -> Iterator[tuple[int, View]]:
    """Steps and their views as the loop makes them, epoch after epoch."""
    return itertools.chain.from_iterable(epoch_of_views(split, planner, epoch) for epoch in itertools.count())


class LimbeckSteps:
    """A teacher and a student in Limbeck's loop; every step makes its view from the uint8 images.

    views: how (None: crop and flip).
    """

    def __init__(
        self,
        split: Split,
        teacher: nn.Module,
        student: nn.Module,
        *,
        normalisation: Normalisation,
        batch_size: int,
        dtype: torch.dtype,
        views: Views | None = None,
    ) -> None:
        device = torch.device("cpu")
        views = views or Views(batch_size=batch_size, crop=Crop(padding=4), flip=True)
        self.split, self.input_format = split, InputFormat(normalisation)
        self.teacher = Teacher("teacher", teacher, self.input_format, device=device, dtype=dtype, fold=fold_batch_norms)
        self.learner = Learner(
            "student",
            student,
            Objective(
                [
                    WeightedLoss("cross_entropy", cross_entropy, 0.3),
                    WeightedLoss("soft_targets", soft_targets, 0.7, {"temperature": 4.0}),
                ],
                teacher_weights=[1.0],
            ),
            Training(
                Adam(lr=1e-3, weight_decay=1e-4),
                epochs=EPOCHS,
                schedule=Step(every_epochs=5, factor=0.5),
                teachers=("teacher",),
            ),
            input_format=self.input_format,
            device=device,
            dtype=dtype,
        )
        self.planner = ViewPlanner("benchmark", len(split), views, 0, (SIDE, SIDE), normalisation)
        self.events = train([self.learner], {"teacher": self.teacher}, split, self.planner)
        self.views = endless_views(split, self.planner)

    def run(self, steps: int) -> float:
        """Seconds for `steps` steps; what an epoch's end costs is part of them where one falls into the block."""
        start = time.perf_counter()
        while steps:
            steps -= isinstance(next(self.events), StepDone)
        return time.perf_counter() - start

    def parts(self, steps: int) -> dict[str, float]:
        """Seconds of each part over `steps` steps taken by hand, in the order of the loop."""
        spent: dict[str, float] = dict.fromkeys(("view", "prepare", "teacher", "student"), 0.0)

        def timed(part: str, work: Callable[[], Any]) -> Any:
            start = time.perf_counter()
            result = work()
            spent[part] += time.perf_counter() - start
            return result

        planner, learner = self.planner, self.learner
        for _ in range(steps):
            at, view = timed("view", lambda: next(self.views))
            pixels = timed("prepare", lambda view=view: prepare(view.images, self.input_format, learner.dtype))
            outputs = timed("teacher", lambda pixels=pixels: self.teacher(pixels))
            timed(
                "student",
                lambda pixels=pixels, view=view, outputs=outputs, at=at: learner.step(
                    pixels, view.targets, [outputs], epoch=0, step=at, steps=planner.steps_per_epoch
                ),
            )
        return spent
