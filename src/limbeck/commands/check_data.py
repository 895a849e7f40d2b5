"""What a data source holds, in lines for a person: `limbeck check`."""

from __future__ import annotations

import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from limbeck.building.data import build
from limbeck.data.cache_writer import SPLITS
from limbeck.data.inspection import Examination, of_dataset, of_inventory
from limbeck.data.unreadable import SHOWN
from limbeck.errors import LimbeckError, printable
from limbeck.recipes import registry
from limbeck.report.formatting import plain_table
from limbeck.storage.atomic import replace

from .evaluate import data_of

PAIRS_SHOWN = 10


@dataclass(frozen=True)
class Checked:
    """lines: for a person. sound: whether nothing is spoilt."""

    lines: list[str]
    sound: bool


def check_source(source: str, options: Sequence[str] = (), out: Path | None = None, *, width: int = 100) -> Checked:
    """Look at every image of a source, and say what there is and what is wrong.

    out: a file for all that is spoilt, one in a line, which holds nothing where nothing is.
    Raises LimbeckError where there is no such source, or `out` cannot be written.
    """
    data = data_of(source, options)
    assert data is not None
    seen = _examined(source, dict(data.options))
    if out is not None:
        lines = [printable(str(spoilt)) for spoilt in seen.spoilt]
        replace(out, "".join(f"{line}\n" for line in lines).encode())
    return Checked(_described(source, seen, out, width), not seen.spoilt)


def _examined(source: str, options: dict[str, object]) -> Examination:
    entry = registry.find("data", source)
    if wrong := registry.check_options(entry, options):
        raise LimbeckError(f"{wrong[0][0]}: {wrong[0][1]}")
    take = getattr(sys.modules[registry.load(entry).__module__], "inventory", None)
    if take is None:  # an archive of known contents: what it holds is decoded as it is used
        return of_dataset(build(source, options))
    # What is looked at are the files as they are, whatever size they will be stored at.
    options = {name: value for name, value in options.items() if name not in ("image_size", "spoilt")}
    return of_inventory(take(registry.split_name(source)[1], **options), source)


def _described(source: str, seen: Examination, out: Path | None, width: int) -> list[str]:
    total = seen.sizes.total()
    lines = [f"{source}: {len(seen.class_names):,} classes, {total:,} images that can be used", *seen.notes, ""]
    splits = [split for split in SPLITS if split in seen.counts]
    rows = [
        [printable(name), *(f"{seen.counts[split][label]:,}" for split in splits)]
        for label, name in enumerate(seen.class_names)
    ]
    rows.append(["all", *(f"{seen.counts[split].sum():,}" for split in splits)])
    lines += [*plain_table(["class", *splits], rows, width), ""]
    if "validation" not in splits:
        lines += ["no validation split of its own: it is held out of train (data.validation)", ""]
    if total:
        lines += [_sizes(seen.sizes), *_duplicates(seen)]
    lines += _spoilt(seen, out)
    return lines


def _sizes(sizes: Counter[tuple[int, int]]) -> str:
    if len(sizes) == 1:
        ((height, width),) = sizes
        return f"sizes: all {width} × {height} px"
    shorter = sorted(min(shape) for shape in sizes.elements())
    longer = max(max(shape) for shape in sizes)
    return (
        f"sizes: {len(sizes):,} different ones; the shorter side {shorter[0]:,} to {shorter[-1]:,} px, "
        f"in the middle {statistics.median_low(shorter):,}; the longest side {longer:,}"
    )


def _duplicates(seen: Examination) -> list[str]:
    if not seen.twice:
        return ["duplicates: none"]
    across = [pair for pair in seen.twice if pair[0].split != pair[1].split]
    differing = [pair for pair in seen.twice if pair[0].label != pair[1].label]
    first = f"duplicates: {len(seen.twice):,} images are pixel for pixel equal to an earlier one"
    lines = [f"{first}; {len(across):,} of them to one of another split, {len(differing):,} to one of another class"]
    worst = [*differing, *across, *seen.twice]
    for one, other in list(dict.fromkeys(worst))[:PAIRS_SHOWN]:
        names = seen.class_names[one.label], seen.class_names[other.label]
        classes = f" ({names[0]} and {names[1]})" if one.label != other.label else ""
        lines.append(printable(f"  {one.where} = {other.where}{classes}"))
    if len(seen.twice) > PAIRS_SHOWN:
        lines.append(f"  and {len(seen.twice) - PAIRS_SHOWN:,} more")
    return lines


def _spoilt(seen: Examination, out: Path | None) -> list[str]:
    if not seen.spoilt:
        return ["spoilt: none"]
    lines = [f"spoilt: {len(seen.spoilt):,} images or folders cannot be used (data.spoilt=skip leaves images out)"]
    lines += [f"  {printable(str(spoilt))}" for spoilt in seen.spoilt[:SHOWN]]
    if len(seen.spoilt) > SHOWN:
        where = f"all are in {out}" if out else "--out FILE writes all of them"
        lines.append(f"  and {len(seen.spoilt) - SHOWN:,} more; {where}")
    elif out:
        lines.append(f"written to {out}")
    return lines
