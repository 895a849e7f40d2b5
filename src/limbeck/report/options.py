"""The options of every arm as flat names and values, and what differs between arms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Options = dict[str, Any]
"""Values by flat name: `optimizer.lr`, `model.depth`, `loss.dkd.beta`, `views.mixing.mixup`."""
ABSENT = None
"""The value of an option that an arm does not have, such as the temperature of an arm without a teacher."""
NO_OPTIONS = frozenset({"baseline", "classes", "allow_near_chance"})
"""Keys of an arm that change neither its model nor its training."""
OF_THE_RUN = ("precision", "views")
"""Sections that an arm takes over from the recipe unless it has its own."""


@dataclass(frozen=True)
class OneOption:
    """Arms that differ in a single option. values and arms correspond, and are in the order of the values."""

    name: str
    values: tuple[Any, ...]
    arms: tuple[str, ...]


def options_of(recipe: Mapping[str, Any]) -> dict[str, Options]:
    """The options of each arm by its name, teachers first; without those that are not set.

    recipe: as in `recipe.json`. A part that is not as a recipe has it is left out, never an error.
    """
    found: dict[str, Options] = {}
    for group in ("teachers", "students"):
        for name, arm in _mapping(recipe.get(group)).items():
            if isinstance(arm, Mapping):
                shared = {key: recipe[key] for key in OF_THE_RUN if recipe.get(key) is not None and not arm.get(key)}
                whole = {key: value for key, value in {**arm, **shared}.items() if key not in NO_OPTIONS}
                found[str(name)] = dict(_flat(whole))
    return found


def differing(options: Mapping[str, Options]) -> list[str]:
    """The names of the options that are not the same in all arms, in the order in which they appear."""
    names = option_names(options.values())
    return [name for name in names if len({repr(of_arm.get(name, ABSENT)) for of_arm in options.values()}) > 1]


def one_option_apart(options: Mapping[str, Options]) -> list[OneOption]:
    """Every group of at least two arms that are alike in all options but one, where each has another value.

    Numbers ascend; values that are absent or no numbers keep the order of the arms and come first.
    """
    found: list[OneOption] = []
    for name in differing(options):
        groups: dict[str, dict[str, str]] = {}
        for arm, of_arm in options.items():
            rest = repr(sorted((key, repr(value)) for key, value in of_arm.items() if key != name))
            groups.setdefault(rest, {}).setdefault(repr(of_arm.get(name, ABSENT)), arm)
        for arms in groups.values():
            if len(arms) > 1:
                in_order = sorted(arms.values(), key=lambda arm: _order(options[arm].get(name, ABSENT)))
                values = tuple(options[arm].get(name, ABSENT) for arm in in_order)
                found.append(OneOption(name, values, tuple(in_order)))
    return found


def _order(value: Any) -> tuple[bool, float]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number, float(value) if is_number else 0.0


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every set value with its flat name. A list of parts that have names (losses, teachers) is entered by these."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    elif _has_names(value):
        yield name, [str(item["name"]) for item in value]
        seen: dict[str, int] = {}
        for item in value:
            own = str(item["name"])
            seen[own] = seen.get(own, 0) + 1
            at = own if seen[own] == 1 else f"{own}({seen[own]})"
            yield from _flat({key: part for key, part in item.items() if key != "name"}, f"{name}.{at}")
    elif value is not None and value not in ([], {}, ()):
        yield name, value


def _has_names(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(item, Mapping) and "name" in item for item in value)
    )


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def option_names(options: Iterable[Options]) -> list[str]:
    """The names of all options, each once, in the order in which they appear."""
    return list(dict.fromkeys(name for of_arm in options for name in of_arm))
