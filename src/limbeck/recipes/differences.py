"""What changed between two recipes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from limbeck.errors import printable


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """What changed between two plain recipes, a line a value: `students.distilled.epochs: 15 -> 20`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found = []
        for key in [*old, *(key for key in new if key not in old)]:
            at = f"{path}.{key}" if path else str(key)
            if key not in old:
                found.append(f"{at}: (not there) -> {_word(new[key])}")
            elif key not in new:
                found.append(f"{at}: {_word(old[key])} -> (not there)")
            else:
                found += differences(old[key], new[key], at)
        return found
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for place, (a, b) in pairs for line in differences(a, b, f"{path}.{place}")]
    same = old == new and isinstance(old, bool) == isinstance(new, bool)
    return [] if same else [f"{path}: {_word(old)} -> {_word(new)}"]


def _word(value: Any) -> str:
    """As a recipe says it."""
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr))
