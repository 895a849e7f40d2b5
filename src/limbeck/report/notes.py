"""Where the numbers come from and how to read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .arms import Arm, judged_split
from .comparisons import standing
from .formatting import cell, duration


def recipe_name(result: Mapping[str, Any]) -> str:
    """The recipe's name, for titles."""
    return str((result.get("recipe") or {}).get("name") or "unnamed recipe")


def provenance(result: Mapping[str, Any]) -> str:
    """The command, then recipe, date, wall time, hardware and versions."""
    command = str(result.get("command") or "")
    fence = "```" if "```" not in command else "`" * 8
    facts = {"Recipe": recipe_name(result), "Started": result.get("started")}
    wall, compute = result.get("wall_seconds"), result.get("compute_seconds")
    facts |= {"Wall time": duration(wall)} if wall is not None else {}
    if wall is not None and compute is not None and compute > 1.05 * wall:
        facts["Time of all processes"] = duration(compute)
    words = {"cpu": "Processor", "torch": "PyTorch"}
    facts |= {words.get(k, k.replace("_", " ").capitalize()): v for k, v in (result.get("environment") or {}).items()}
    lines = "\n".join(f"- {cell(name)}: {cell(value)}" for name, value in facts.items() if value not in (None, ""))
    language = "python" if command.startswith("python: ") else "sh"
    return f"{fence}{language}\n{command.removeprefix('python: ')}\n{fence}\n\n{lines}" if command else lines


def notes(result: Mapping[str, Any], arms: Sequence[Arm]) -> str:
    """What the numbers mean and how far they go."""
    seeds = max((len(arm.learners) for arm in arms), default=0)
    split = judged_split(result)
    once = "the test split was read once, at the end, for the model that was chosen."
    unread = "these are trials on it, and the test split was left unread."
    said = [
        f"Every choice was made on the validation part of the training split; {once if split == 'test' else unread}",
        "± is the sample standard deviation over n seeds. Brackets hold the 95 % interval (Student's t) of "
        "differences paired by seed.",
    ]
    said += [f"Images: {cell(note)}." for note in result.get("data_notes") or ()]
    if seeds == 1:
        said.append("n = 1: one seed shows neither spread nor finding. Run three or more to compare arms.")
    if seeds == 2:
        said.append("n = 2: two seeds give no interval that tells anything. Run three or more to compare arms.")
    if seeds <= 2 and any(standing(arm, arms).over_images for arm in arms):
        said.append(
            "Intervals over images are of Bonett and Price (2012), for the two models of one seed on the same images: "
            "they say how other images could turn out, not how other seeds could."
        )
    views = (result.get("recipe") or {}).get("views") or {}
    if seeds > 1 and isinstance(views, Mapping) and views.get("seed") is not None:
        said.append("The recipe holds the views' seed fixed: the spread is over learners only.")
    if seeds > 1 and (result.get("recipe") or {}).get("teacher_seed") is not None:
        said.append("One teacher taught all seeds: the spread is the students' alone.")
    if isinstance(views, Mapping) and views.get("distinct_epochs") is not None:
        said.append(f"The views of {views['distinct_epochs']} epochs were seen again and again.")
    if (result.get("recipe") or {}).get("outputs_bank") is not None:
        said.append("Teachers' answers were stored, and students learned from them as rounded to float16.")
    if any(len(arm.teachers) > 1 for arm in arms):
        said.append(
            "An arm with several teachers is compared with their ensemble: the mean of their probabilities at "
            "temperature 1, by their weights. It costs what its members cost one after the other; they agree where two "
            "of them give the same class."
        )
    if any(learner.get("cohort_seconds") is not None for arm in arms for learner in arm.learners):
        said.append("Learners of a cohort share its time: what one of them took alone is not known.")
    if any(standing(arm, arms).transfer is not None for arm in arms):
        said.append("Transfer is (student − its baseline) / (teacher − the baseline's teacher), of means over seeds.")
    said += [
        f"Retention is student / teacher, gap teacher − student, gain student − baseline, all of {split} top-1.",
        "ECE is the expected calibration error over 15 equal bins of confidence. "
        "Loss and KL(teacher ‖ student) are in nats, at temperature 1.",
    ]
    measured_in = {
        learner["measured_precision"] for arm in arms for learner in arm.learners if "measured_precision" in learner
    }
    if measured_in:
        said.append(
            f"Final figures are measured in {', '.join(sorted(measured_in))}, as the saved models answer; validation "
            "during training (the curves, and the choice of an epoch) is in the precision of training."
        )
    costs = [learner["efficiency"] for arm in arms for learner in arm.learners if learner.get("efficiency")]
    if costs:
        said += _notes_on_cost(costs[0])
        busy = _measured_while_busy(arms)
        said += [busy] if busy else []
    return "\n".join(f"- {note}" for note in said)


def _notes_on_cost(cost: Mapping[str, Any]) -> list[str]:
    shape = "×".join(map(str, cost.get("image_shape") or ())) or "one size"
    return [
        f"Latency is of ready tensors ({shape}) on {cell(cost.get('device', 'this machine'))} with "
        f"{cost.get('threads', '?')} thread(s), after warm-up: median / 95th percentile, for one image and for "
        f"a batch of {cost.get('batch_size', '?')}.",
        "MB are 2²⁰ bytes of parameters and buffers. Multiply-adds are those of convolutions, linear layers "
        "and attention, in millions, for one image. Score is accuracy in percent / (MB × ms of a batch).",
    ]


def _measured_while_busy(arms: Sequence[Arm]) -> str:
    """Whose latencies are too long because something else took the machine's time; empty where none are."""
    found = {
        f"{arm.name} (seed {learner.get('seed')})": cost
        for arm in arms
        for learner in arm.learners
        if (cost := learner.get("efficiency") or {}).get("disturbed")
    }
    if not found:
        return ""
    loads = [cost["load"] for cost in found.values() if cost.get("load") is not None]
    cores = max(cost.get("cores", 1) for cost in found.values())
    load = f", with a load of up to {max(loads):.1f} on {cores} core(s)" if loads else ""
    share = min(cost.get("cpu_share", 1.0) for cost in found.values())
    names = ", ".join(cell(name) for name in list(found)[:6]) + (", …" if len(found) > 6 else "")
    return (
        f"Latencies measured on a busy machine{load}: {names}. The process ran as little as {share:.0%} of the time. "
        "They, and what is computed from them, are too long; `limbeck evaluate` measures a saved model again."
    )
