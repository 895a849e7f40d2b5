"""What is kept of a learner's logits for single images, and the images that are kept for the report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from limbeck.storage.predictions import KEPT_CLASSES, Predictions, SampleImages
from limbeck.types import Split

from . import metrics

MAX_SAMPLE_IMAGES = 48
MAX_SAMPLE_SIDE = 96
ROWS_AT_ONCE = 4096
"""Limits the memory that copies of the logits take."""


def kept_predictions(logits: Tensor, labels: Tensor) -> Predictions:
    """The most probable classes of logits `[N, K]` with their probabilities, beside the labels `[N]`."""
    integers = torch.uint16 if logits.shape[1] <= 2**16 else torch.uint32
    parts = [_most_probable(rows) for rows in logits.split(ROWS_AT_ONCE)]
    classes, probabilities = (torch.cat(part) for part in zip(*parts, strict=True))
    return Predictions(
        labels.cpu().to(integers).numpy(), classes.to(integers).numpy(), probabilities.to(torch.float16).numpy()
    )


def _most_probable(logits: Tensor) -> tuple[Tensor, Tensor]:
    """`[N, T]` classes, most probable first, and their probabilities, NaN in rows that are no valid logits."""
    answered = metrics.answered(logits)
    rest, classes = logits.clone(), []
    rest[~answered] = 0.0
    for _ in range(min(KEPT_CLASSES, logits.shape[1])):
        best = metrics.predictions(rest)
        best = torch.where(best == metrics.NO_PREDICTION, _first_not_in(classes, rest), best)
        classes.append(best)
        rest[torch.arange(len(rest)), best] = -torch.inf
    chosen = torch.stack(classes, dim=1)
    probabilities = logits.double().softmax(dim=1).gather(1, chosen)
    return chosen, torch.where(answered[:, None], probabilities, torch.nan)


def _first_not_in(classes: Sequence[Tensor], logits: Tensor) -> Tensor:
    """`[N]`, the lowest class of each row that is not among `classes`: all others have probability zero."""
    taken = torch.zeros_like(logits, dtype=torch.bool)
    for column in classes:
        taken[torch.arange(len(logits)), column] = True
    return taken.long().argmin(dim=1)


def disagreements(
    pairs: Sequence[tuple[Predictions, Predictions]], limit: int = MAX_SAMPLE_IMAGES
) -> NDArray[np.int64]:
    """The positions of up to `limit` images on which a student and its teacher predict different classes, ascending.

    pairs: predictions of students and their teachers on the same split. All pairs take turns, and so do three kinds:
    only the student is right, only the teacher is, neither is; each begins with the image on which the two are surest.
    """
    queues: list[list[int]] = []
    for student, teacher in pairs:
        differ = student.predicted != teacher.predicted
        both_sure = student.confidence.astype(np.float64) * teacher.confidence.astype(np.float64)
        surest_first = np.argsort(-np.nan_to_num(both_sure), kind="stable")
        for kind in (student.correct, teacher.correct, ~(student.correct | teacher.correct)):
            queues.append([int(place) for place in surest_first if differ[place] and kind[place]])
    chosen: dict[int, None] = {}
    for turn in range(limit):
        for queue in queues:
            if turn < len(queue) and len(chosen) < limit:
                chosen[queue[turn]] = None
    return np.array(sorted(chosen), dtype=np.int64)


def sample_images(split: Split, name: str, places: NDArray[np.int64]) -> SampleImages:
    """The images at positions `[M]` of a split, reduced to at most 96 pixels. name: of the split."""
    pixels = split.take(torch.from_numpy(places)).permute(0, 2, 3, 1).cpu().numpy()
    return SampleImages(name, places.astype(np.uint32), np.stack([_reduced(image) for image in pixels]))


def _reduced(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`[H, W, C]`, with its longer side reduced to at most 96 pixels."""
    height, width, channels = image.shape
    scale = MAX_SAMPLE_SIDE / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    by_channel = [Image.fromarray(image[:, :, c]).resize(size, Image.Resampling.BOX) for c in range(channels)]
    return np.stack([np.asarray(channel) for channel in by_channel], axis=2)
