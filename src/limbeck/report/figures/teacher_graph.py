"""Who teaches whom, drawn from the recipe: a Mermaid flow chart, which code hosts show as a picture."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

MOST_ARMS = 24  # more are a sweep's, and no picture


def wiring(recipe: Mapping[str, Any]) -> str:
    """A fenced Mermaid chart: the shared view, each model with its own resolution, and what each student minimises.

    Empty where the recipe says nothing of its arms, or has more of them than a picture holds.
    """
    teachers, students = recipe.get("teachers") or {}, recipe.get("students") or {}
    if not students or len(teachers) + len(students) > MOST_ARMS:
        return ""
    lines = ["flowchart LR", '    view["one view of each batch"]']
    place = {name: f"t{number}" for number, name in enumerate(teachers)}
    place |= {name: f"s{number}" for number, name in enumerate(students)}
    for name, arm in {**teachers, **students}.items():
        voices = [voice["name"] for voice in arm.get("teacher") or () if voice["name"] in place]
        box = f'{place[name]}["{_text(name)}<br>{_model(arm)}{_objective(arm)}"]'
        if name in teachers and not voices:
            lines.append(f"    view --> {box}")
            continue
        lines.append(f"    {box}")
        lines += [f"    {place[voice]} --> {place[name]}" for voice in voices] or [f"    view --> {place[name]}"]
    return "\n".join(["```mermaid", *lines, "```"])


def _model(arm: Mapping[str, Any]) -> str:
    model, side = arm.get("model") or {}, arm.get("resolution")
    return _text(model.get("name", "")) + (f", sees {side} px" if side else "")


def _objective(arm: Mapping[str, Any]) -> str:
    terms: Sequence[Mapping[str, Any]] = arm.get("loss") or ()
    return "<br>" + "<br>".join(map(_term, terms)) if terms else "<br>given, not trained"


def _term(term: Mapping[str, Any]) -> str:
    """`0.7 soft_targets, temperature 4.0`, with the options that are not at rest."""
    told = {k: v for k, v in term.items() if k not in ("name", "weight") and v not in (None, False, 0, 0.0)}
    return ", ".join(
        [_text(f"{term.get('weight', 1.0):g} {term['name']}"), *(_text(f"{k} {v}") for k, v in told.items())]
    )


def _text(text: object) -> str:
    """Literal in a quoted label: whatever could end it or be markup is written by its number."""
    plain = " ".join(str(text).split())
    return re.sub(r"[^\w .,:;/()+*=-]", lambda found: f"#{ord(found[0])};", plain)
