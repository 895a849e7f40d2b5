"""What a result shows of itself in a notebook: whole, well-formed, escaped, and without torch."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from sample_results import curve, evaluation, learner, result_of, three_arms

import limbeck
from limbeck.experiment.notebook_progress import notebook_watcher
from limbeck.experiment.run import Run
from limbeck.report.web_page.notebook import html_of_run, html_of_student, html_of_sweep
from limbeck.sweeps.sweep import Swept

VOID = {"img", "br"}
EVIL = "<script>alert('&\"')</script>"


class Reader(HTMLParser):
    """Checks that every element is closed in its turn, and collects text, elements and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.text += data


def checked(html: str) -> Reader:
    """The HTML, read; it is whole in itself."""
    read = Reader(html)
    assert not {"script", "link", "iframe", "button"} & set(read.tags)
    for name, value in read.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "href") or (value or "").startswith("data:image/png;base64,")
    return read


def swept() -> dict[str, Any]:
    settings = [{"temperature": one, "lr": two} for one in (1, 4) for two in (0.1, 0.2)]
    return {
        "axes": ["temperature", "lr"],
        "settings": settings,
        "validation": {"distilled": [[0.5 + 0.1 * place] for place in range(4)]},
        "ended": {"distilled": [["finished"]] * 4},
        "swept": ["distilled"],
        "best": {"distilled": 3},
        "standard": 0,
        "recipe": {"name": "grid"},
        "chosen": result_of(three_arms()),
    }


def test_a_run_shows_its_table_and_its_main_figure(tmp_path: Path) -> None:
    html = Run(tmp_path, result_of(three_arms()), tmp_path / "report.md")._repr_html_()
    read = checked(html)
    assert {"table", "img"} <= set(read.tags)
    assert all(arm in read.text for arm in ("resnet", "baseline", "distilled"))
    assert "points" in read.text and "95 % confidence interval" in read.text
    (data,) = re.findall(r"base64,([^\"]+)", html)
    assert base64.b64decode(data).startswith(b"\x89PNG")
    assert any(name == "alt" and value for name, value in read.attributes)


def test_a_sweep_shows_the_final_runs_and_all_trials(tmp_path: Path) -> None:
    read = checked(Swept(tmp_path, swept(), tmp_path / "report.md")._repr_html_())
    assert "4 trials" in read.text and "distilled" in read.text
    assert {"table", "img"} <= set(read.tags)


def test_a_distilled_student_shows_its_numbers_and_its_curves() -> None:
    facts = {"student": EVIL, "test accuracy": "81.00% of 1,000 images"}
    read = checked(html_of_student(facts, EVIL, {"test": evaluation(0.81)}, curve(0.8)))
    assert "81.00% of 1,000 images" in read.text and EVIL in read.text
    assert {"table", "img"} <= set(read.tags)


def test_names_and_paths_are_text(tmp_path: Path) -> None:
    arms = [learner(EVIL, seed, 0.8 + 0.01 * seed, teacher=["a|b"]) for seed in (0, 1)]
    arms += [learner("a|b", 0, 0.9, role="teacher")]
    read = checked(html_of_run(tmp_path / EVIL, result_of(arms)))
    assert read.text.count("alert(") >= 2


def test_runs_with_nothing_measured_show_what_they_have(tmp_path: Path) -> None:
    failure = {"epoch": 1, "step": 3, "term": "loss", "value": "nan"}
    failed = learner("net", 0, 0.0, failure=failure, ended="diverged")
    for split in ("test", "validation", "efficiency"):
        failed.pop(split, None)
    for arms in ([], [failed]):
        assert "Nothing has been measured yet" in checked(html_of_run(tmp_path, result_of(arms))).text
    checked(html_of_student({"student": "Net"}, "Net", {}, []))
    checked(html_of_sweep(tmp_path, swept() | {"validation": {"distilled": [[], [], [], []]}}))


def test_a_real_run_and_a_real_student(finished: Run) -> None:
    assert "accuracy" in checked(finished._repr_html_()).text.lower()


@pytest.mark.middle
def test_a_real_student(tmp_path: Path) -> None:
    from torch import nn

    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    done = limbeck.distill(net, None, data="digits", epochs=2, loss="cross_entropy", precision="fp32")
    read = checked(done._repr_html_())
    assert "1,930" in read.text and f"{done.test.top1:.2%}" in read.text
    assert "img" in read.tags


def test_it_needs_no_torch() -> None:
    code = "import sys, limbeck.report.web_page.notebook, limbeck.console.notebook; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_bar_in_a_notebook() -> None:
    shown: list[str] = []
    watcher = notebook_watcher(["net-seed0", EVIL], shown.append)
    watcher.say(EVIL)
    watcher.step(0.5, 2)
    watcher.epoch(EVIL, {"epoch": 1, "train_loss": 1.25, "validation_accuracy": 0.5, "images_per_second": 1234.0})
    watcher.epoch("net-seed0", {"epoch": 1, "train_loss": 2.0})
    watcher.step(2.0, 2)
    for html in shown:
        checked(html)
    last = checked(shown[-1])
    assert ("value", "2.000") in last.attributes and ("max", "2") in last.attributes
    assert "epoch 2.0 of 2" in last.text and "50.00%" in last.text and "1,234" in last.text and "ended" in last.text
    assert EVIL in last.text


def test_updates_are_few() -> None:
    shown: list[str] = []
    watcher = notebook_watcher(["net-seed0"], shown.append)
    for step in range(2000):
        watcher.step(step / 1000, 2)
    assert len(shown) < 100
