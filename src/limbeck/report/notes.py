"""The details of a run, and notes on how to interpret its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .arms import Arm, reported_split
from .comparisons import compare
from .formatting import SETS, cell, duration


def recipe_name(result: Mapping[str, Any]) -> str:
    """The name of the recipe, for titles."""
    return str((result.get("recipe") or {}).get("name") or "unnamed recipe")


def run_details(result: Mapping[str, Any]) -> str:
    """The command, then recipe, date, wall time, hardware and versions."""
    command = str(result.get("command") or "")
    fence = "```" if "```" not in command else "`" * 8
    details = {"Recipe": recipe_name(result), "Started": result.get("started")}
    wall, compute = result.get("wall_seconds"), result.get("compute_seconds")
    details |= {"Wall time": duration(wall)} if wall is not None else {}
    if wall is not None and compute is not None and compute > 1.05 * wall:
        details["Total time of all processes"] = duration(compute)
    names = {"cpu": "Processor", "torch": "PyTorch"}
    environment = result.get("environment") or {}
    details |= {names.get(key, key.replace("_", " ").capitalize()): value for key, value in environment.items()}
    lines = "\n".join(f"- {cell(name)}: {cell(value)}" for name, value in details.items() if value not in (None, ""))
    language = "python" if command.startswith("python: ") else "sh"
    return f"{fence}{language}\n{command.removeprefix('python: ')}\n{fence}\n\n{lines}" if command else lines


def notes(result: Mapping[str, Any], arms: Sequence[Arm]) -> str:
    """What the numbers mean and how far they can be trusted, as a Markdown list."""
    recipe = result.get("recipe") or {}
    views = recipe.get("views") if isinstance(recipe.get("views"), Mapping) else {}
    assert views is not None
    learners = [learner for arm in arms for learner in arm.learners]
    comparisons = [compare(arm, arms) for arm in arms]
    seeds = max((len(arm.learners) for arm in arms), default=0)
    split = reported_split(result)
    lines = [
        "All choices were made on the validation set; the held-out test set was evaluated once, at the end, with the "
        "selected models."
        if split == "test"
        else "All choices were made on the validation set; the held-out test set was not evaluated.",
        "± is the sample standard deviation over n random seeds. Brackets show the 95 % confidence interval (Student's "
        "t) of differences paired by seed.",
    ]
    lines += [f"Images: {cell(note)}." for note in result.get("data_notes") or ()]
    if seeds == 1:
        lines.append("n = 1: one seed shows neither spread nor significance. Run at least three seeds to compare arms.")
    if seeds == 2:
        lines.append("n = 2: two seeds give no useful interval. Run at least three seeds to compare arms.")
    if seeds <= 2 and any(comparison.over_images for comparison in comparisons):
        lines.append(
            "Confidence intervals over images follow Bonett and Price (2012). They compare two models of one seed on "
            "the same images: they cover the choice of images, but not the choice of the seed."
        )
    if seeds > 1 and views.get("seed") is not None:
        lines.append("`views.seed` is set: all seeds saw the same views; the spread is over the models only.")
    if seeds > 1 and recipe.get("teacher_seed") is not None:
        lines.append("One teacher was used for all seeds: the spread does not include differences between teachers.")
    if views.get("distinct_epochs") is not None:
        lines.append(f"The views of {views['distinct_epochs']} epochs were reused throughout training.")
    if recipe.get("outputs_bank") is not None:
        lines.append("Teacher outputs were stored; students were trained on these outputs rounded to float16.")
    if any(len(arm.teachers) > 1 for arm in arms):
        lines.append(
            "An arm with several teachers is compared with their ensemble: the weighted mean of their probabilities at "
            "temperature 1. The cost of an ensemble is the sum of its members' costs. Members agree on an image if "
            "they predict the same class."
        )
    if any(learner.get("cohort_seconds") is not None for learner in learners):
        lines.append("The learners of a cohort are trained together; training times are those of the whole cohort.")
    if any(comparison.transfer is not None for comparison in comparisons):
        lines.append(
            "Transfer is (student − its baseline) / (teacher − the baseline's teacher), from means over seeds."
        )
    lines += [
        "Retention is student / teacher, gap is teacher − student, gain is student − baseline; all refer to top-1 "
        f"accuracy on the {SETS[split]}.",
        "ECE is the expected calibration error over 15 confidence bins of equal width. "
        "Loss and KL(teacher ‖ student) are in nats, at temperature 1.",
    ]
    precisions = {learner["measured_precision"] for learner in learners if "measured_precision" in learner}
    if precisions:
        lines.append(
            f"Final results are measured in {', '.join(sorted(precisions))}, as the saved models compute. Validation "
            "during training (the curves and the selected epoch) uses the training precision."
        )
    costs = [learner["efficiency"] for learner in learners if learner.get("efficiency")]
    if costs:
        lines += _notes_on_cost(costs[0])
        busy = _measured_while_busy(learners)
        lines += [busy] if busy else []
    return "\n".join(f"- {line}" for line in lines)


def _notes_on_cost(cost: Mapping[str, Any]) -> list[str]:
    shape = "×".join(map(str, cost.get("image_shape") or ())) or "one size"
    threads = cost.get("threads", "?")
    return [
        f"Latency is measured on {cell(cost.get('device', 'this machine'))} with {threads} "
        f"thread{'' if threads == 1 else 's'}, after warm-up, from tensors ({shape}) in memory: median / 95th "
        f"percentile, for one image and for a batch of {cost.get('batch_size', '?')}.",
        "Size counts parameters and buffers; 1 MB is 2²⁰ bytes. Multiply-adds count convolutions, linear layers and "
        "attention, in millions per image. The efficiency score is accuracy in percent / (MB × ms per batch).",
    ]


def _measured_while_busy(learners: Sequence[Mapping[str, Any]]) -> str:
    """Which latencies are too high because other processes used the machine; empty if none are."""
    disturbed = {
        f"{learner['arm']} (seed {learner.get('seed')}){how}": cost
        for learner in learners
        for how, measured in (("", learner), (" with test-time augmentation", learner.get("test_time") or {}))
        if (cost := measured.get("efficiency") or {}).get("disturbed")
    }
    if not disturbed:
        return ""
    loads = [cost["load"] for cost in disturbed.values() if cost.get("load") is not None]
    cores = max(cost.get("cores", 1) for cost in disturbed.values())
    load = f" (load up to {max(loads):.1f} on {cores} core{'' if cores == 1 else 's'})" if loads else ""
    share = min(cost.get("cpu_share", 1.0) for cost in disturbed.values())
    names = ", ".join(cell(name) for name in list(disturbed)[:6]) + (", …" if len(disturbed) > 6 else "")
    return (
        f"The machine was busy{load} while these latencies were measured: {names}. The process had the CPU for as "
        f"little as {share:.0%} of the time. These latencies, and all figures computed from them, are too high; "
        "`limbeck evaluate` measures a saved model again."
    )
