"""What a terminal shows while a run trains, and what is left on it afterwards."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from limbeck.commands.progress import RunDisplay
from limbeck.experiment.run import run
from limbeck.experiment.train_cohort import Watcher


def screen(written: str) -> list[str]:
    """The lines that a terminal would show: carriage returns, cursors that move up and lines that are wiped."""
    lines, row = [""], 0
    for piece in re.split(r"(\r|\n|\x1b\[[0-9;?]*[A-Za-z])", written):
        if piece == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif piece == "\x1b[2K":
            lines[row] = ""
        elif piece == "\x1b[1A":
            row = max(0, row - 1)
        elif piece and not piece.startswith(("\x1b", "\r")):
            lines[row] += piece  # a line is wiped before it is written anew
    return [line.rstrip() for line in lines]


class Terminal:
    """A terminal of so many columns, as the display sees it."""

    def __init__(self, columns: int) -> None:
        self.leader, follower = os.openpty()
        self.file = os.fdopen(follower, "w", buffering=1)
        self.console = Console(file=self.file, width=columns, height=40, force_terminal=True, color_system=None)

    def shown(self) -> list[str]:
        self.file.flush()
        os.set_blocking(self.leader, False)
        written = b""
        while True:
            try:
                written += os.read(self.leader, 65536)
            except BlockingIOError:
                return screen(written.decode().replace("\r\n", "\n"))


@contextmanager
def terminal(columns: int) -> Iterator[Terminal]:
    opened = Terminal(columns)
    try:
        yield opened
    finally:
        opened.file.close()
        os.close(opened.leader)


def train(watcher: Watcher, learners: list[str], epochs: int) -> None:
    for epoch in range(1, epochs + 1):
        watcher.step(epoch, epochs)
        for place, learner in enumerate(learners):
            accuracy = 0.5 + 0.1 * epoch - 0.01 * place
            row = {"epoch": epoch, "train_loss": 1 / epoch, "validation_accuracy": accuracy, "lr": 0.05, "seconds": 1.0}
            watcher.epoch(learner, row | {"images_per_second": 1234.4})


def test_a_terminal_keeps_how_every_cohort_stood() -> None:
    with terminal(100) as term:
        with RunDisplay(term.console) as display:
            train(display.watch("teachers", ["large-seed0"]), ["large-seed0"], 3)
            watcher = display.watch("students", ["a-seed0", "b-seed0"])
            watcher.say("passed over: [a thing]")
            train(watcher, ["a-seed0", "b-seed0"], 2)
        term.file.write("test split\n")
        lines = term.shown()
    rows = [line.split() for line in lines]
    assert ["large-seed0", "3", "0.3333", "80.00%", "80.00%", "0.05", "1,234"] in rows
    assert ["a-seed0", "2", "0.5000", "70.00%", "70.00%", "0.05", "1,234"] in rows
    assert ["b-seed0", "2", "0.5000", "69.00%", "69.00%", "0.05", "1,234"] in rows
    assert ["epoch", "loss", "validation", "best", "lr", "images/s"] in rows
    assert "passed over: [a thing]" in lines
    assert "test split" in lines, "what comes after has a line of its own"
    assert sum(row[:1] == ["large-seed0"] for row in rows) == 1, "nothing is left twice"


def test_a_narrow_terminal_omits_learning_rate_and_speed() -> None:
    with terminal(60) as term:
        with RunDisplay(term.console) as display:
            train(display.watch("students", ["baseline-seed0"]), ["baseline-seed0"], 2)
        lines = term.shown()
    assert ["baseline-seed0", "2", "0.5000", "70.00%", "70.00%"] in [line.split() for line in lines]
    assert all(len(line) <= 60 for line in lines)


def test_elsewhere_each_epoch_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with RunDisplay() as display:
        train(display.watch("students", ["a-seed0"]), ["a-seed0"], 1)
    assert capsys.readouterr().err.splitlines() == [
        "a-seed0: epoch 1, training loss 1.0000, validation accuracy 60.00%, lr 0.05, 1,234 images/s, 1.0 s"
    ]


def test_a_file_is_no_terminal_even_where_colours_are_forced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with (tmp_path / "log").open("w") as file:
        assert RunDisplay(Console(file=file)).live is None


def test_a_run_reports_learning_rate_and_speed(tmp_path: Path) -> None:
    tree = {
        "name": "speed",
        "threads": 1,
        "evaluation": {"latency_batch": 0},
        "data": {"source": "digits", "train_images": 300},
        "views": {"batch_size": 64},
        "students": {
            "a": {
                "model": "lightweight_cnn",
                "epochs": 2,
                "optimizer": {"name": "sgd", "lr": 0.05},
                "loss": [{"name": "cross_entropy"}],
            }
        },
    }
    rows: list[dict[str, float]] = []
    run(
        tree,
        folder=tmp_path,
        make_watcher=lambda key, learners: Watcher(epoch=lambda learner, row: rows.append(row)),
    )
    assert [row["lr"] for row in rows] == [0.05, 0.05]
    for row in rows:
        assert 256 / row["seconds"] * 0.9 < row["images_per_second"] < 1e6, "four batches of 64, without validation"
