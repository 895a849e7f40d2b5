"""What a model costs, compared with what it may cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from limbeck.recipes.budget import Budget

MEASURED_AS = {"megabytes": "megabytes", "milliseconds": "image_ms_median", "multiply_adds": "multiply_adds"}
"""Which measurement of `Efficiency` each limit of a budget is compared with."""


def judge(budget: Budget, cost: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a model meets a budget, as plain data: `{"met": …, "limits": {"megabytes": {…}, …}}`.

    cost: of the model, as in `Efficiency.to_dict`; what is missing was not measured. Each limit that is set has its
    `measured` value (None if there is none), the `allowed` one and `met`, which is None if nothing was measured.
    Milliseconds also say whether the measurement was `disturbed`: the time is then too long. `met` of the whole is
    False if one limit is exceeded, otherwise None if one was not measured.
    """
    limits: dict[str, dict[str, Any]] = {}
    for name, allowed in budget.limits().items():
        measured = cost.get(MEASURED_AS[name])
        limits[name] = {
            "measured": measured,
            "allowed": allowed,
            "met": None if measured is None else measured <= allowed,
        }
    if "milliseconds" in limits:
        limits["milliseconds"]["disturbed"] = bool(cost.get("disturbed"))
    verdicts = [limit["met"] for limit in limits.values()]
    met = False if False in verdicts else None if None in verdicts else True
    return {"met": met, "limits": limits}
