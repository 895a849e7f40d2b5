"""The progress of a cohort in a notebook: a bar, and the latest metrics of each learner."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from limbeck.console.latest_metrics import LatestMetrics
from limbeck.console.notebook import NotebookOutput, in_notebook

from .train_cohort import Row, Watcher

SECONDS_BETWEEN_UPDATES = 0.5
"""Each update is a message to the browser."""
MAX_LINES = 10
COLUMNS = {
    "epoch": "epoch",
    "loss": "training loss",
    "validation": "validation accuracy",
    "best": "best",
    "images/s": "images/s",
}
"""Names of metrics, and what they are called in the table."""


def watch_in_notebook() -> Callable[[str, Sequence[str]], Watcher] | None:
    """What makes the watcher of each cohort in a notebook; None elsewhere."""
    return (lambda key, learners: notebook_watcher(learners)) if in_notebook() else None


def notebook_watcher(learners: Sequence[str], show: Callable[[str], Any] | None = None) -> Watcher:
    """A watcher whose display is an output of the current cell. show: is given HTML instead."""
    display = _Display(learners, show or NotebookOutput().show)
    return Watcher(display.step, display.epoch, display.say)


class _Display:
    def __init__(self, learners: Sequence[str], show: Callable[[str], Any]) -> None:
        self.show = show
        self.done, self.epochs = 0.0, 0
        self.metrics = LatestMetrics(learners)
        self.lines: list[str] = []
        self.shown = -SECONDS_BETWEEN_UPDATES

    def step(self, done: float, epochs: int) -> None:
        self.done, self.epochs = done, epochs
        self._update(now=done >= epochs)

    def epoch(self, learner: str, row: Row) -> None:
        self.metrics.update(learner, row)
        self._update()

    def say(self, line: str) -> None:
        self.lines = [*self.lines, line][-MAX_LINES:]
        self._update(now=True)

    def _update(self, *, now: bool = False) -> None:
        if now or time.monotonic() - self.shown >= SECONDS_BETWEEN_UPDATES:
            self.shown = time.monotonic()
            self.show(self.html())

    def html(self) -> str:
        lines = "".join(f"<div>{escape(line)}</div>" for line in self.lines)
        return f"<div>{self._bar()}{lines}</div>"

    def _bar(self) -> str:
        if not self.epochs:
            return ""
        text = f"epoch {self.done:.1f} of {self.epochs}"
        head = "".join(f"<th>{name}</th>" for name in ("learner", *COLUMNS.values()))
        rows = "".join(
            f"<tr><td>{escape(learner)}</td>{''.join(f'<td>{texts[name]}</td>' for name in COLUMNS)}</tr>"
            for learner in self.metrics.rows
            if (texts := self.metrics.texts(learner))
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>" if rows else ""
        return (
            f'<div><progress value="{self.done:.3f}" max="{self.epochs}" aria-label="{text}"></progress> {text}</div>'
            f"{table}"
        )
