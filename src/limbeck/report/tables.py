"""The tables of the page, each from the arms alone; empty text where there is nothing to show."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .arms import Arm, Learner
from .comparisons import efficiency_scores, standing
from .ensembles import ENSEMBLE, agreement_of_members, with_ensembles
from .formatting import DASH, cell, duration, markdown_table
from .statistics import format_interval, format_number, format_spread, mean

WORST_CLASSES = 10
ARMS_BY_CLASS = 6
MOST_PAIRS = 8


def accuracy_table(arms: Sequence[Arm]) -> str:
    """Test accuracy, loss and calibration of every arm; balanced accuracy where classes are uneven."""

    def spread(metric: str, scale: float = 100.0, digits: int = 2) -> Callable[[Arm], str]:
        return lambda arm: format_spread(arm.values("test", metric, scale), digits)

    columns: dict[str, Callable[[Arm], str]] = {"Top-1 %": spread("top1"), "Top-5 %": spread("top5")}
    if _classes_are_uneven(arms):
        columns["Balanced %"] = spread("balanced_accuracy")
    columns |= {"Loss": spread("loss", 1.0, 3), "ECE %": spread("expected_calibration_error")}
    rows = [
        [cell(arm.name), cell(arm.model), *(column(arm) for column in columns.values())] for arm in with_ensembles(arms)
    ]
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
        own, slow = number(arm, median, 2), number(arm, p95, 2)
        return own if slow == DASH else f"{own} / {slow}"

    measured = [arm for arm in with_ensembles(arms) if arm.values("efficiency", "parameters")]
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


def ensemble_table(arms: Sequence[Arm]) -> str:
    """Teachers that are heard together: how good they are alone and together, and how often two of them agree."""
    rows: list[list[str]] = []
    for together in with_ensembles(arms):
        if together.role != ENSEMBLE:
            continue
        members = [arm for arm in arms if arm.name in together.members]
        best = max(members, key=lambda arm: arm.average("test", "top1") or 0.0)
        rows.append(
            [
                cell(together.name),
                format_spread(together.values("test", "top1", 100)),
                f"{format_spread(best.values('test', 'top1', 100))}, {cell(best.name)}",
                format_spread(agreement_of_members(together)),
            ]
        )
    return markdown_table(["Ensemble", "Top-1 %", "Its best member", "Members agree %"], rows) if rows else ""


def confusion_table(arms: Sequence[Arm], class_names: Sequence[str]) -> str:
    """What the first distilled arm takes for what, the most frequent first; images of all its seeds together."""
    focus = next((arm for arm in arms if arm.role != "teacher" and arm.teachers and arm.confusion), None)
    if focus is None:
        return ""
    counts = focus.confusion
    images: dict[int, int] = {}
    for (true, _), count in counts.items():
        images[true] = images.get(true, 0) + count
    wrong = {pair: count for pair, count in counts.items() if pair[0] != pair[1]}
    if not wrong:
        return ""
    pairs = sorted(wrong, key=lambda pair: (-wrong[pair], pair))[:MOST_PAIRS]
    seeds = sum(1 for learner in focus.learners if learner.get("test"))

    def named(number: int) -> str:
        return cell(class_names[number]) if number < len(class_names) else f"class {number}"

    rows = [
        [
            named(true),
            named(taken),
            format_number(wrong[true, taken] / seeds, 0 if seeds == 1 else 1),
            format_number(100 * wrong[true, taken] / images[true], 1),
        ]
        for true, taken in pairs
    ]
    table = markdown_table(["Class", "Taken for", "Images", "% of its images"], rows)
    return f"Of **{cell(focus.name)}** on the {focus.split} split{', mean over seeds' if seeds > 1 else ''}.\n\n{table}"


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
            rows.append(
                [
                    cell(arm.name),
                    str(learner["seed"]),
                    _or_dash(learner.get("epochs_run")),
                    _or_dash(learner.get("chosen_epoch")),
                    *(DASH if value is None else format_number(100 * value) for value in accuracies),
                    _training(learner),
                    "ended early: loss not finite" if learner.get("failure") else DASH,
                ]
            )
    header = [
        "Arm",
        "Seed",
        "Epochs run",
        "Chosen epoch",
        *(f"{part.capitalize()} top-1 %" for part in parts),
        "Training of its cohort",
        "Remark",
    ]
    return markdown_table(header, rows) if rows else ""


def _training(learner: Learner) -> str:
    """How long the learners of a cohort, which share every step's view, were taught together."""
    seconds, learners = learner.get("cohort_seconds"), learner.get("cohort_learners")
    if seconds is None:
        return DASH
    return f"{duration(seconds)}, {learners} learner{'s' if learners != 1 else ''}"


def _or_dash(value: object) -> str:
    return DASH if value is None else str(value)
