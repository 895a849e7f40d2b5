"""Evaluate a predictor, which is any function from images to logits: a student, a teacher or an exported model."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.types import Predict, Split

from . import metrics

if TYPE_CHECKING:
    from .test_time import AveragedEvaluation

MAX_MATRIX_CLASSES = 200


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a predictor on one split. Accuracies, agreement and calibration error are fractions in [0, 1].

    n: the number of images.
    unanswered: number of images whose logits are NaN or infinite; they count as wrong.
    top5: None for five classes or fewer.
    loss: mean cross-entropy with the labels, in nats; NaN if any image is unanswered.
    per_class: accuracy of each class; None for a class without images.
    agreement, kl_to_reference: fraction of images with the same top class as the reference, and mean
        KL(reference || predictor) in nats; None without a reference.
    confusion: (class, predicted class, images) of every pair that occurs, in order.
    test_time: the evaluation with test-time augmentation, if requested: its own `evaluation`, its `gain` over this one,
        and its number of `views`. All other fields describe the predictor without augmentation.
    """

    n: int
    unanswered: int
    top1: float
    top5: float | None
    loss: float
    expected_calibration_error: float
    balanced_accuracy: float
    per_class: tuple[float | None, ...]
    agreement: float | None = None
    kl_to_reference: float | None = None
    confusion: tuple[tuple[int, int, int], ...] = field(default=(), repr=False)
    test_time: AveragedEvaluation | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; a number that is not finite becomes None.

        `confusion` becomes a matrix with a row for each class and a column for each predicted class. With more than 200
        classes it stays a list of the pairs that occur. `test_time` is left out unless it was requested.
        """
        plain = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in dataclasses.asdict(dataclasses.replace(self, test_time=None)).items()
            if name != "test_time"
        }
        plain |= {"per_class": list(self.per_class), "confusion": self._confusion()}
        return plain | ({"test_time": self.test_time.to_dict()} if self.test_time else {})

    def _confusion(self) -> list[list[int]]:
        classes = len(self.per_class)
        if classes > MAX_MATRIX_CLASSES:
            return [list(pair) for pair in self.confusion]
        matrix = [[0] * classes for _ in range(classes)]
        for true, answered, images in self.confusion:
            matrix[true][answered] = images
        return matrix


def evaluate(
    predict: Predict,
    split: Split,
    *,
    num_classes: int,
    batch_size: int = 250,
    reference: Predict | Tensor | None = None,
) -> Evaluation:
    """Compute every metric of `predict` on `split`, in the order of the split, without gradients.

    predict: maps uint8 images `[B, C, H, W]` to logits `[B, num_classes]`. It normalises, resizes and moves the images
        itself.
    reference: the teacher, as a predictor or as its logits `[N, num_classes]` on the same images.

    Raises LimbeckError for an empty split, labels outside the classes, and logits of the wrong shape.
    """
    check_labels(split, num_classes)
    logits = logits_of(predict, split, batch_size)
    if reference is not None and not isinstance(reference, Tensor):
        reference = logits_of(reference, split, batch_size)
    return evaluate_logits(logits, split, num_classes=num_classes, reference=reference)


def evaluate_logits(logits: Tensor, split: Split, *, num_classes: int, reference: Tensor | None = None) -> Evaluation:
    """Compute every metric from existing logits. logits, reference: `[N, num_classes]`, in the order of the split."""
    check_labels(split, num_classes)
    _check_logits(logits, split, num_classes, "the predictor")
    told = None if reference is None else reference.detach().cpu()
    if told is not None:
        _check_logits(told, split, num_classes, "the reference")
    labels = split.labels.cpu().long()
    return Evaluation(
        n=len(split),
        unanswered=int((~metrics.answered(logits)).sum()),
        top1=metrics.accuracy(logits, labels),
        top5=metrics.accuracy(logits, labels, 5) if num_classes > 5 else None,
        loss=metrics.cross_entropy(logits, labels),
        expected_calibration_error=metrics.expected_calibration_error(logits, labels),
        balanced_accuracy=metrics.balanced_accuracy(logits, labels),
        per_class=tuple(metrics.per_class(logits, labels)),
        agreement=None if told is None else metrics.agreement(logits, told),
        kl_to_reference=None if told is None else metrics.kl_divergence(told, logits),
        confusion=tuple(metrics.confusion(logits, labels)),
    )


@torch.inference_mode()
def logits_of(predict: Predict, split: Split, batch_size: int = 250) -> Tensor:
    """Logits `[N, K]` of a whole split on the CPU, float32 (float64 stays float64).

    Raises LimbeckError if the split is empty or the predictor does not return `[B, K]`.
    """
    if batch_size < 1:
        raise LimbeckError(f"batch_size must be at least 1; got {batch_size}")
    _check_not_empty(split)
    count = len(split.stored) if split.rows is None else len(split.rows)
    if count != len(split):
        raise LimbeckError(f"a split has {count} images but {len(split)} labels")
    logits: Tensor | None = None
    done = 0
    for images in split.batches(batch_size):
        answer = checked_answer(predict(images), images)
        wide = torch.float64 in (answer.dtype, None if logits is None else logits.dtype)
        dtype = torch.float64 if wide else torch.float32
        if logits is None:
            logits = torch.empty(count, answer.shape[1], dtype=dtype)  # concatenating at the end would need it twice
        if answer.shape[1] != logits.shape[1]:
            raise LimbeckError("a predictor must return the same number of logits for every batch")
        logits = logits.to(dtype)
        logits[done : done + len(answer)] = answer
        done += len(answer)
    assert logits is not None
    return logits


def checked_answer(answer: Any, images: Tensor) -> Tensor:
    """What a predictor answered to some images, if these are logits `[B, K]`. Raises LimbeckError otherwise."""
    if not isinstance(answer, Tensor):
        kind = type(answer).__name__
        raise LimbeckError(f"a predictor must return a tensor of logits [B, K]; it returned {kind}")
    if answer.ndim != 2 or len(answer) != len(images) or not answer.is_floating_point():
        raise LimbeckError(
            f"a predictor must return floating-point logits [B, K]; for {len(images)} images it returned "
            f"{list(answer.shape)} of {str(answer.dtype).removeprefix('torch.')}"
        )
    return answer


def _check_not_empty(split: Split) -> None:
    if len(split) == 0:
        raise LimbeckError("there are no images to evaluate on: the split is empty")


def check_labels(split: Split, num_classes: int) -> None:
    """Raises LimbeckError for an empty split, and for labels outside the classes."""
    _check_not_empty(split)
    low, high = int(split.labels.min()), int(split.labels.max())
    if low < 0 or high >= num_classes:
        wrong = low if low < 0 else high
        raise LimbeckError(f"label {wrong} is outside the {num_classes} classes (0 to {num_classes - 1})")


def _check_logits(logits: Tensor, split: Split, num_classes: int, who: str) -> None:
    wanted = [len(split), num_classes]
    if list(logits.shape) != wanted or not logits.is_floating_point():
        raise LimbeckError(
            f"{who} returns logits {list(logits.shape)}; "
            f"expected floating-point {wanted} for {wanted[0]} images and {wanted[1]} classes"
        )
