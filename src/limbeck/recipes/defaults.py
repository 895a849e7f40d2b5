"""What arms share: `defaults` of a group, and the views of the run."""

from __future__ import annotations

import copy
from typing import Any


def merge_defaults(tree: dict[str, Any], group: str) -> None:
    """Lay `defaults` of a group of arms under each of them: mappings are merged, everything else replaced."""
    arms = tree.get(group)
    if not isinstance(arms, dict) or "defaults" not in arms:
        return
    defaults = arms["defaults"] if arms["defaults"] is not None else {}
    if not isinstance(defaults, dict):
        return  # stays, to be refused with everything else that is wrong
    del arms["defaults"]
    for name, arm in arms.items():
        if arm is None or isinstance(arm, dict):
            arms[name] = _merged(defaults, arm or {})


def complete_views(tree: dict[str, Any], group: str) -> None:
    """Fill what an arm's own `views` leave open with the run's."""
    arms, shared = tree.get(group), tree.get("views")
    if isinstance(arms, dict) and isinstance(shared, dict):
        for arm in arms.values():
            if isinstance(arm, dict) and isinstance(arm.get("views"), dict):
                arm["views"] = _merged(shared, arm["views"])


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    # Two mappings that name different things (sgd, adam) do not mix: their options are not the same.
    if "name" in over and over["name"] != under.get("name"):
        return copy.deepcopy(over)
    result = copy.deepcopy(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both else copy.deepcopy(value)
    return result
