"""The tables of the report, in Markdown; empty if there is nothing to show."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .arms import ENSEMBLE, Arm, Learner, agreement_of_members, with_ensembles
from .comparisons import compare, efficiency_scores
from .formatting import (
    DASH,
    SETS,
    cell,
    duration,
    format_interval,
    format_number,
    format_optional,
    format_spread,
    markdown_table,
)
from .statistics import mean

WORST_CLASSES = 10
MAX_ARMS_BY_CLASS = 6
MAX_CONFUSIONS = 8


def accuracy_table(arms: Sequence[Arm]) -> str:
    """Accuracy, loss and calibration of each arm; with balanced accuracy if the classes differ in size."""

    def spread(metric: str, scale: float = 100.0, digits: int = 2) -> Callable[[Arm], str]:
        return lambda arm: format_spread(arm.values("test", metric, scale), digits)

    columns: dict[str, Callable[[Arm], str]] = {"Top-1 (%)": spread("top1"), "Top-5 (%)": spread("top5")}
    if _classes_are_uneven(arms):
        columns["Balanced accuracy (%)"] = spread("balanced_accuracy")
    columns |= {"Loss": spread("loss", 1.0, 3), "ECE (%)": spread("expected_calibration_error")}
    rows = [
        [cell(arm.name), cell(arm.model), *(column(arm) for column in columns.values())] for arm in with_ensembles(arms)
    ]
    return markdown_table(["Arm", "Model", *columns], rows)


def _classes_are_uneven(arms: Sequence[Arm]) -> bool:
    """Whether classes differ in size: if they do not, balanced accuracy equals accuracy."""
    for arm in arms:
        plain, balanced = arm.by_seed("test", "top1"), arm.by_seed("test", "balanced_accuracy")
        if any(abs(plain[seed] - balanced[seed]) > 1e-6 for seed in plain if seed in balanced):
            return True
    return False


def comparison_table(arms: Sequence[Arm]) -> str:
    """Agreement, gap, retention and gain of the arms that have a teacher or a baseline.

    With a column for knowledge-transfer efficiency if some arm's baseline has another teacher than the arm.
    """
    rows = [
        [
            cell(arm.name),
            cell(", ".join(arm.teacher_labels)) or DASH,
            format_spread(arm.values("test", "agreement", 100)),
            format_spread(arm.values("test", "kl_to_reference"), 3),
            format_spread(comparison.gap),
            format_spread(comparison.retention),
            cell(comparison.baseline.name) if comparison.baseline else DASH,
            format_interval(comparison.gain) if comparison.gain else DASH,
            format_optional(comparison.transfer, 1),
        ]
        for arm in arms
        if (comparison := compare(arm, arms)).baseline or arm.teachers
    ]
    header = ["Arm", "Teacher", "Agreement (%)", "KL to teacher", "Gap (points)", "Retention (%)", "Baseline"]
    return markdown_table([*header, "Gain (points) [95 % CI]", "Transfer (%)"], rows)


def cost_table(arms: Sequence[Arm]) -> str:
    """Size, multiply-adds and latency of each arm that was measured."""

    def latency(arm: Arm, batch: str) -> str:
        median, p95 = (format_optional(arm.average("efficiency", f"{batch}_ms_{of}")) for of in ("median", "p95"))
        return median if p95 == DASH else f"{median} / {p95}"

    rows: list[list[str]] = []
    for arm in with_ensembles(arms):
        if not arm.values("efficiency", "parameters"):
            continue
        compression, scores = compare(arm, arms).compression, efficiency_scores(arm)
        multiply_adds = arm.average("efficiency", "multiply_adds")
        rows.append(
            [
                cell(arm.name),
                format_optional(arm.average("efficiency", "parameters"), 0),
                format_optional(arm.average("efficiency", "megabytes")),
                DASH if multiply_adds is None else format_number(multiply_adds / 1e6),
                latency(arm, "image"),
                latency(arm, "batch"),
                format_number(mean(scores), 3) if scores else DASH,
                DASH if compression is None else f"{compression:,.1f} ×",
            ]
        )
    header = ["Arm", "Parameters", "Size (MB)", "Multiply-adds (M)", "Image latency (ms, median / p95)"]
    return markdown_table([*header, "Batch latency (ms, median / p95)", "Efficiency score", "Compression"], rows)


def ensemble_table(arms: Sequence[Arm]) -> str:
    """Teacher ensembles: their accuracy, that of their best member, and how often two members agree."""
    rows: list[list[str]] = []
    for ensemble in with_ensembles(arms):
        if ensemble.role != ENSEMBLE:
            continue
        members = [arm for arm in arms if arm.name in ensemble.members]
        best = max(members, key=lambda arm: arm.average("test", "top1") or 0.0)
        rows.append(
            [
                cell(ensemble.name),
                format_spread(ensemble.values("test", "top1", 100)),
                f"{cell(best.name)}: {format_spread(best.values('test', 'top1', 100))}",
                format_spread(agreement_of_members(ensemble)),
            ]
        )
    return markdown_table(["Ensemble", "Top-1 (%)", "Best member, top-1 (%)", "Member agreement (%)"], rows)


def confusion_table(arms: Sequence[Arm], class_names: Sequence[str]) -> str:
    """The most frequent confusions of the first distilled arm, summed over its seeds."""
    student = next((arm for arm in arms if arm.role != "teacher" and arm.teachers and arm.confusion), None)
    if student is None:
        return ""
    counts = student.confusion
    images: dict[int, int] = {}
    for (true, _), count in counts.items():
        images[true] = images.get(true, 0) + count
    wrong = {pair: count for pair, count in counts.items() if pair[0] != pair[1]}
    if not wrong:
        return ""
    seeds = sum(1 for learner in student.learners if learner.get("test"))
    rows = [
        [
            _class_name(true, class_names),
            _class_name(predicted, class_names),
            format_number(wrong[true, predicted] / seeds, 0 if seeds == 1 else 1),
            format_number(100 * wrong[true, predicted] / images[true], 1),
        ]
        for true, predicted in sorted(wrong, key=lambda pair: (-wrong[pair], pair))[:MAX_CONFUSIONS]
    ]
    table = markdown_table(["Class", "Predicted as", "Images", "Share of the class (%)"], rows)
    over_seeds = ", mean over seeds" if seeds > 1 else ""
    return f"Predictions of **{cell(student.name)}** on the {SETS[student.split]}{over_seeds}.\n\n{table}"


def class_table(arms: Sequence[Arm], class_names: Sequence[str]) -> str:
    """The classes with the lowest accuracy of the first distilled arm, with up to five other arms."""
    by_class = {arm.name: _class_means(arm) for arm in arms}
    measured = [arm for arm in arms if by_class[arm.name]]
    if not measured:
        return ""
    student = next((arm for arm in measured if arm.role != "teacher" and arm.teachers), measured[-1])
    others = [arm for arm in measured if arm is not student]  # teachers stand first
    shown = [student, *others[: MAX_ARMS_BY_CLASS - 1]]
    accuracies = by_class[student.name]
    worst = sorted(accuracies, key=lambda number: (accuracies[number], number))[:WORST_CLASSES]
    rows = [
        [
            _class_name(number, class_names),
            *(format_number(100 * by_class[arm.name].get(number, float("nan")), 1) for arm in shown),
        ]
        for number in worst
    ]
    name, total = f"**{cell(student.name)}**", len(accuracies)
    which = f"The {len(worst)} of {total} classes on which {name} is least accurate"
    if total <= len(worst):
        which = f"All {total} classes, sorted by the accuracy of {name}"
    table = markdown_table(["Class", *(cell(arm.name) for arm in shown)], rows)
    return f"{which}; accuracy in percent, mean over seeds.\n\n{table}"


def _class_name(number: int, class_names: Sequence[str]) -> str:
    return cell(class_names[number]) if number < len(class_names) else f"class {number}"


def _class_means(arm: Arm) -> dict[int, float]:
    by_class: dict[int, list[float]] = {}
    for learner in arm.learners:
        for number, value in enumerate((learner.get("test") or {}).get("per_class") or ()):
            if value is not None:
                by_class.setdefault(number, []).append(value)
    return {number: mean(values) for number, values in by_class.items()}


def seed_table(arms: Sequence[Arm]) -> str:
    """One row per learner: epochs, accuracy and training time."""
    splits = list(dict.fromkeys(["validation", *(arm.split for arm in arms)]))
    rows: list[list[str]] = []
    for arm in arms:
        for learner in arm.learners:
            accuracies = [(learner.get(split) or {}).get("top1") for split in splits]
            rows.append(
                [
                    cell(arm.name),
                    str(learner["seed"]),
                    _or_dash(learner.get("epochs_run")),
                    _or_dash(learner.get("chosen_epoch")),
                    *(DASH if value is None else format_number(100 * value) for value in accuracies),
                    _cohort_time(learner),
                    "failed: loss not finite" if learner.get("failure") else DASH,
                ]
            )
    accuracy_columns = [f"{split.capitalize()} top-1 (%)" for split in splits]
    header = ["Arm", "Seed", "Epochs run", "Selected epoch", *accuracy_columns, "Cohort training time", "Remark"]
    return markdown_table(header, rows)


def _cohort_time(learner: Learner) -> str:
    """The training time of the learner's cohort, and how many learners it has."""
    seconds, learners = learner.get("cohort_seconds"), learner.get("cohort_learners")
    if seconds is None:
        return DASH
    return f"{duration(seconds)}, {learners} learner{'s' if learners != 1 else ''}"


def _or_dash(value: object) -> str:
    return DASH if value is None else str(value)
