"""The tables of the page, each from the arms alone; empty text where there is nothing to show."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .arms import Arm, efficiency_scores, standing
from .statistics import format_interval, format_number, format_spread, mean
from .table import DASH, cell, duration, markdown_table

WORST_CLASSES = 10
ARMS_BY_CLASS = 6


def accuracy_table(arms: Sequence[Arm]) -> str:
    """Test accuracy, loss and calibration of every arm; balanced accuracy where classes are uneven."""

    def spread(metric: str, scale: float = 100.0, digits: int = 2) -> Callable[[Arm], str]:
        return lambda arm: format_spread(arm.values("test", metric, scale), digits)

    columns: dict[str, Callable[[Arm], str]] = {"Top-1 %": spread("top1"), "Top-5 %": spread("top5")}
    if _classes_are_uneven(arms):
        columns["Balanced %"] = spread("balanced_accuracy")
    columns |= {"Loss": spread("loss", 1.0, 3), "ECE %": spread("expected_calibration_error")}
    rows = [[cell(arm.name), cell(arm.model), *(column(arm) for column in columns.values())] for arm in arms]
    return markdown_table(["Arm", "Model", *columns], rows) if arms else ""


def _classes_are_uneven(arms: Sequence[Arm]) -> bool:
    """With as many images of every class, balanced accuracy is accuracy and needs no column."""
    for arm in arms:
        plain, balanced = arm.of_seed("test", "top1"), arm.of_seed("test", "balanced_accuracy")
        if any(abs(plain[seed] - balanced[seed]) > 1e-6 for seed in plain if seed in balanced):
            return True
    return False


def standing_table(arms: Sequence[Arm]) -> str:
    """Agreement, gap, retention and gain of the arms that have a teacher or a baseline.

    Knowledge-transfer efficiency has a column where some arm's baseline was taught by another teacher.
    """
    rows: list[list[str]] = []
    places = [standing(arm, arms) for arm in arms]
    two_teachers = any(place.transfer is not None for place in places)
    for arm, place in zip(arms, places, strict=True):
        if not (arm.teachers or place.baseline):
            continue
        rows.append(
            [
                cell(arm.name),
                cell(", ".join(arm.teachers)) or DASH,
                format_spread(arm.values("test", "agreement", 100)),
                format_spread(arm.values("test", "kl_to_reference"), 3),
                format_spread(place.gap),
                format_spread(place.retention),
                cell(place.baseline.name) if place.baseline else DASH,
                format_interval(place.gain) if place.gain else DASH,
                *([DASH if place.transfer is None else format_number(place.transfer, 1)] if two_teachers else ()),
            ]
        )
    header = ["Arm", "Teacher", "Agreement %", "KL to teacher", "Gap (points)", "Retention %", "Baseline"]
    header += ["Gain (points, 95 % interval)", *(["Transfer %"] if two_teachers else ())]
    return markdown_table(header, rows) if rows else ""


def cost_table(arms: Sequence[Arm]) -> str:
    """Size, arithmetic and time of every arm that was measured."""

    def number(arm: Arm, metric: str, digits: int) -> str:
        value = arm.average("efficiency", metric)
        return DASH if value is None else format_number(value, digits)

    def pair(arm: Arm, median: str, p95: str) -> str:
        own = number(arm, median, 2)
        return own if own == DASH else f"{own} / {number(arm, p95, 2)}"

    measured = [arm for arm in arms if arm.values("efficiency", "parameters")]
    rows: list[list[str]] = []
    for arm in measured:
        ratio, scores = standing(arm, arms).compression, efficiency_scores(arm)
        multiply_adds = arm.average("efficiency", "multiply_adds")
        rows.append(
            [
                cell(arm.name),
                number(arm, "parameters", 0),
                number(arm, "megabytes", 2),
                DASH if multiply_adds is None else format_number(multiply_adds / 1e6, 2),
                pair(arm, "image_ms_median", "image_ms_p95"),
                pair(arm, "batch_ms_median", "batch_ms_p95"),
                format_number(mean(scores), 3) if scores else DASH,
                DASH if ratio is None else f"{ratio:,.1f} ×",
            ]
        )
    header = ["Arm", "Parameters", "MB", "Multiply-adds (M)", "Image, ms (median / p95)"]
    header += ["Batch, ms (median / p95)", "Score", "Compression"]
    return markdown_table(header, rows) if rows else ""


def class_table(arms: Sequence[Arm], class_names: Sequence[str]) -> str:
    """The classes on which the first distilled arm does worst, beside up to five other arms."""
    by_class = {arm.name: _class_means(arm) for arm in arms}
    measured = [arm for arm in arms if by_class[arm.name]]
    if not measured:
        return ""
    focus = next((arm for arm in measured if arm.role != "teacher" and arm.teachers), measured[-1])
    others = [arm for arm in measured if arm is not focus and arm.role == "teacher"]
    others += [arm for arm in measured if arm is not focus and arm.role != "teacher"]
    shown = [focus, *others[: ARMS_BY_CLASS - 1]]
    worst = sorted(by_class[focus.name], key=lambda number: (by_class[focus.name][number], number))[:WORST_CLASSES]
    rows = [
        [
            cell(class_names[number]) if number < len(class_names) else f"class {number}",
            *(format_number(100 * by_class[arm.name].get(number, float("nan")), 1) for arm in shown),
        ]
        for number in worst
    ]
    total = len(by_class[focus.name])
    student = f"**{cell(focus.name)}**"
    which = f"The {len(worst)} of {total} classes on which {student} does worst"
    if total <= len(worst):
        which = f"All {total} classes, those on which {student} does worst first"
    table = markdown_table(["Class", *(cell(arm.name) for arm in shown)], rows)
    return f"{which}; accuracy in percent, mean over seeds.\n\n{table}"


def _class_means(arm: Arm) -> dict[int, float]:
    gathered: dict[int, list[float]] = {}
    for learner in arm.learners:
        for number, value in enumerate((learner.get("test") or {}).get("per_class") or ()):
            if value is not None:
                gathered.setdefault(number, []).append(value)
    return {number: mean(values) for number, values in gathered.items()}


def run_table(arms: Sequence[Arm]) -> str:
    """One line a learner: what was chosen on validation, and what that gave on test."""
    parts = list(dict.fromkeys(["validation", *(arm.split for arm in arms)]))
    rows: list[list[str]] = []
    for arm in arms:
        for learner in arm.learners:
            accuracies = [(learner.get(part) or {}).get("top1") for part in parts]
            seconds = learner.get("wall_seconds")
            rows.append(
                [
                    cell(arm.name),
                    str(learner["seed"]),
                    _or_dash(learner.get("epochs_run")),
                    _or_dash(learner.get("chosen_epoch")),
                    *(DASH if value is None else format_number(100 * value) for value in accuracies),
                    DASH if seconds is None else duration(seconds),
                    "ended early: loss not finite" if learner.get("failure") else DASH,
                ]
            )
    header = [
        "Arm",
        "Seed",
        "Epochs run",
        "Chosen epoch",
        *(f"{part.capitalize()} top-1 %" for part in parts),
        "Time",
        "Remark",
    ]
    return markdown_table(header, rows) if rows else ""


def _or_dash(value: object) -> str:
    return DASH if value is None else str(value)
