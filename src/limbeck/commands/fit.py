"""`limbeck fit`: what was found as a table, and as lines for a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from limbeck.building.fit import Proposal, described
from limbeck.report.budget import COLUMNS, amount
from limbeck.report.formatting import plain_table
from limbeck.training.device import choose_device


def fit_lines(found: Sequence[Proposal], device: str, width: int | None = None) -> list[str]:
    """A table of proposals, largest first, then the YAML line of each.

    device: where their latency was measured. width: columns of the terminal, for the table.
    """
    timed = any(proposal.milliseconds is not None for proposal in found)
    limits = ["megabytes", "multiply_adds", *(["milliseconds"] if timed else [])]
    rows = [
        [
            described(proposal),
            f"{proposal.parameters:,}",
            *(amount(limit, getattr(proposal, limit)) for limit in limits),
        ]
        for proposal in found
    ]
    lines = plain_table(
        [str(found[0].model["name"]), "parameters", *(COLUMNS[limit] for limit in limits)], rows, width or 100
    )
    if timed:
        threads = torch.get_num_threads()
        lines.append(f"latency: median on {choose_device(device)} with {threads} thread{'' if threads == 1 else 's'}")
    if any(proposal.disturbed for proposal in found):
        lines.append("the machine was busy: latencies are too high; larger models may meet the budget, measure again")
    return [*lines, "", "for a recipe:", *(f"  model: {yaml_notation(proposal.model)}" for proposal in found)]


def yaml_notation(value: Any) -> str:
    """Names, numbers, lists and mappings of options on one line of YAML."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {yaml_notation(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(yaml_notation, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
