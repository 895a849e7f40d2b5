"""The exported files of a run: their proofs, read from beside them, as a section of the report."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limbeck.errors import LimbeckError
from limbeck.storage.atomic import path_digest, read_json, write_file

from .formatting import DASH, cell, markdown_table

TITLE = "Exported files"


def exports_table(root: Path) -> str:
    """A row for each exported file below `models/`; empty if there is none.

    A proof counts only while the file has the checksum that was proven.
    """
    rows = []
    for path in sorted(root.glob("models/*/export/*.json")):
        try:
            proof = read_json(path)
            file = path.with_suffix("")
            rows.append(_row(path.parent.parent.name, proof, path_digest(file).sha256 == proof["sha256"]))
        except (LimbeckError, OSError, KeyError, TypeError, ValueError):
            rows.append([cell(path.parent.parent.name), cell(path.stem), "no valid proof", *[DASH] * 5])
    columns = [
        "Model",
        "File",
        "MB",
        "Top-1 (%)",
        "Model's top-1 (%)",
        "Agreement (%)",
        "ms, batch 1",
        "Times torch's speed",
    ]
    return markdown_table(columns, rows)


def _row(model: str, proof: Mapping[str, Any], is_proven: bool) -> list[str]:
    if not is_proven:
        return [cell(model), cell(proof["file"]), "not the file that was proven", *[DASH] * 5]
    times = {(timing["what"], timing["batch"]): timing["median_ms"] for timing in proof["latency"]}
    file, eager = times.get(("file", 1)), times.get(("torch float32", 1))
    note = " (failed its proof)" if proof["failures"] else ""
    return [
        cell(model),
        cell(proof["file"]) + note,
        f"{proof['bytes'] / 1e6:.2f}",
        f"{100 * proof['top1']:.2f}",
        f"{100 * proof['model_top1']:.2f}",
        f"{100 * proof['agreement']:.2f}",
        DASH if file is None else f"{file:.2f}",
        DASH if file is None or eager is None else f"{eager / file:.1f}",
    ]


def update_exports(root: Path) -> None:
    """Put the table of exported files into the report of a run, in place of the old one. Raises WriteError."""
    report = root / "report.md"
    if not report.is_file():
        return
    text = report.read_text(encoding="utf-8")
    section = f"## {TITLE}\n\n{exports_table(root)}\n\n"
    old = re.compile(rf"^## {TITLE}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if old.search(text):
        text = old.sub(lambda _: section, text)
    else:
        head, mark, rest = text.partition("## Run details\n")
        text = f"{head}{section}{mark}{rest}" if mark else f"{text}\n{section.rstrip()}\n"
    write_file(report, text.encode())
