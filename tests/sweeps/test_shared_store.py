"""Sweeps on machines without a common disk share their work through a database, and survive each other's deaths."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sweep_on_database
from test_sweep import AXES, TEMPERATURE, WEIGHT, recipe

from limbeck.errors import LimbeckError
from limbeck.sweeps import shared_store
from limbeck.sweeps.shared_store import SharedStore
from limbeck.sweeps.sweep import sweep

pytestmark = pytest.mark.middle

SCRIPT = Path(sweep_on_database.__file__)
TPE = {
    "axes": {TEMPERATURE: {"low": 1, "high": 20, "log": True}, WEIGHT: {"low": 0.1, "high": 0.9}},
    "complements": AXES["complements"],
    "strategy": "tpe", "trials": 7, "batch": 3,
}  # fmt: skip


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/work.db"


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(shared_store, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(shared_store, "DEAD_AFTER_SECONDS", 1.0)
    return


def started(about: dict[str, Any], folder: Path) -> subprocess.Popen[str]:
    words = [sys.executable, str(SCRIPT), json.dumps(about), str(folder)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("about", [AXES, TPE], ids=["grid", "tpe"])
def test_two_machines_share_a_sweep_and_one_is_killed(about: dict[str, Any], url: str, tmp_path: Path) -> None:
    """Folders apart, a database in common: each cohort of students is taught once, and both know everything."""
    alone = sweep(recipe(sweep={**about, "cohort": 2}), folder=tmp_path / "alone")
    shared = recipe(sweep={**about, "cohort": 2, "storage": url})
    machines = [tmp_path / name for name in ("one", "two")]
    working = [started(shared, folder) for folder in machines]
    until = time.monotonic() + 120
    while not list((machines[0] / "grid/search").glob("000/cohorts/students*/checkpoints/step*")):
        assert working[0].poll() is None and time.monotonic() < until
        time.sleep(0.01)
    working[0].send_signal(signal.SIGKILL)
    working[0].communicate()
    working[0] = started(shared, machines[0])
    for process in working:
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
    for folder in machines:
        result = json.loads((folder / "grid/result.json").read_text())
        for what in ("settings", "validation", "best", "ended"):
            assert result[what] == alone.result[what]
        assert [arm["test"] for arm in result["chosen"]["arms"]] == [
            arm["test"] for arm in alone.result["chosen"]["arms"]
        ]
    trained = [
        path.parent.relative_to(folder)
        for folder in machines
        for path in folder.glob("grid/search/*/models/distilled*/model.json")
    ]
    assert len(trained) == len(set(trained)) == len(alone.result["settings"]), "each on one of the machines"
    with sqlite3.connect(tmp_path / "work.db") as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)


def test_what_was_agreed_first_counts(url: str) -> None:
    one, two = SharedStore("sweep", url), SharedStore("sweep", url)
    assert one.get("a") is None
    assert one.setdefault("a", {"x": [1, None], "y": {"z": 0.1}}) == {"x": [1, None], "y": {"z": 0.1}}
    assert two.setdefault("a", {"x": 2}) == {"x": [1, None], "y": {"z": 0.1}} == two.get("a")
    assert two.get("b") is None and SharedStore("another", url).get("a") is None


def test_only_one_of_many_may_work(url: str) -> None:
    stores = [SharedStore("sweep", url) for _ in range(6)]
    at_work, most, total, lock = 0, 0, 0, threading.Lock()

    def work(mine: SharedStore) -> None:
        nonlocal at_work, most, total
        for _ in range(4):
            with mine.lease("cohort") as ours:
                if ours:
                    with lock:
                        at_work, most, total = at_work + 1, max(most, at_work + 1), total + 1
                    time.sleep(0.05)
                    with lock:
                        at_work -= 1

    threads = [threading.Thread(target=work, args=(mine,)) for mine in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and total >= 1
    with stores[0].lease("cohort") as ours, stores[1].lease("another") as theirs:
        assert ours and theirs


def test_who_lives_is_waited_for_and_who_is_dead_is_not(url: str, hurried: None) -> None:
    one, two = SharedStore("sweep", url), SharedStore("sweep", url)
    with one.lease("cohort") as ours:
        assert ours
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            with two.lease("cohort") as theirs:
                assert not theirs
            time.sleep(0.1)
    with two.lease("cohort") as theirs:
        assert theirs, "set free at once"
    mute = one.lease("cohort")
    one._send_heartbeats = lambda trial, over: None  # type: ignore[method-assign]  # as of one that was killed
    mute.__enter__()
    with two.lease("cohort") as theirs:
        assert not theirs, "not known to be dead yet"
    time.sleep(1.2)
    with two.lease("cohort") as theirs:
        assert theirs
        with one.lease("cohort") as again:
            assert not again, "its old claim is over"
    mute.__exit__(None, None, None)


def test_another_recipe_under_the_same_name_is_told(url: str, tmp_path: Path) -> None:
    SharedStore("grid", url).setdefault("recipe", {"fingerprint": "another"})
    with pytest.raises(LimbeckError, match=r"sweep\.storage: holds a sweep 'grid' of another recipe or other images"):
        sweep(recipe(sweep={**AXES, "storage": url}), folder=tmp_path)
