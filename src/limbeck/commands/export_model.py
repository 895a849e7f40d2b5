"""`limbeck export`: a saved model to files for devices, each proven; the run's report shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from limbeck.deployment.export import export
from limbeck.deployment.proof import describe
from limbeck.report.exports import update_exports

from .evaluate import data_of


def export_model(
    folder: Path, formats: Sequence[str], source: str | None, options: Sequence[str], out: Path | None, **settings: Any
) -> Iterator[str]:
    """Export the model of a folder; yields one line for each file as soon as it is written.

    Raises LimbeckError as `limbeck.export` does.
    """
    data = data_of(source, options)
    for name in formats:
        for exported in export(folder, name, out=out, data=data, **settings):
            yield str(exported.path)
            yield from (f"  {line}" for line in describe(exported.proof))
    root = folder.parent.parent
    if out is None and (root / "result.json").is_file():
        update_exports(root)
