"""A saved model, measured on a data set of the caller's choice."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from limbeck.evaluation.efficiency import measure
from limbeck.evaluation.evaluate import evaluate_logits, logits_of
from limbeck.evaluation.metrics import accuracy
from limbeck.evaluation.paired import paired_difference
from limbeck.report.statistics import format_signed
from limbeck.runs.errors import LimbeckError, did_you_mean
from limbeck.runs.recipe import Data
from limbeck.runs.yaml_file import parse
from limbeck.types import Split

from .assemble import in_order_of_data
from .images import load_images
from .saved_model import LoadedModel, load

SPLITS = ("train", "validation", "test")


def measure_saved(
    folder: Path, source: str, options: Sequence[str], split: str, *, against: Path | None = None
) -> list[tuple[str, str]]:
    """Pairs of a measure and its value, as text.

    against: another saved model, which answers the same images.

    Raises LimbeckError where a model's classes are not the data's, naming both.
    """
    if split not in SPLITS:
        raise LimbeckError(f"--split: takes {', '.join(SPLITS)}; got {split!r}{did_you_mean(split, SPLITS)}")
    values = {}
    for option in options:
        key, equals, text = option.partition("=")
        if not equals:
            raise LimbeckError(f"{option!r}: an option is key=value, as in image_size=64")
        values[key] = parse(text, f"command line: {key}")[0]
    saved, other = load(folder), load(against) if against else None
    images = load_images(Data(source=source, **values))
    part = getattr(images, split)
    saved = _as_the_data(saved, folder, images.class_names)
    logits = logits_of(saved, part)
    found = evaluate_logits(logits, part, num_classes=len(images.class_names))
    cost = measure(saved.model, (images.shape[0], saved.image_size, saved.image_size))
    top5 = [("top-5", f"{found.top5:.2%}")] if found.top5 is not None else []
    return [
        ("images", f"{found.n:,} ({split} split of {images.name})"),
        ("top-1", f"{found.top1:.2%}"),
        *top5,
        ("balanced accuracy", f"{found.balanced_accuracy:.2%}"),
        ("loss", f"{found.loss:.4f}"),
        ("expected calibration error", f"{found.expected_calibration_error:.4f}"),
        ("parameters", f"{cost.parameters:,}"),
        ("size", f"{cost.megabytes:.2f} MB"),
        ("multiply-adds", f"{cost.multiply_adds / 1e6:.1f} M"),
        ("latency, one image", f"{cost.image_ms_median:.2f} ms (p95 {cost.image_ms_p95:.2f})"),
        (f"latency, {cost.batch_size} images", f"{cost.batch_ms_median:.2f} ms (p95 {cost.batch_ms_p95:.2f})"),
        *(
            _compared(logits, _as_the_data(other, against, images.class_names), against, part)
            if other and against
            else ()
        ),
    ]


def _as_the_data(saved: LoadedModel, folder: Path, class_names: Sequence[str]) -> LoadedModel:
    ordered = in_order_of_data(saved.model, str(folder), saved.class_names, class_names)
    return dataclasses.replace(saved, model=ordered, class_names=tuple(class_names))


def _compared(logits: Tensor, other: LoadedModel, folder: Path, part: Split) -> list[tuple[str, str]]:
    labels, theirs = part.labels.cpu().long(), logits_of(other, part)
    found = paired_difference(logits, theirs, labels)
    low, high = (format_signed(100 * bound) for bound in (found.low, found.high))
    return [
        ("against", str(folder)),
        ("its top-1", f"{accuracy(theirs, labels):.2%}"),
        ("difference", f"{format_signed(100 * found.difference)} points, 95 % {low} to {high} over images like these"),
        ("right alone", f"{found.only_first:,} images, the other {found.only_second:,}"),
        ("same answer", f"{found.agreement:.2%}"),
    ]
