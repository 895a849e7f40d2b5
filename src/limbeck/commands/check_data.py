"""`limbeck check`: the classes, sizes, duplicates and problems of a data source."""

from __future__ import annotations

import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from limbeck.building.data import build_dataset
from limbeck.data.cache_writer import SPLITS
from limbeck.data.inspection import Inspection, inspect_dataset, inspect_inventory
from limbeck.data.unreadable import MAX_LISTED
from limbeck.errors import LimbeckError, printable
from limbeck.recipes import registry
from limbeck.report.formatting import plain_table
from limbeck.storage.atomic import write_file

from .evaluate import data_of

MAX_PAIRS = 10


@dataclass(frozen=True)
class DataReport:
    """The result of a check. lines: a description. sound: whether no problem was found."""

    lines: list[str]
    sound: bool


def check_source(source: str, options: Sequence[str] = (), out: Path | None = None, *, width: int = 100) -> DataReport:
    """Decode every image of a source and describe what it holds.

    out: a file to write all problems to, one per line; it is empty if there are none.
    Raises LimbeckError if there is no such source, or `out` cannot be written.
    """
    data = data_of(source, options)
    assert data is not None
    inspection = _inspect(source, dict(data.options))
    if out is not None:
        lines = [printable(str(problem)) for problem in inspection.unreadable]
        write_file(out, "".join(f"{line}\n" for line in lines).encode())
    return DataReport(_describe(source, inspection, out, width), not inspection.unreadable)


def _inspect(source: str, options: dict[str, object]) -> Inspection:
    entry = registry.find("data", source)
    if errors := registry.check_options(entry, options):
        raise LimbeckError(f"{errors[0][0]}: {errors[0][1]}")
    inventory = getattr(sys.modules[registry.load(entry).__module__], "inventory", None)
    if inventory is None:  # an archive with known contents is checked as it is stored
        return inspect_dataset(build_dataset(source, options))
    # Files are checked at their original size, whatever size they will be stored in.
    options = {name: value for name, value in options.items() if name not in ("image_size", "spoilt")}
    return inspect_inventory(inventory(registry.split_name(source)[1], **options), source)


def _describe(source: str, inspection: Inspection, out: Path | None, width: int) -> list[str]:
    total = inspection.sizes.total()
    classes = len(inspection.class_names)
    lines = [f"{source}: {classes:,} classes, {total:,} usable images", *inspection.notes, ""]
    splits = [split for split in SPLITS if split in inspection.counts]
    rows = [
        [printable(name), *(f"{inspection.counts[split][label]:,}" for split in splits)]
        for label, name in enumerate(inspection.class_names)
    ]
    rows.append(["all", *(f"{inspection.counts[split].sum():,}" for split in splits)])
    lines += [*plain_table(["class", *splits], rows, width), ""]
    if "validation" not in splits:
        lines += ["no validation split: images are held out from train (data.validation)", ""]
    if total:
        lines += [_sizes(inspection.sizes), *_duplicates(inspection)]
    lines += _problems(inspection, out)
    return lines


def _sizes(sizes: Counter[tuple[int, int]]) -> str:
    if len(sizes) == 1:
        ((height, width),) = sizes
        return f"sizes: all {width} × {height} px"
    shorter = sorted(min(shape) for shape in sizes.elements())
    longer = max(max(shape) for shape in sizes)
    return (
        f"sizes: {len(sizes):,} different sizes; shorter side {shorter[0]:,} to {shorter[-1]:,} px "
        f"(median {statistics.median_low(shorter):,}), longest side {longer:,} px"
    )


def _duplicates(inspection: Inspection) -> list[str]:
    if not inspection.duplicates:
        return ["duplicates: none"]
    across = [pair for pair in inspection.duplicates if pair[0].split != pair[1].split]
    differing = [pair for pair in inspection.duplicates if pair[0].label != pair[1].label]
    count = f"duplicates: {len(inspection.duplicates):,} images are identical to an earlier one, pixel for pixel"
    lines = [f"{count}: {len(across):,} of them in another split, {len(differing):,} in another class"]
    worst = [*differing, *across, *inspection.duplicates]
    for one, other in list(dict.fromkeys(worst))[:MAX_PAIRS]:
        names = inspection.class_names[one.label], inspection.class_names[other.label]
        classes = f" ({names[0]} and {names[1]})" if one.label != other.label else ""
        lines.append(printable(f"  {one.where} = {other.where}{classes}"))
    if len(inspection.duplicates) > MAX_PAIRS:
        lines.append(f"  and {len(inspection.duplicates) - MAX_PAIRS:,} more")
    return lines


def _problems(inspection: Inspection, out: Path | None) -> list[str]:
    if not inspection.unreadable:
        return ["problems: none"]
    count = len(inspection.unreadable)
    lines = [f"problems: {count:,} images or folders cannot be used (data.spoilt=skip leaves such images out)"]
    lines += [f"  {printable(str(problem))}" for problem in inspection.unreadable[:MAX_LISTED]]
    if count > MAX_LISTED:
        where = f"all of them are in {out}" if out else "--out FILE writes all of them"
        lines.append(f"  and {count - MAX_LISTED:,} more; {where}")
    elif out:
        lines.append(f"written to {out}")
    return lines
