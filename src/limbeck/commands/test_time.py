"""`--test-time` of `limbeck evaluate` and `limbeck predict`: its words, and the lines about what it gains and costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from limbeck.building.arguments import checked_test_time
from limbeck.building.saved_model import LoadedModel
from limbeck.errors import LimbeckError, nearest, printable
from limbeck.evaluation.efficiency import Efficiency
from limbeck.evaluation.test_time import check_shifts, evaluate_averaged, measure_averaged
from limbeck.recipes.test_time import AveragedViews
from limbeck.recipes.yaml_file import parse
from limbeck.report.formatting import format_signed
from limbeck.training.teacher import as_outputs
from limbeck.types import Split

TAKES = "takes flip, shifts=PIXELS and scales=0.9,1.1, each with --test-time before it"


def views_of_words(words: Sequence[str], image_shape: Sequence[int]) -> AveragedViews | None:
    """The options that words such as `flip`, `shifts=2` and `scales=0.9,1.1` stand for; None without any.

    image_shape: `(C, H, W)` of the images that will be moved. Raises LimbeckError that names the word.
    """
    options: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if key not in AveragedViews.model_fields:
            near = nearest(key, AveragedViews.model_fields)
            hint = f"did you mean {near[0]!r}?" if near else TAKES
            raise LimbeckError(printable(f"--test-time: there is no {key!r}; {hint}"))
        if key in options:
            raise LimbeckError(f"--test-time: {key} is given twice")
        if not equals and key != "flip":
            raise LimbeckError(f"--test-time: {key} needs a value; {TAKES}")
        if key == "scales" and not text.lstrip().startswith("["):
            text = f"[{text}]"
        options[key] = parse(text, f"--test-time: {key}")[0] if equals else True
    if not options:
        return None
    views = checked_test_time(options, "--test-time")
    check_shifts(views, image_shape, where="--test-time: shifts")
    return views


def gain_and_cost(
    model: LoadedModel, own: Tensor, cost: Efficiency, images: Split, views: AveragedViews
) -> list[tuple[str, str]]:
    """What test-time augmentation gains and costs. own: logits `[N, K]` of the model alone. cost: of it alone."""
    found = evaluate_averaged(model, images, views, own, num_classes=own.shape[1])
    gain = found.gain
    low, high = (format_signed(100 * bound) for bound in (gain.low, gain.high))
    averaged = measure_averaged(
        model.model, lambda out: as_outputs(out).logits, model.input_shape, views, batch_size=cost.batch_size
    )

    def beside(alone: float, with_views: float, digits: int, unit: str) -> str:
        return f"{alone:,.{digits}f} {unit} -> {with_views:,.{digits}f} {unit}"

    disturbed = [("  latency note", "the machine was busy: too high, measure again")] if averaged.disturbed else []
    return [
        ("test-time augmentation", f"{views.describe()}: {views.count} views, probabilities averaged"),
        ("  top-1 with it", f"{found.evaluation.top1:.2%}"),
        (
            "  gain",
            f"{format_signed(100 * gain.difference)} points (95 % confidence interval {low} to {high}, over images)",
        ),
        ("  multiply-adds", beside(cost.multiply_adds / 1e6, averaged.multiply_adds / 1e6, 1, "M")),
        ("  latency, one image", beside(cost.image_ms_median, averaged.image_ms_median, 2, "ms")),
        (f"  latency, {cost.batch_size} images", beside(cost.batch_ms_median, averaged.batch_ms_median, 2, "ms")),
        *disturbed,
    ]
