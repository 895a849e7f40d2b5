"""Progress of a run for a person: a bar on a terminal, plain lines elsewhere. Both on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from .follow import Row, Watcher

SECONDS_BETWEEN_LINES = 10.0


class RunDisplay:
    """Enter it around a run; `watch` is its `make_watcher`."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.bar: Progress | None = None
        if self.console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"), console=self.console,
            )  # fmt: skip

    def __enter__(self) -> RunDisplay:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def watch(self, key: str, learners: Sequence[str]) -> Watcher:
        """A watcher of one cohort."""
        if self.bar:
            return _with_bar(self.bar, learners)
        return _with_lines(learners)


def _with_bar(bar: Progress, learners: Sequence[str]) -> Watcher:
    task = bar.add_task(escape(", ".join(learners)), total=None, note="")
    latest: dict[str, str] = {}

    def step(done: float, epochs: int) -> None:
        with contextlib.suppress(OSError):
            bar.update(task, completed=done, total=epochs)

    def epoch(learner: str, row: Row) -> None:
        accuracy = row.get("validation_accuracy")
        latest[learner] = f"{accuracy:.1%}" if accuracy is not None else "ended"
        with contextlib.suppress(OSError):
            bar.update(task, note=escape("validation " + ", ".join(latest.values())))

    def say(line: str) -> None:
        with contextlib.suppress(OSError):
            bar.console.print(escape(line))

    return Watcher(step, epoch, say)


def _with_lines(learners: Sequence[str]) -> Watcher:
    last = time.monotonic()

    def say(line: str) -> None:
        with contextlib.suppress(OSError):  # who reads our words may be gone: no reason to lose a run
            print(line, file=sys.stderr, flush=True)

    def step(done: float, epochs: int) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"{', '.join(learners)}: epoch {done:.2f} of {epochs}")

    def epoch(learner: str, row: Row) -> None:
        nonlocal last
        last = time.monotonic()
        accuracy = row.get("validation_accuracy")
        judged = f"validation accuracy {accuracy:.2%}" if accuracy is not None else "not validated"
        say(f"{learner}: epoch {row['epoch']}, training loss {row['train_loss']:.4f}, {judged}, {row['seconds']:.1f} s")

    return Watcher(step, epoch, say)
