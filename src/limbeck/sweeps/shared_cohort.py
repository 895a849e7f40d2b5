"""A cohort that machines without a common disk share: one of them teaches it, all have its results."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from typing import Any

from limbeck.experiment.plan import CohortPlan
from limbeck.storage.atomic import finite
from limbeck.storage.run_directory import RunDirectory

from .shared_store import Board

Taught = dict[str, Any]


def taught_once(
    board: Board, directory: RunDirectory, cohort: CohortPlan, teach: Callable[[], Taught]
) -> Taught | None:
    """The cohort's results: taught here, unless another machine has taught it; None while another is at it.

    Rows of metrics come with the results; weights stay where they were trained. Teachers are taught on every machine.
    """
    if any(learner.role == "teacher" for learner in cohort.learners):
        return teach()
    key = f"{directory.root.name}/{cohort.key}"
    if (there := board.find(key)) is not None:
        return _laid_down(directory, cohort, there)
    with board.claimed(key) as ours:
        if not ours:
            return None
        if (there := board.find(key)) is None:  # none ended while we looked
            found = teach()
            logs = {learner.name: directory.cohort(cohort.key).metrics(learner.name) for learner in cohort.learners}
            parts = {f"rows of {name}": log.rows() for name, log in logs.items()}
            parts |= {f"arm {number}": packed_result(arm) for number, arm in enumerate(found["arms"])}
            there = board.agree(key, parts | {"rest": {k: v for k, v in found.items() if k != "arms"}})
        return _laid_down(directory, cohort, there)


def _laid_down(directory: RunDirectory, cohort: CohortPlan, there: dict[str, Any]) -> Taught:
    for learner in cohort.learners:
        log, rows = directory.cohort(cohort.key).metrics(learner.name), there[f"rows of {learner.name}"]
        if log.rows() != rows:
            log.cut(0)
            for row in rows:
                log.append(row)
    arms = [unpacked_result(there[f"arm {number}"]) for number in range(sum(name.startswith("arm ") for name in there))]
    return {**there["rest"], "arms": arms}


def packed_result(arm: dict[str, Any]) -> str:
    """A learner's result as a text that fits into 64 kB, what MySQL takes: confusion matrices are mostly zeros."""
    return base64.b64encode(zlib.compress(json.dumps(finite(arm)).encode(), 9)).decode()


def unpacked_result(text: str | dict[str, Any]) -> dict[str, Any]:
    """What `packed_result` was given; what an earlier version left is taken as it is."""
    return text if isinstance(text, dict) else json.loads(zlib.decompress(base64.b64decode(text)))
