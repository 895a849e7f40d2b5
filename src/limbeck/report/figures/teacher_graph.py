"""The teachers and students of a recipe as a Mermaid flow chart, which code hosts render."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

MAX_ARMS = 24  # the chart of more arms, as in a sweep, is unreadable


def teacher_graph(recipe: Mapping[str, Any]) -> str:
    """A fenced Mermaid chart of the shared view, the models with their resolutions, and the losses of each arm.

    Empty if the recipe has no students, or too many arms for a chart.
    """
    teachers, students = recipe.get("teachers") or {}, recipe.get("students") or {}
    if not students or len(teachers) + len(students) > MAX_ARMS:
        return ""
    lines = ["flowchart LR", '    view["one view of each batch"]']
    nodes = {name: f"t{number}" for number, name in enumerate(teachers)}
    nodes |= {name: f"s{number}" for number, name in enumerate(students)}
    for name, arm in {**teachers, **students}.items():
        its_teachers = [teacher for teacher in arm.get("teacher") or () if teacher["name"] in nodes]
        box = f'{nodes[name]}["{_text(name)}<br>{_model(arm)}{_losses(arm)}"]'
        if name in teachers and not its_teachers:
            lines.append(f"    view --> {box}")
            continue
        lines.append(f"    {box}")
        edges = [f"    {nodes[teacher['name']]} -->{_snapshot(teacher)} {nodes[name]}" for teacher in its_teachers]
        lines += edges or [f"    view --> {nodes[name]}"]
    return "\n".join(["```mermaid", *lines, "```"])


def _snapshot(teacher: Mapping[str, Any]) -> str:
    """The label of an arrow: `|epoch 5|` from a snapshot, else nothing."""
    return f"|epoch {teacher['epoch']}|" if teacher.get("epoch") else ""


def _model(arm: Mapping[str, Any]) -> str:
    model, resolution = arm.get("model") or {}, arm.get("resolution")
    return _text(model.get("name", "")) + (f", {resolution} px input" if resolution else "")


def _losses(arm: Mapping[str, Any]) -> str:
    terms: Sequence[Mapping[str, Any]] = arm.get("loss") or ()
    return "<br>" + "<br>".join(map(_term, terms)) if terms else "<br>pretrained, not trained here"


def _term(term: Mapping[str, Any]) -> str:
    """`0.7 soft_targets, temperature 4.0`, with the options that have an effect."""
    options = {k: v for k, v in term.items() if k not in ("name", "weight") and v not in (None, False, 0, 0.0)}
    return ", ".join(
        [_text(f"{term.get('weight', 1.0):g} {term['name']}"), *(_text(f"{k} {v}") for k, v in options.items())]
    )


def _text(text: object) -> str:
    """Text for a quoted label: characters that could end it or be markup are replaced by their codes."""
    plain = " ".join(str(text).split())
    return re.sub(r"[^\w .,:;/()+*=-]", lambda match: f"#{ord(match[0])};", plain)
