"""Test-time augmentation: a predictor that averages its probabilities over several views of each image.

It works on any function from images to logits: a student, a teacher, an ensemble, a session of an exported file. What
it gains and what it costs stand beside the model's own numbers, and never take their place.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from limbeck.errors import LimbeckError
from limbeck.recipes.test_time import AveragedViews
from limbeck.types import Predict, Split

from .efficiency import Efficiency, measure, multiply_adds
from .evaluate import Evaluation, check_labels, checked_answer, evaluate, evaluate_logits, logits_of
from .paired import PairedDifference, paired_difference

STEPS = 4096
"""Weights of the resampling are multiples of 1/STEPS. Their products with grey levels, and the sums of these, are then
exact in float32, so that no view depends on the batch size or the number of threads."""


class ImageView(NamedTuple):
    """One way to see an image. down, right: pixels by which its content moves, negative for up and left."""

    scale: float = 1.0
    down: int = 0
    right: int = 0
    flip: bool = False

    def of(self, images: Tensor) -> Tensor:
        """The view of images `[B, C, H, W]`, of the same shape and type: scaled, moved, then mirrored."""
        if self.scale != 1:
            images = zoom(images, self.scale)
        if self.down or self.right:
            images = shift(images, self.down, self.right)
        return images.flip(3) if self.flip else images


def views_of(options: AveragedViews) -> tuple[ImageView, ...]:
    """Every combination of the options, `options.count` views; the first is the unchanged image."""
    pixels = options.shifts
    moves = [(0, 0), *([(0, -pixels), (0, pixels), (-pixels, 0), (pixels, 0)] if pixels else [])]
    flips = (False, True) if options.flip else (False,)
    combinations = itertools.product((1.0, *options.scales), moves, flips)
    return tuple(ImageView(scale, down, right, flip) for scale, (down, right), flip in combinations)


def shift(images: Tensor, down: int, right: int) -> Tensor:
    """Move the content of images `[B, C, H, W]` by whole pixels; the border is black, as of random crops."""
    height, width = images.shape[2:]
    reach = max(abs(down), abs(right))
    padded = functional.pad(images, (reach, reach, reach, reach))
    return padded[:, :, reach - down : reach - down + height, reach - right : reach - right + width]


def zoom(images: Tensor, scale: float) -> Tensor:
    """Enlarge or shrink the content of images `[B, C, H, W]` about the centre; their size stays, the border is black.

    Linear interpolation, antialiased where it shrinks. uint8 images are rounded after each axis, so that the mirror
    image of a zoomed image is the zoomed mirror image, bit for bit.
    """
    height, width = images.shape[2:]
    pixels = images.float()
    for side, along_rows in ((width, True), (height, False)):
        weights = _resampling(side, scale).to(pixels.device)
        pixels = pixels @ weights.T if along_rows else weights @ pixels
        if images.dtype == torch.uint8:
            pixels = pixels.round_()
    return pixels.to(images.dtype)


@functools.lru_cache(maxsize=64)
def _resampling(side: int, scale: float) -> Tensor:
    """What each pixel of a row counts for each pixel of the zoomed row, `[side, side]`; nobody may write to it."""
    with torch.inference_mode(False):  # an ordinary tensor, whoever asks first
        reach = max(1.0, 1 / scale)
        margin = math.ceil(side / scale) + 2  # black pixels that a shrunken row may reach
        places = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
        sources = torch.arange(-margin, side + margin, dtype=torch.float64) - (side - 1) / 2
        weights = (1 - (places[:, None] / scale - sources).abs() / reach).clamp_min(0)
        weights = (weights / weights.sum(dim=1, keepdim=True))[:, margin:-margin]
        symmetric = (weights + weights.flip(0, 1)) / 2
        return ((symmetric * STEPS).round() / STEPS).float()


def averaged(predict: Predict, options: AveragedViews) -> Predict:
    """`predict`, asked for every view of each image: the logarithm of its averaged probabilities `[B, K]`.

    These are logits like any others: their softmax are the averaged probabilities. `predict` is called once for each
    view, with a whole batch. Averages are of float64 probabilities (float32 where the device has no others). An image
    of which one view has logits that are not finite gets NaN, and counts as unanswered.

    Raises LimbeckError for shifts that move the whole image out of sight, and answers that are no logits.
    """
    answer = _averaged(predict, views_of(options))

    def checked(images: Tensor) -> Tensor:
        if not isinstance(images, Tensor):
            raise LimbeckError(f"test-time augmentation takes images [B, C, H, W]; got {type(images).__name__}")
        check_shifts(options, images.shape)
        return answer(images)

    return checked


def _averaged(predict: Predict, views: Sequence[ImageView]) -> Predict:
    def answer(images: Tensor) -> Tensor:
        total: Tensor | None = None
        wide = False
        for view in views:
            logits = checked_answer(predict(view.of(images)), images)
            wide = logits.dtype == torch.float64
            own = logits.to(torch.float32 if logits.device.type == "mps" else torch.float64).log_softmax(dim=1)
            if total is not None and own.shape != total.shape:
                raise LimbeckError("a predictor must return the same number of logits for every view")
            total = own if total is None else torch.logaddexp(total, own)
        assert total is not None
        return (total - math.log(len(views))).to(torch.float64 if wide else torch.float32)

    return answer


def check_shifts(options: AveragedViews, shape: Sequence[int], where: str = "test_time.shifts") -> None:
    """Raises LimbeckError where a shift moves whole images of a shape `[…, C, H, W]` out of sight."""
    if len(shape) < 3:
        raise LimbeckError(f"test-time augmentation takes images [B, C, H, W]; got {list(shape)}")
    *_, height, width = shape
    if options.shifts >= min(height, width):
        raise LimbeckError(
            f"{where}: a shift of {options.shifts} px leaves nothing of images of {height} x {width} px; "
            f"takes at most {min(height, width) - 1}"
        )


@dataclass(frozen=True)
class AveragedEvaluation:
    """A predictor with test-time augmentation on one split, beside the same predictor without it.

    options: the views, and their number. evaluation: of the averaged probabilities. gain: over the predictor's own
    answers to the same images, with its interval.
    """

    options: AveragedViews
    evaluation: Evaluation
    gain: PairedDifference

    @property
    def views(self) -> int:
        """Forward passes for each image, one a view."""
        return self.options.count

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "options": self.options.model_dump(mode="json"),
            "views": self.views,
            "evaluation": self.evaluation.to_dict(),
            "gain": dataclasses.asdict(self.gain) | {"difference": self.gain.difference},
        }


def evaluate_with_test_time(
    predict: Predict, split: Split, options: AveragedViews | None, *, num_classes: int, batch_size: int = 250
) -> Evaluation:
    """`evaluate.evaluate` of a predictor as it is, with `test_time` where there are options."""
    if options is None:
        return evaluate(predict, split, num_classes=num_classes, batch_size=batch_size)
    check_labels(split, num_classes)
    check_shifts(options, split.stored.shape)
    own = logits_of(predict, split, batch_size)
    found = evaluate_logits(own, split, num_classes=num_classes)
    test_time = evaluate_averaged(predict, split, options, own, num_classes=num_classes, batch_size=batch_size)
    return dataclasses.replace(found, test_time=test_time)


def evaluate_averaged(
    predict: Predict, split: Split, options: AveragedViews, own: Tensor, *, num_classes: int, batch_size: int = 250
) -> AveragedEvaluation:
    """Evaluate `predict` with test-time augmentation. own: its logits `[N, K]` without, in the split's order."""
    logits = logits_of(averaged(predict, options), split, batch_size)
    return AveragedEvaluation(
        options,
        evaluate_logits(logits, split, num_classes=num_classes),
        paired_difference(logits, own, split.labels.cpu().long()),
    )


def measure_averaged(
    model: nn.Module,
    logits_in: Callable[[Any], Tensor],
    image_shape: tuple[int, int, int],
    options: AveragedViews,
    *,
    batch_size: int = 128,
) -> Efficiency:
    """What a model costs with test-time augmentation, measured as `efficiency.measure` does without.

    logits_in: takes the logits `[B, K]` from what the model answers. Making the views and averaging is in the times.
    Multiply-adds are those of the model's forward passes.
    """
    found = measure(_Averaged(model, logits_in, options), image_shape, batch_size=batch_size)
    return dataclasses.replace(found, multiply_adds=options.count * multiply_adds(model, image_shape))


class _Averaged(nn.Module):
    def __init__(self, model: nn.Module, logits_in: Callable[[Any], Tensor], options: AveragedViews) -> None:
        super().__init__()
        self.model = model
        self.answer = _averaged(lambda pixels: logits_in(self.model(pixels)), views_of(options))

    def forward(self, pixels: Tensor) -> Tensor:
        """The logarithm of the averaged probabilities of prepared pixels."""
        return self.answer(pixels)
