"""Small real cohorts: the published student on scikit-learn's digits, drawn twice as large."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from packed_state import packed
from torch import nn

from limbeck.losses import cross_entropy, soft_targets
from limbeck.models import lightweight_cnn
from limbeck.models.folding import fold_batch_norms
from limbeck.recipes.optimization import Adam, Cosine
from limbeck.recipes.views import Crop, Views
from limbeck.training.learner import Learner, Training
from limbeck.training.loop import EpochEnded, Position, StepDone, train
from limbeck.training.objective import Objective, WeightedLoss
from limbeck.training.predictor import predictor
from limbeck.training.teacher import Teacher
from limbeck.types import Normalisation, Split
from limbeck.views.plan import ViewPlanner
from limbeck.views.preprocess import InputFormat

CPU = torch.device("cpu")
INPUT_FORMAT = InputFormat(Normalisation((0.3, 0.3, 0.3), (0.37, 0.37, 0.37)))
SIZE, BATCH, EPOCHS = 48, 16, 2
STEPS = SIZE // BATCH
START = Position()
PLANNER = ViewPlanner("digits", SIZE, Views(batch_size=BATCH, crop=Crop(padding=2), flip=True), seed=0)
CROSS_ENTROPY = WeightedLoss("cross_entropy", cross_entropy)
DISTILLED = (WeightedLoss("soft_targets", soft_targets, 0.7, {"temperature": 4.0}), replace(CROSS_ENTROPY, weight=0.3))
TRAINING = Training(
    optimizer=Adam(lr=3e-3, weight_decay=1e-4),
    epochs=EPOCHS,
    schedule=Cosine(warmup_epochs=0.5),
    teachers=("teacher",),
    clip_norm=1.0,
    ema_decay=0.9,
)


@functools.cache
def digits(first: int, count: int) -> Split:
    """Images of 16 pixels."""
    source = pytest.importorskip("sklearn.datasets")
    grey, labels = source.load_digits(return_X_y=True)
    pixels = torch.from_numpy(grey[first : first + count]).mul(255 / 16).round().to(torch.uint8).view(-1, 8, 8)
    large = pixels.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    images = large.unsqueeze(-1).expand(-1, -1, -1, 3).contiguous()
    return Split(images.permute(0, 3, 1, 2), torch.from_numpy(labels[first : first + count]))


def train_split() -> Split:
    return digits(0, SIZE)


def student(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return lightweight_cnn.build(10)


def used_model(seed: int = 50) -> nn.Module:
    """A model whose batch norms have seen images."""
    model = student(seed).train()
    with torch.no_grad():
        for part in (0, 16, 32):
            images = digits(part, 16).images
            model(images.float() / 255)
    return model


def teacher(dtype: torch.dtype = torch.float32, fold: bool = True) -> Teacher:
    return Teacher(
        "teacher", used_model(), INPUT_FORMAT, device=CPU, dtype=dtype, fold=fold_batch_norms if fold else None
    )  # fmt: skip


def learner(
    name: str = "student",
    *,
    seed: int = 0,
    weights: int | None = None,
    terms: Sequence[WeightedLoss] = DISTILLED,
    states: Mapping[str, nn.Module] | None = None,
    dtype: torch.dtype = torch.float32,
    model: nn.Module | None = None,
    **training: Any,
) -> Learner:
    """weights: the seed of the first weights, where they are to differ from what `seed` would give."""
    model = model or student(seed if weights is None else weights)
    objective = Objective(terms, teacher_weights=[1.0], states=states)
    return Learner(
        name,
        model,
        objective,
        replace(TRAINING, **training),
        input_format=INPUT_FORMAT,
        device=CPU,
        dtype=dtype,
        seed=seed,
    )


def validate(of: Learner) -> None:
    held_out = digits(100, 20)
    logits = predictor(of.evaluated_model, of.input_format, device=CPU, dtype=of.dtype)(held_out.images)
    loss = torch.nn.functional.cross_entropy(logits, held_out.labels).item()
    of.record_validation(loss, (logits.argmax(1) == held_out.labels).float().mean().item())


Rows = list[tuple[str, dict[str, float]]]


def follow(
    learners: Sequence[Learner],
    position: Position = START,
    *,
    planner: ViewPlanner = PLANNER,
    heard: Teacher | None = None,
    after: Callable[[Position], bool] = lambda position: False,
    disturb: Callable[[], object] = lambda: None,
) -> Rows:
    """Teach to the end, or until `after` says so; returns the rows of the epochs that ended."""
    rows: Rows = []
    split = digits(0, planner.size)
    for event in train(learners, {"teacher": heard or teacher()}, split, planner, position):
        disturb()
        if isinstance(event, EpochEnded):
            rows += event.rows.items()
            for one in learners:
                if one.name in event.rows and one.ended is None:
                    validate(one)
        else:
            assert isinstance(event, StepDone)
        if after(event.position):
            break
    return rows


def photograph(of: Learner) -> dict[str, bytes]:
    """All that a learner is, to the bit."""
    return packed(of.state(), "learner")
