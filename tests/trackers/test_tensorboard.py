"""TensorBoard's own reader finds every epoch exactly once, whatever happened while the files were written."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logged_runs import ROWS, STUDENT, metrics, recipe

import limbeck
from limbeck.errors import LimbeckError
from limbeck.trackers import epoch_log, tensorboard
from limbeck.trackers.epoch_log import scalars
from stopped_run import stop_after

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every value in a folder by tag, as (step, value), read by TensorBoard."""
    events = event_accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def expected(rows: list[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """The same from the metrics log; event files hold float32."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for tag, value in scalars(row).items():
            found.setdefault(tag, []).append((row["epoch"], float(np.float32(value))))
    return found


def logs_of(run: Path) -> dict[str, Any]:
    return {folder.name: read(folder) for folder in sorted((run / "tensorboard").iterdir())}


def assert_logs_are_the_metrics(run: Path) -> None:
    assert logs_of(run) == {learner: expected(rows) for learner, rows in metrics(run).items()}


def written(folder: Path, rows: list[dict[str, Any]]) -> Path:
    file = tensorboard.open_tracker(folder, "recipe", "net-seed0", {})
    file.restart([])
    for row in rows:
        file.append(row)
    file.close(ended=True)
    return file.path


def test_each_epoch_is_read_back(tmp_path: Path) -> None:
    path = written(tmp_path, ROWS)
    assert path.parent == tmp_path / "tensorboard" / "net-seed0"
    assert read(path.parent) == expected(ROWS)
    assert set(read(path.parent)) == {"train/loss", "train/kd_term", "validation/accuracy", "lr"}


def test_an_epoch_is_there_while_the_run_goes_on(tmp_path: Path) -> None:
    file = tensorboard.open_tracker(tmp_path, "recipe", "net-seed0", {})
    file.restart([])
    for count, row in enumerate(ROWS, 1):
        file.append(row)
        assert read(file.path.parent) == expected(ROWS[:count])
    file.close(ended=True)


@pytest.mark.parametrize("durable", range(4))
def test_after_a_resume_the_file_holds_what_the_metrics_log_holds(tmp_path: Path, durable: int) -> None:
    path = written(tmp_path, ROWS)
    before = path.read_bytes()
    file = tensorboard.open_tracker(tmp_path, "recipe", "net-seed0", {})
    file.restart(ROWS[:durable])
    assert read(path.parent) == expected(ROWS[:durable])
    assert before.startswith(path.read_bytes()), "times are kept"
    for row in ROWS[durable:]:
        file.append(row)
    file.close(ended=True)
    assert read(path.parent) == expected(ROWS)


def test_a_file_cut_anywhere_is_made_whole(tmp_path: Path) -> None:
    path = written(tmp_path, ROWS)
    whole, inode = path.read_bytes(), path.stat().st_ino
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        file = tensorboard.open_tracker(tmp_path, "recipe", "net-seed0", {})
        file.restart(ROWS)
        file.close(ended=True)
        assert len(path.read_bytes()) == len(whole)
        assert read(path.parent) == expected(ROWS)
    assert path.stat().st_ino == inode, "a TensorBoard that reads it goes on reading it"


def test_a_damaged_byte_is_mended(tmp_path: Path) -> None:
    path = written(tmp_path, ROWS)
    whole = path.read_bytes()
    for place in range(0, len(whole), 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        file = tensorboard.open_tracker(tmp_path, "recipe", "net-seed0", {})
        file.restart(ROWS)
        file.close(ended=True)
        assert read(path.parent) == expected(ROWS)


def test_numbers_that_are_not_finite_are_left_out() -> None:
    row = {"epoch": 1, "train_loss": float("nan"), "validation_loss": None, "lr": 0.1, "seconds": float("inf")}
    assert scalars(row) == {"lr": 0.1}


def test_a_run_with_teacher_and_students(tmp_path: Path, recipe_text: str) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(recipe_text + "log: [tensorboard]\n", encoding="utf-8")
    done = limbeck.run(path, folder=tmp_path)
    assert set(logs_of(done.folder)) == {"wide-seed0", "baseline-seed0", "distilled-seed0"}
    assert_logs_are_the_metrics(done.folder)


def test_a_stopped_run_that_goes_on(tmp_path: Path) -> None:
    logged = recipe(log=["tensorboard"])
    stop_after(logged, tmp_path, 30)
    done = limbeck.run(logged, folder=tmp_path)
    assert len(metrics(done.folder)["net-seed0"]) == 2
    assert_logs_are_the_metrics(done.folder)


def saved_epochs(run: Path, learner: str) -> int:
    """The epoch of the newest checkpoint of a learner's cohort."""
    (log,) = run.glob(f"cohorts/*/metrics/{learner}.jsonl")
    manifests = log.parents[1].glob("checkpoints/step-*/manifest.json")
    return max((json.loads(one.read_text())["info"]["epoch"] for one in manifests), default=0)


@pytest.mark.middle
def test_sigkill_at_random_moments(recipe_text: str, start, tmp_path: Path) -> None:
    """Killed at any moment, often with epochs that no checkpoint has: each epoch is there once, as the run has it."""
    path, run = tmp_path / "small.yaml", tmp_path / "runs" / "killed"
    seldom = recipe_text.replace("save_every_seconds: 0.1", "save_every_seconds: 1.0")
    path.write_text(seldom + "log: [tensorboard]\n", encoding="utf-8")
    chance, kills, beyond = random.Random(3), 0, 0

    def changes() -> dict[Path, int]:
        return {one: one.stat().st_mtime_ns for one in run.glob("tensorboard/*/*")}

    for _ in range(60):
        process = start("run", path, "--name", "killed", cwd=tmp_path)
        if kills >= 6 and beyond:
            _, err = process.communicate(timeout=300)
            assert process.returncode == 0, err
            break
        before, deadline = changes(), time.monotonic() + 120
        while changes() == before:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 1.0) if kills else 0.0)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        for learner, tags in logs_of(run).items():
            for values in tags.values():
                steps = [step for step, _ in values]
                assert steps == list(range(1, len(steps) + 1)), f"{learner}: doubled or missing"
            beyond += bool(tags) and len(tags["lr"]) > saved_epochs(run, learner)
    assert kills >= 6 and beyond, "epochs were logged that had to be trained again"
    assert (run / "result.json").exists()
    assert_logs_are_the_metrics(run)


def test_it_changes_neither_numbers_nor_keys(tmp_path: Path) -> None:
    plain = limbeck.run(recipe(), folder=tmp_path / "plain")
    logged = limbeck.run(recipe(log=["tensorboard"]), folder=tmp_path / "logged")
    of = ("models/net-seed0/model.safetensors",)
    assert [(plain.folder / one).read_bytes() for one in of] == [(logged.folder / one).read_bytes() for one in of]
    keys = [sorted(one.name for one in (run.folder / "cohorts").iterdir()) for run in (plain, logged)]
    assert keys[0] == keys[1]
    assert "log" not in json.loads((plain.folder / "recipe.json").read_text())
    assert not (plain.folder / "tensorboard").exists()


def test_a_finished_run_gets_logs_by_extend(tmp_path: Path) -> None:
    done = limbeck.run(recipe(), folder=tmp_path)
    weights = (done.folder / "models/net-seed0/model.safetensors").stat().st_mtime_ns
    with pytest.raises(LimbeckError, match=r"log: .*absent.*tensorboard"):
        limbeck.run(recipe(log=["tensorboard"]), folder=tmp_path)
    limbeck.run(recipe(log=["tensorboard"]), folder=tmp_path, extend=True)
    assert_logs_are_the_metrics(done.folder)
    assert (done.folder / "models/net-seed0/model.safetensors").stat().st_mtime_ns == weights, "nothing trains again"


def test_a_sweep_logs_every_trial(tmp_path: Path) -> None:
    student = {**STUDENT, "epochs": 1, "loss": [{"name": "cross_entropy"}]}
    swept = recipe(
        log=["tensorboard"],
        students={"net": student},
        sweep={"axes": {"students.net.optimizer.lr": [1e-3, 3e-3]}},
    )
    done = limbeck.sweep(swept, folder=tmp_path)
    trials = sorted(done.folder.glob("search/*/tensorboard/*"))
    assert len(trials) == 2
    assert all(len(read(trial)["train/loss"]) == 1 for trial in trials)
    assert_logs_are_the_metrics(done.folder / "chosen")


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (["tensorbord"], "did you mean 'tensorboard'"),
        ("tensorboard", "log: expected a list"),
        (["tensorboard", "tensorboard"], "names one tracker twice"),
    ],
)
def test_a_wrong_word_is_named(tmp_path: Path, log: Any, message: str) -> None:
    with pytest.raises(LimbeckError) as told:
        limbeck.run(recipe(log=log), folder=tmp_path)
    assert message in str(told.value)
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str, extra: str, purpose: str) -> None:
        raise LimbeckError(purpose)

    monkeypatch.setattr(epoch_log, "need", missing)
    with pytest.raises(LimbeckError) as told:
        limbeck.run(recipe(log=["wandb", "mlflow"]), folder=tmp_path)
    assert str(told.value) == "log: needs wandb and mlflow: pip install 'limbeck[wandb,mlflow]'"
    assert not list(tmp_path.iterdir())


def test_a_tracker_that_fails_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, row: Mapping[str, Any]) -> None:
        raise RuntimeError("service is gone")

    said: list[str] = []
    monkeypatch.setattr(tensorboard.EventFile, "append", broken)
    done = limbeck.run(
        recipe(log=["tensorboard"]),
        folder=tmp_path,
        make_watcher=lambda key, names: limbeck.Watcher(say=said.append),
    )
    assert [line for line in said if "service is gone" in line] == [
        "log: tensorboard: service is gone; nothing more is written there, and the run goes on"
    ]
    assert_logs_are_the_metrics(done.folder)
