"""How far a run is, and about how long it will take."""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import median

from limbeck.report.formatting import DASH, duration, format_number
from limbeck.report.run_data import RunRecord
from limbeck.storage.run_directory import LearnerId

from .markup import escape, table_html

RECENT = 5
"""Epochs whose median gives the speed of a cohort."""


def progress_html(record: RunRecord) -> str:
    """A bar over all epochs, the time left and a row for each learner; empty for a finished run."""
    if record.state == "finished" or not record.progress:
        return ""
    total = sum(one.epochs for one in record.progress)
    done = sum(one.epochs if one.state in ("finished", "failed") else one.epochs_done for one in record.progress)
    rows = []
    for one in record.progress:
        curve = record.curves.get((one.arm, one.seed)) or ()  # pyright: ignore[reportArgumentType]
        reached = curve[-1].get("validation_accuracy") if curve else None
        rows.append(
            [
                escape(one.arm),
                DASH if one.seed is None else str(one.seed),
                one.state,
                f"{one.epochs_done} of {one.epochs}" if one.epochs else "from a file",
                DASH if reached is None else format_number(100 * reached),
            ]
        )
    seconds = time_left(record) if record.state == "running" else None
    left = "" if seconds is None else f" About <strong>{duration(seconds)}</strong> left."
    bar = (
        f'<p><progress max="{max(total, 1)}" value="{done}" aria-label="Epochs of all learners"></progress> '
        f"{done:,} of {total:,} epochs of all learners.{left}</p>"
    )
    return bar + table_html(
        ["Arm", "Seed", "State", "Epochs", "Validation top-1 (%)"], rows, "Progress of each learner"
    )


def time_left(record: RunRecord, now: float | None = None) -> float | None:
    """Seconds until the last epoch, from the pace of each cohort so far; None before the first epoch has ended.

    Learners of a cohort are trained together. Those that wait are taken to need what others needed for an epoch.
    """
    names = {str(LearnerId(one.arm, one.seed)): one for one in record.progress}
    now = time.time() if now is None else now
    seconds, paces, seen = 0.0, [], set[str]()
    for folder in record.models_folder.glob("cohorts/*/metrics"):
        files = [path for path in folder.glob("*.jsonl") if path.stem in names]
        pace = [value for path in files if (value := _seconds_per_epoch(path)) is not None]
        if not files or not pace:
            continue
        learners = [names[path.stem] for path in files]
        seen.update(path.stem for path in files)
        paces.append(max(pace) / len(learners))
        missing = max((one.epochs - one.epochs_done for one in learners if one.state == "training"), default=0)
        if missing > 0:
            since = now - max(path.stat().st_mtime for path in files)
            seconds += missing * max(pace) - min(max(since, 0.0), max(pace))
    if not paces:
        return None
    waiting = sum(one.epochs for name, one in names.items() if name not in seen and one.state == "waiting")
    return seconds + waiting * sum(paces) / len(paces)


def _seconds_per_epoch(path: Path) -> float | None:
    try:
        lines = path.read_bytes().split(b"\n")[:-1][-RECENT:]
        return median(float(json.loads(line)["seconds"]) for line in lines) if lines else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
