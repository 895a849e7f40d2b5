"""What can be said of models that come from files: nobody here knows on which images they were trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .arms import Arm
from .formatting import cell
from .statistics import format_number

FROM_A_FILE = "from a file"
CLEARLY = 3.0
"""Two accuracies differ clearly where they lie this many standard errors apart."""


def from_files(arms: Sequence[Arm]) -> list[str]:
    """A paragraph of Markdown for each arm that was not trained here."""
    return [_paragraph(arm, learner) for arm in arms for learner in arm.learners if learner.get("ended") == FROM_A_FILE]


def _paragraph(arm: Arm, learner: Mapping[str, Any]) -> str:
    said = [
        f"**{cell(arm.name)}** comes from a file: on which images it was trained is not known here, nor whether the "
        "test images were among them."
    ]
    train, validation = learner.get("train_sample") or {}, learner.get("validation") or {}
    test = (learner.get("test") or {}) if arm.split == "test" else {}
    if not (_n(validation) and _n(test)):
        return said[0]
    parts = [f"{words} {_percent(of)}" for words, of in (("training", train), ("validation", validation)) if _n(of)]
    figures = f"{', '.join(parts)} and test {_percent(test)}"
    if _clearly_above(validation, test) and not _clearly_above(train, validation):
        said.append(
            f"Its accuracies ({figures}) are those of a model that was trained on the whole training split: the images "
            "that are held out here for validation were probably among its training images. Its validation accuracy "
            "is then too high; compare it by its test accuracy."
        )
    elif _clearly_above(test, validation):
        said.append(
            f"It is better on test than on validation images ({figures}), as a model would be that was trained on test "
            "images: do not rely on its test accuracy, nor on the retention of its students, before you know that "
            "it was not."
        )
    elif _n(train):
        said.append(f"Its accuracies ({figures}) show no sign of either, which proves nothing.")
    return " ".join(said)


def _n(of: Mapping[str, Any]) -> int:
    return int(of.get("n") or 0) if of.get("top1") is not None else 0


def _percent(of: Mapping[str, Any]) -> str:
    return f"{format_number(100 * of['top1'])} % of {_n(of):,}"


def _clearly_above(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether the first of two accuracies is higher by more than images drawn at random explain."""
    if not (_n(one) and _n(other)):
        return False
    pooled = (one["top1"] * _n(one) + other["top1"] * _n(other)) / (_n(one) + _n(other))
    error = math.sqrt(pooled * (1 - pooled) * (1 / _n(one) + 1 / _n(other)))
    return one["top1"] - other["top1"] > CLEARLY * error
