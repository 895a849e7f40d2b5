"""Differences between two recipes, and which of them a run that was already trained can take on (`--extend`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from limbeck.errors import LimbeckError, printable

from .fields import GROUPS
from .recipe import Recipe

NEEDS_TOTAL = ("cosine", "one_cycle")
"""Schedules whose learning rate at an epoch depends on the total number of epochs."""


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """What differs between two recipes as plain data, one line per value: `students.distilled.epochs: 15 -> 20`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        lines = []
        for key in [*old, *(key for key in new if key not in old)]:
            at = f"{path}.{key}" if path else str(key)
            if key not in old:
                lines.append(f"{at}: (absent) -> {_text(new[key])}")
            elif key not in new:
                lines.append(f"{at}: {_text(old[key])} -> (absent)")
            else:
                lines += differences(old[key], new[key], at)
        return lines
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for place, (a, b) in pairs for line in differences(a, b, f"{path}.{place}")]
    same = old == new and isinstance(old, bool) == isinstance(new, bool)
    return [] if same else [f"{path}: {_text(old)} -> {_text(new)}"]


def _text(value: Any) -> str:
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr))


@dataclass(frozen=True)
class Extension:
    """What is added to a run, one line each, and the trained arms that continue for more epochs."""

    lines: tuple[str, ...]
    longer: tuple[str, ...]


def extension(old: Recipe, new: Recipe, trained: Set[str], waiting: Set[str] = frozenset()) -> Extension:
    """What a run gains by going from one recipe to another: seeds, arms, epochs where the schedule allows it, and what
    trains nothing: test-time augmentation, a budget and logs.

    Args:
        old: the recipe with which the run was trained.
        new: the recipe with which it is to continue.
        trained: names of the arms of which at least one seed was trained.
        waiting: names of the trained arms that have finished while others of their cohort have not.

    Raises LimbeckError that names the first key that cannot change, and why.
    """
    before, after = old.to_dict(), new.to_dict()
    test_time = [
        {key: plain["evaluation"].pop(key) for key in ("test_time",) if key in plain["evaluation"]}
        for plain in (before, after)
    ]
    for key in [*before, *(key for key in after if key not in before)]:
        changed = differences({key: before[key]} if key in before else {}, {key: after[key]} if key in after else {})
        if changed and key not in ("seeds", "budget", "log", *GROUPS):
            raise LimbeckError(f"{changed[0]}: the existing models were trained with the old value")
    if removed := [seed for seed in old.seeds if seed not in new.seeds]:
        raise LimbeckError(f"seeds: {', '.join(map(str, removed))} cannot be removed")
    lines = differences(test_time[0], test_time[1], "evaluation")  # it trains nothing
    longer: list[str] = []
    if added := [seed for seed in new.seeds if seed not in old.seeds]:
        lines.append(f"seeds: {', '.join(map(str, added))} added")
    lines += differences(before.get("budget") or {}, after.get("budget") or {}, "budget")
    lines += differences(before.get("log", []), after.get("log", []), "log")
    for group in GROUPS:
        was, now = before[group], after[group]
        if gone := [arm for arm in was if arm not in now]:
            raise LimbeckError(f"{group}.{gone[0]}: an arm cannot be removed")
        for arm in now:
            at = f"{group}.{arm}"
            if arm not in was:
                lines.append(f"{at}: added")
            elif changed := differences(was[arm], now[arm], at):
                if not old.arms()[arm].trained:
                    raise LimbeckError(f"{changed[0]}: other arms were trained with the outputs of this model")
                if arm in trained:
                    lines.append(_more_epochs(at, was[arm], now[arm], arm in waiting))
                    _check_has_taught_nobody(at, arm, old, trained)
                    longer.append(arm)
                else:
                    lines += changed
    return Extension(tuple(lines), tuple(longer))


def _more_epochs(at: str, was: Mapping[str, Any], now: Mapping[str, Any], waits: bool) -> str:
    """The line about an arm that continues. Raises LimbeckError if it cannot."""
    keys = [key for key in now if now[key] != was[key]]
    if other := [key for key in keys if key not in ("epochs", "schedule")]:
        line = differences(was[other[0]], now[other[0]], f"{at}.{other[0]}")[0]
        raise LimbeckError(f"{line}: the arm was trained with the old value")
    if "epochs" not in keys or now["epochs"] < was["epochs"]:
        line = differences(was[keys[0]], now[keys[0]], f"{at}.{keys[0]}")[0]
        raise LimbeckError(f"{line}: a trained arm can only get more epochs, and a new schedule along with them")
    line = f"{at}.epochs: {was['epochs']} -> {now['epochs']}"
    if waits:
        raise LimbeckError(
            f"{line}: this arm has finished, but others of its cohort have not; finish the run first, then extend it"
        )
    name = now["schedule"]["name"]
    if "schedule" in keys:
        return f"{line}; continues with the learning rates of the new schedule ({name}) at the same epoch"
    if name in NEEDS_TOTAL:
        raise LimbeckError(
            f"{line}: the learning rates of {name} depend on the number of epochs; set a new schedule too, "
            f"such as {at}.schedule={{name: constant}}"
        )
    return line


def _check_has_taught_nobody(at: str, arm: str, old: Recipe, trained: Set[str]) -> None:
    for name, student in old.arms().items():
        if name in trained and arm in {teacher.name for teacher in student.teacher}:
            raise LimbeckError(
                f"{at}.epochs: {name} was already trained with {arm} as its teacher; add a new arm instead"
            )
