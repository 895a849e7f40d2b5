"""What a run survives besides kills: a killed --fresh, a lost reader, a removed folder, a second signal."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from test_continuing import STUDENT, recipe

import limbeck
from limbeck.errors import LimbeckError
from limbeck.experiment.train_cohort import Watcher
from limbeck.storage import checkpoint, run_directory
from limbeck.storage.run_directory import RunDirectory
from stopped_run import stop_after


@pytest.mark.middle
@pytest.mark.parametrize("deleted", range(7))
def test_a_killed_fresh_never_shows_old_numbers_under_a_new_recipe(
    deleted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = recipe(), recipe(seeds=[1])
    limbeck.run(old, folder=tmp_path)
    flushes = 0

    def killed(folder: Path) -> None:
        nonlocal flushes
        if flushes == deleted:
            raise KeyboardInterrupt
        flushes += 1

    with monkeypatch.context() as patch:
        patch.setattr(run_directory, "flush", killed)
        try:
            RunDirectory(tmp_path / "own").clear()
        except KeyboardInterrupt:
            assert not (tmp_path / "own" / "result.json").exists(), "what says finished goes first"
    told, done = "", None
    try:
        done = limbeck.run(new, folder=tmp_path)
    except LimbeckError as error:
        told = str(error)
    assert ("was made by another recipe" in told) == (done is None)
    if done:
        assert not done.was_finished
        assert {arm["seed"] for arm in done.result["arms"]} == {1}


def test_a_run_whose_recipe_is_gone_is_nobodys(tmp_path: Path) -> None:
    limbeck.run(recipe(), folder=tmp_path)
    (tmp_path / "own" / "recipe.json").unlink()
    with pytest.raises(LimbeckError, match=r"recipe\.json is missing; --fresh starts over"):
        limbeck.run(recipe(), folder=tmp_path)


def test_no_save_takes_the_place_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaced, a good checkpoint is away for a moment, and a kill then loses what was acknowledged."""
    asides: list[Path] = []
    set_aside, atomic_folder = checkpoint.set_aside, checkpoint.atomic_folder

    def write_beside(path: Path, **options):
        assert not path.exists(), f"{path.name} is replaced"
        return atomic_folder(path, **options)

    monkeypatch.setattr(checkpoint, "atomic_folder", write_beside)
    monkeypatch.setattr(checkpoint, "set_aside", lambda path: (asides.append(path), set_aside(path))[1])
    often = recipe(save_every_seconds=0, keep_checkpoints=1)
    for steps in (5, 20, 1):
        stop_after(often, tmp_path, steps)
    limbeck.run(often, folder=tmp_path)
    assert len(asides) > 20
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("own/cohorts/*/checkpoints/*/manifest.json")}
    for left in (
        "result.json",
        *(str(p.relative_to(tmp_path / "own")) for p in tmp_path.glob("own/cohorts/*/done.json")),
    ):
        (tmp_path / "own" / left).unlink()
    limbeck.run(often, folder=tmp_path)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.glob("own/cohorts/*/checkpoints/*/manifest.json")}
    assert after == before, "a finished cohort that is only measured again saves nothing"


def test_a_reader_that_is_gone_costs_nothing(tmp_path: Path) -> None:
    long = {**STUDENT, "epochs": 500, "loss": [{"name": "cross_entropy"}]}
    (tmp_path / "own.yaml").write_text(json.dumps(recipe(students={"net": long})))
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "limbeck", "run", "own.yaml"], cwd=tmp_path, stdout=writing, stderr=writing,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    os.close(writing)
    assert os.read(reading, 1)
    os.close(reading)  # as a killed `tee` does
    time.sleep(1.0)
    assert process.poll() is None, "it goes on"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert list(tmp_path.glob("runs/own/cohorts/*/checkpoints/step-*/manifest.json"))


def test_a_folder_that_is_removed_under_a_run_is_noticed(tmp_path: Path) -> None:
    """Another run may be in its place by now: nothing is mixed."""
    taken = 0

    def step(done: float, epochs: int) -> None:
        nonlocal taken
        taken += 1
        if taken == 5:
            shutil.rmtree(tmp_path / "own")

    often = recipe(save_every_seconds=0)
    with pytest.raises(LimbeckError, match="was removed while a process worked in it"):
        limbeck.run(often, folder=tmp_path, make_watcher=lambda key, names: Watcher(step=step))
    assert not list(tmp_path.glob("own/cohorts/*/checkpoints"))


def test_distilling_into_one_folder_is_for_one(tmp_path: Path) -> None:
    teacher, student = (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10)) for _ in range(2))
    with run_directory.CohortDirectory(tmp_path / "kept").try_lock() as ours:
        assert ours
        with pytest.raises(LimbeckError, match="is in use by another process"):
            limbeck.distill(student, teacher, data="digits", epochs=1, save_to=tmp_path / "kept")


def test_a_folder_that_cannot_be_listed_is_not_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_after(recipe(), tmp_path, 5)
    (stream,) = (tmp_path / "own" / "cohorts").glob("*/checkpoints")
    listdir = os.listdir

    def failing(path):
        if Path(path) == stream:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return listdir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", failing)
        with pytest.raises(LimbeckError, match="checkpoints: cannot be read: Input/output error"):
            limbeck.run(recipe(), folder=tmp_path)
    assert checkpoint.newest(stream) is not None


TWICE = """
import os, signal, sys, time
from limbeck.experiment.signals import GracefulShutdown
with GracefulShutdown() as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(float(sys.argv[1]))
    os.kill(os.getpid(), signal.SIGTERM)
    print("still here", flush=True)
    stop.check()
"""


def test_a_second_signal_ends_at_once_and_says_what_it_cost() -> None:
    done = subprocess.run([sys.executable, "-c", TWICE, "0.7"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (137, "")
    assert done.stderr == "stopped at once: the work since the last save is lost\n"


def test_the_same_signal_sent_twice_is_one_wish() -> None:
    done = subprocess.run([sys.executable, "-c", TWICE, "0.01"], capture_output=True, text=True, check=False)
    assert done.stdout == "still here\n" and "Stopped" in done.stderr
