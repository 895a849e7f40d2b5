"""What changed between two recipes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """What changed between two plain recipes, a line a value: `students.distilled.epochs: 15 -> 20`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(key for key in new if key not in old)]
        missing = object()
        found = []
        for key in keys:
            at = f"{path}.{key}" if path else str(key)
            before, after = old.get(key, missing), new.get(key, missing)
            if before is missing:
                found.append(f"{at}: (not there) -> {after}")
            elif after is missing:
                found.append(f"{at}: {before} -> (not there)")
            else:
                found += differences(before, after, at)
        return found
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            line for i, (a, b) in enumerate(zip(old, new, strict=True)) for line in differences(a, b, f"{path}.{i}")
        ]
    return [] if old == new else [f"{path}: {old} -> {new}"]
