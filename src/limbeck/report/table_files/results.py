"""The results of each arm and what each arm costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.report.arms import Arm, arms_of, reported_split, with_ensembles
from limbeck.report.comparisons import compare, efficiency_scores
from limbeck.report.formatting import SETS

from .table import Column, Plain, Table, Value, spread_of


def results_table(arms: Sequence[Arm], split: str) -> Table:
    """Accuracy of each arm, its gap to its teacher and its gain over its baseline. split: the reported one."""
    columns = (
        Column("arm", "Arm"),
        Column("model", "Model", aside=True),
        Column("teacher", "Teacher", aside=True),
        Column("baseline", "Baseline", aside=True),
        Column("n", "n", "number", 0),
        Column("failed", "Failed seeds", "number", 0),
        Column("top1", "Top-1 (%)", "spread"),
        Column("gap", "Gap (points)", "spread"),
        Column("retention", "Retention (%)", "spread"),
        Column("gain", "Gain (points, 95 % CI)", "interval"),
    )
    rows = tuple(_result(arm, arms) for arm in with_ensembles(arms))
    note = (
        f"On the {SETS[split]}: mean and sample standard deviation over n seeds. The gain over the baseline is paired "
        "by seed, with its 95 % confidence interval by Student's t."
    )
    return Table("results", "Results", columns, rows, note)


def _result(arm: Arm, arms: Sequence[Arm]) -> tuple[Value, ...]:
    comparison = compare(arm, arms)
    return (
        arm.name,
        arm.model,
        ", ".join(arm.teachers),
        comparison.baseline.name if comparison.baseline else None,
        len(arm.values("test", "top1")),
        len(arm.failed) or None,
        spread_of(arm.values("test", "top1", 100)),
        spread_of(comparison.gap),
        spread_of(comparison.retention),
        comparison.gain,
    )


def accuracy_table(arms: Sequence[Arm], split: str) -> Table:
    """Accuracy, loss and calibration of each arm, and how like its teacher it answers. split: the reported one."""
    metrics = {
        "top1": ("Top-1 (%)", 100.0, 2),
        "top5": ("Top-5 (%)", 100.0, 2),
        "balanced_accuracy": ("Balanced accuracy (%)", 100.0, 2),
        "loss": ("Loss (nats)", 1.0, 3),
        "expected_calibration_error": ("ECE (%)", 100.0, 2),
        "agreement": ("Agreement (%)", 100.0, 2),
        "kl_to_reference": ("KL to teacher (nats)", 1.0, 3),
    }
    columns = (
        Column("arm", "Arm"),
        Column("n", "n", "number", 0),
        *(
            Column(key, heading, "spread", digits, aside=key == "balanced_accuracy")
            for key, (heading, _, digits) in metrics.items()
        ),
    )
    rows = tuple(
        (
            arm.name,
            len(arm.values("test", "top1")),
            *(spread_of(arm.values("test", key, scale)) for key, (_, scale, _) in metrics.items()),
        )
        for arm in with_ensembles(arms)
    )
    note = (
        f"On the {SETS[split]}: mean and sample standard deviation over n seeds. Agreement and KL are with the teacher."
    )
    return Table("accuracy", "Accuracy and calibration", columns, rows, note)


def efficiency_table(arms: Sequence[Arm]) -> Table:
    """Size, multiply-adds and latency of each arm that was measured, and what its teacher has of them."""
    columns = (
        Column("arm", "Arm"),
        Column("parameters", "Parameters", "number", 0),
        Column("megabytes", "Size (MB)", "number"),
        Column("multiply_adds_millions", "Multiply-adds (M)", "number"),
        Column("image_ms_median", "Image latency (ms)", "number"),
        Column("image_ms_p95", "Its 95th percentile (ms)", "number", aside=True),
        Column("batch_ms_median", "Batch latency (ms)", "number"),
        Column("batch_ms_p95", "Its 95th percentile (ms)", "number", aside=True),
        Column("compression", "Compression (×)", "number", 1),
        Column("speed", "Speed-up (×)", "number", 1, aside=True),
        Column("efficiency_score", "Efficiency score (%/(MB·ms))", "spread", 3),
    )
    measured = [arm for arm in with_ensembles(arms) if arm.values("efficiency", "parameters")]
    rows = tuple(_cost(arm, arms) for arm in measured)
    note = (
        "1 MB is 2²⁰ bytes. Latency is a median. Compression and speed-up are the teacher's parameters and image "
        "latency over those of the arm. The efficiency score is accuracy in percent / (MB × ms per batch)."
    )
    return Table("efficiency", "Efficiency", columns, rows, note)


def _cost(arm: Arm, arms: Sequence[Arm]) -> tuple[Value, ...]:
    comparison = compare(arm, arms)
    latencies = (
        arm.average("efficiency", f"{batch}_ms_{of}") for batch in ("image", "batch") for of in ("median", "p95")
    )
    return (
        arm.name,
        arm.average("efficiency", "parameters"),
        arm.average("efficiency", "megabytes"),
        arm.average("efficiency", "multiply_adds", 1e-6),
        *latencies,
        comparison.compression,
        comparison.speed,
        spread_of(efficiency_scores(arm)),
    )


def arm_dicts(result: Mapping[str, Any]) -> list[dict[str, Plain]]:
    """One dict for each arm of a result: its role, and all values of its results, accuracy and efficiency.

    Accuracies are percentages. `top1` is a mean over `top1_n` seeds with the standard deviation `top1_sd`; `gain` has
    `gain_low` and `gain_high`. A value that was not measured is None.
    """
    arms, split = arms_of(result), reported_split(result)
    roles = {arm.name: arm.role for arm in with_ensembles(arms)}
    costs = efficiency_table(arms)
    cost_of = {row["arm"]: row for row in costs.dicts()}
    no_cost = dict.fromkeys(key for column in costs.columns[1:] for key in column.keys)
    return [
        {"arm": name, "role": role, **result_of, **accuracy, **{**no_cost, **cost_of.get(name, {})}}
        for (name, role), result_of, accuracy in zip(
            roles.items(), results_table(arms, split).dicts(), accuracy_table(arms, split).dicts(), strict=True
        )
    ]
