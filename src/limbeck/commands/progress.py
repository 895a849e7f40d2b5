"""Progress of a run on stderr: a bar and a table of the learners on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from limbeck.console.latest_metrics import LatestMetrics
from limbeck.console.progress_bar import notice
from limbeck.experiment.train_cohort import Row, Watcher

SECONDS_BETWEEN_LINES = 10.0
WIDE = 80
"""Minimum width of a terminal to show the learning rate and the speed."""


class RunDisplay:
    """A context manager around a run; `watch` is the run's `make_watcher`. The last display stays on the screen."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.live: Live | None = None
        self.cohort: CohortDisplay | None = None
        if self.console.is_terminal and not self.console.is_dumb_terminal and self.console.file.isatty():
            self.live = Live(console=self.console, refresh_per_second=4, get_renderable=lambda: self.cohort or "")

    def __enter__(self) -> RunDisplay:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            with contextlib.suppress(OSError):  # a closed terminal must not end the run
                self.live.stop()
                if self.cohort:
                    self.console.print()

    def watch(self, key: str, learners: Sequence[str]) -> Watcher:
        """Make the watcher of one cohort. The table of the previous cohort stays above."""
        if not self.live:
            return _line_watcher(learners)
        if self.cohort:
            self._print(self.cohort)
        self.cohort = CohortDisplay(learners)
        return Watcher(self.cohort.step, self.cohort.epoch, lambda line: self._print(escape(line)))

    def _print(self, renderable: CohortDisplay | str) -> None:
        with contextlib.suppress(OSError):
            self.console.print(renderable)


class CohortDisplay:
    """The progress bar of a cohort and the latest metrics of its learners."""

    def __init__(self, learners: Sequence[str]) -> None:
        self.bar = Progress(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self.task = self.bar.add_task("epoch 0", total=None)
        self.metrics = LatestMetrics(learners)

    def step(self, done: float, epochs: int) -> None:
        """Update the bar. done: epochs completed, as a fraction."""
        self.bar.update(self.task, completed=done, total=epochs, description=f"epoch {done:.1f} of {epochs}")

    def epoch(self, learner: str, row: Row) -> None:
        """Update the metrics of a learner after an epoch."""
        self.metrics.update(learner, row)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Group(self.bar, self.table(options.max_width))

    def table(self, width: int) -> Table:
        """The metrics, one row per learner."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        table.add_column("")
        names = ["epoch", "loss", "validation", "best", *(["lr", "images/s"] if width >= WIDE else [])]
        for name in names:
            table.add_column(name, justify="right", no_wrap=True)
        for learner in self.metrics.rows:
            texts = self.metrics.texts(learner)
            table.add_row(escape(learner), *(texts[name] for name in names if texts))
        return table


def _line_watcher(learners: Sequence[str]) -> Watcher:
    last = time.monotonic()

    def step(done: float, epochs: int) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            notice(f"{', '.join(learners)}: epoch {done:.2f} of {epochs}")

    def epoch(learner: str, row: Row) -> None:
        nonlocal last
        last = time.monotonic()
        accuracy = row.get("validation_accuracy")
        validation = f"validation accuracy {accuracy:.2%}" if accuracy is not None else "not validated"
        lr = f", lr {row['lr']:.3g}" if "lr" in row else ""
        speed = f", {row['images_per_second']:,.0f} images/s" if "images_per_second" in row else ""
        metrics = f"training loss {row['train_loss']:.4f}, {validation}{lr}{speed}, {row['seconds']:.1f} s"
        notice(f"{learner}: epoch {row['epoch']}, {metrics}")

    return Watcher(step, epoch, notice)
