"""What a run that has been trained may be given besides: seeds, arms, and epochs where the schedule allows it."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from limbeck.errors import LimbeckError

from .differences import differences
from .recipe import Recipe

GROUPS = ("teachers", "students")
NEEDS_TOTAL = ("cosine", "one_cycle")
"""Schedules whose rate at an epoch depends on how many epochs there are in all."""


@dataclass(frozen=True)
class Extension:
    """What is added, a line each, and the trained arms that are given more epochs."""

    lines: tuple[str, ...]
    longer: tuple[str, ...]


def extension(old: Recipe, new: Recipe, trained: Set[str], waiting: Set[str] = frozenset()) -> Extension:
    """From one recipe of a run to another.

    trained: arms of which anything was trained. waiting: those of them that have ended in a cohort that goes on.
    Raises LimbeckError that names the first key that cannot be changed, and why.
    """
    before, after = old.to_dict(), new.to_dict()
    for key, value in after.items():
        if key not in ("seeds", *GROUPS) and value != before[key]:
            raise LimbeckError(
                f"{differences(before[key], value, key)[0]}: what is there was trained with the old value"
            )
    if removed := [seed for seed in old.seeds if seed not in new.seeds]:
        raise LimbeckError(f"seeds: {', '.join(map(str, removed))} cannot be taken away")
    lines: list[str] = []
    longer: list[str] = []
    if added := [seed for seed in new.seeds if seed not in old.seeds]:
        lines.append(f"seeds: {', '.join(map(str, added))} added")
    for group in GROUPS:
        was, now = before[group], after[group]
        if gone := [arm for arm in was if arm not in now]:
            raise LimbeckError(f"{group}.{gone[0]}: an arm cannot be taken away")
        for arm in now:
            at = f"{group}.{arm}"
            if arm not in was:
                lines.append(f"{at}: added")
            elif changed := differences(was[arm], now[arm], at):
                if not old.arms()[arm].trained:
                    raise LimbeckError(f"{changed[0]}: others have heard what this file holds")
                if arm in trained:
                    lines.append(_more_epochs(at, was[arm], now[arm], arm in waiting))
                    _nobody_has_heard(at, arm, old, trained)
                    longer.append(arm)
                else:
                    lines += changed
    return Extension(tuple(lines), tuple(longer))


def _more_epochs(at: str, was: Mapping[str, Any], now: Mapping[str, Any], waits: bool) -> str:
    """What is said of an arm that goes on. Raises LimbeckError where it cannot."""
    keys = [key for key in now if now[key] != was[key]]
    if other := [key for key in keys if key not in ("epochs", "schedule")]:
        line = differences(was[other[0]], now[other[0]], f"{at}.{other[0]}")[0]
        raise LimbeckError(f"{line}: the arm was trained with the old value")
    if "epochs" not in keys or now["epochs"] < was["epochs"]:
        line = differences(was[keys[0]], now[keys[0]], f"{at}.{keys[0]}")[0]
        raise LimbeckError(
            f"{line}: an arm that was trained can only be given more epochs, and a new schedule with them"
        )
    line = f"{at}.epochs: {was['epochs']} -> {now['epochs']}"
    if waits:
        raise LimbeckError(
            f"{line}: the arm has ended, others of its cohort have not; run to the end first, then extend"
        )
    name = now["schedule"]["name"]
    if "schedule" in keys:
        return f"{line}; from where it stopped, rates are those that the new schedule ({name}) has at the same epoch"
    if name in NEEDS_TOTAL:
        raise LimbeckError(
            f"{line}: the rates of {name} depend on the number of epochs; give the arm a new schedule too, "
            f"as in {at}.schedule={{name: constant}}"
        )
    return line


def _nobody_has_heard(at: str, arm: str, old: Recipe, trained: Set[str]) -> None:
    for name, listener in old.arms().items():
        if name in trained and arm in {voice.name for voice in listener.teacher}:
            raise LimbeckError(
                f"{at}.epochs: {name} has been taught by {arm} as it was; a new arm can have the longer one"
            )
