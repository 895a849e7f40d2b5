"""What test-time augmentation gains and costs, as a table of its own: it is never a model's accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.recipes.test_time import AveragedViews

from .arms import Arm, Learner
from .comparisons import MIN_SEEDS
from .formatting import (
    DASH,
    SETS,
    cell,
    format_interval,
    format_number,
    format_signed,
    format_spread,
    markdown_table,
)
from .statistics import mean, paired_interval


def augmentation_table(arms: Sequence[Arm]) -> str:
    """Accuracy, multiply-adds and latency of each arm with test-time augmentation, beside those of the model alone."""
    measured = [(arm, learners) for arm in arms if (learners := _measured(arm))]
    if not measured:
        return ""
    rows = [
        [
            cell(arm.name),
            format_spread([100 * learner["test"]["top1"] for learner in learners]),
            format_spread([100 * learner["test_time"][arm.split]["top1"] for learner in learners]),
            _gain(arm, learners),
            _cost(learners, "multiply_adds", 1e-6),
            _cost(learners, "image_ms_median"),
            _cost(learners, "batch_ms_median"),
        ]
        for arm, learners in measured
    ]
    header = ["Arm", "Top-1 alone (%)", "Top-1 augmented (%)", "Gain (points) [95 % CI]", "Multiply-adds (M)"]
    table = markdown_table([*header, "Image latency (ms)", "Batch latency (ms)"], rows)
    first_arm, (first, *_) = measured[0]
    return f"{_explanation(first['test_time'], first_arm.split)}\n\n{table}"


def _explanation(test_time: Mapping[str, Any], split: str) -> str:
    views = AveragedViews.model_validate(test_time["options"])
    costs = "Costs: alone → augmented; latencies are medians. " if test_time.get("efficiency") else ""
    return (
        f"Probabilities averaged over {views.count} views of each image ({views.describe()}), on the {SETS[split]}. "
        f"All other sections show the models alone. {costs}"
        f"Intervals: over seeds (Student's t) from {MIN_SEEDS} seeds on, otherwise over images, for each seed."
    )


def _measured(arm: Arm) -> list[Learner]:
    return [
        learner
        for learner in arm.learners
        if (learner.get("test") or {}).get("top1") is not None and (learner.get("test_time") or {}).get(arm.split)
    ]


def _gain(arm: Arm, learners: Sequence[Learner]) -> str:
    """Over seeds where there are enough of them; else one gain a seed, with its interval over images."""
    gains = [100 * (learner["test_time"][arm.split]["top1"] - learner["test"]["top1"]) for learner in learners]
    if len(gains) >= MIN_SEEDS:
        return format_interval(paired_interval(gains))
    texts: list[str] = []
    for gain, learner in zip(gains, learners, strict=True):
        found = learner["test_time"]["gain"].get(arm.split)
        bounds = [format_signed(100 * found[bound]) for bound in ("low", "high")] if found else []
        texts.append(format_signed(gain) + (f" [{', '.join(bounds)}]" if bounds else ""))
    return f"{'; '.join(texts)} (n = {len(gains)})"


def _cost(learners: Sequence[Learner], metric: str, scale: float = 1.0) -> str:
    pairs = [
        (alone[metric] * scale, augmented[metric] * scale)
        for learner in learners
        if (augmented := learner["test_time"].get("efficiency"))
        and (alone := learner["test_time"].get("efficiency_alone") or learner.get("efficiency"))
    ]
    return " → ".join(format_number(mean(values)) for values in zip(*pairs, strict=True)) or DASH
