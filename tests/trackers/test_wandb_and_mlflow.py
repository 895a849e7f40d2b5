"""W&B and MLflow, offline: each epoch is there exactly once, whatever happened to the run. Skipped without them."""

from __future__ import annotations

import importlib
import importlib.util
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from logged_runs import ROWS, metrics, recipe

import limbeck
from limbeck.trackers.epoch_log import scalars
from stopped_run import stop_after

BLOCK, FULL, LAST = 32 * 1024, 1, 4
Values = dict[str, list[tuple[int, float]]]


def records(path: Path) -> Iterator[bytes]:
    """The records of a `.wandb` file: a header of 7 bytes, then blocks of 32 KiB in the format of LevelDB's log."""
    content, place, whole = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if BLOCK - place % BLOCK < 7:  # the rest of a block is padding
            place += BLOCK - place % BLOCK
            continue
        _, size, kind = struct.unpack_from("<IHB", content, place)
        whole += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (FULL, LAST):
            yield whole
            whole = b""


def wandb_values(folder: Path) -> dict[str, Values]:
    """What the offline runs of a run directory hold, in W&B's own messages."""
    protocol = importlib.import_module("wandb.proto.wandb_internal_pb2")
    found: dict[str, Values] = {}
    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        name, values = "", {}
        for data in records(path):
            record = protocol.Record.FromString(data)
            name = record.run.display_name or name
            step = record.history.step.num
            for item in record.history.item:
                key = item.key or "/".join(item.nested_key)
                if not key.startswith("_"):
                    values.setdefault(key, []).append((step, float(item.value_json)))
        assert name not in found, "two offline runs of one learner"
        found[name] = values
    return found


def mlflow_values(folder: Path) -> dict[str, Values]:
    """What the store of a run directory holds, read with MLflow's client."""
    mlflow = importlib.import_module("mlflow")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow' / 'mlflow.db'}")
    found: dict[str, Values] = {}
    for run in client.search_runs([one.experiment_id for one in client.search_experiments()]):
        assert run.info.run_name not in found, "two MLflow runs of one learner"
        histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
        found[run.info.run_name] = {
            name: sorted((one.step, one.value) for one in history) for name, history in histories.items()
        }
    return found


READERS = {"wandb": wandb_values, "mlflow": mlflow_values}
NAMES = [
    pytest.param(
        name, marks=pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed")
    )
    for name in READERS
]
pytestmark = pytest.mark.parametrize("name", NAMES)


def expected(rows: list[dict[str, Any]]) -> Values:
    found: Values = {}
    for row in rows:
        for tag, value in scalars(row).items():
            found.setdefault(tag, []).append((row["epoch"], value))
    return found


def tracker(name: str, folder: Path) -> Any:
    module = importlib.import_module(f"limbeck.trackers.{name}")
    return module.open_tracker(folder, "recipe", "net-seed0", {"optimizer.lr": 0.1, "teacher": None})


def write(name: str, folder: Path, before: list[dict[str, Any]], after: list[dict[str, Any]], *, ended: bool) -> None:
    one = tracker(name, folder)
    one.restart(before)
    for row in after:
        one.append(row)
    one.close(ended=ended)


def test_each_epoch_is_read_back(name: str, tmp_path: Path) -> None:
    write(name, tmp_path, [], ROWS, ended=True)
    assert READERS[name](tmp_path) == {"net-seed0": expected(ROWS)}


@pytest.mark.parametrize("durable", range(4))
def test_after_a_resume_it_holds_what_the_metrics_log_holds(name: str, tmp_path: Path, durable: int) -> None:
    write(name, tmp_path, [], ROWS, ended=False)
    write(name, tmp_path, ROWS[:durable], [], ended=False)
    assert READERS[name](tmp_path) == {"net-seed0": expected(ROWS[:durable])}
    write(name, tmp_path, ROWS[:durable], ROWS[durable:], ended=True)
    assert READERS[name](tmp_path) == {"net-seed0": expected(ROWS)}


def test_a_run_that_has_ended_is_left_alone(name: str, tmp_path: Path) -> None:
    write(name, tmp_path, [], ROWS, ended=True)
    before = sorted(path for path in tmp_path.rglob("*.wandb"))
    write(name, tmp_path, ROWS, [], ended=True)
    assert sorted(path for path in tmp_path.rglob("*.wandb")) == before
    assert READERS[name](tmp_path) == {"net-seed0": expected(ROWS)}


@pytest.mark.middle
def test_a_stopped_run_that_goes_on(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    logged = recipe(log=[name], seeds=[0, 1])
    stop_after(logged, tmp_path, 30)
    done = limbeck.run(logged, folder=tmp_path)
    wanted = {learner: expected(rows) for learner, rows in metrics(done.folder).items()}
    assert len(wanted) == 2
    assert READERS[name](done.folder) == wanted
    assert name not in capfd.readouterr().err.lower(), "its makers have nothing to say on the terminal"


@pytest.mark.middle
def test_sigkill_while_epochs_are_written(name: str, recipe_text: str, start: Any, tmp_path: Path) -> None:
    path, run = tmp_path / "small.yaml", tmp_path / "runs" / "killed"
    text = recipe_text.replace("save_every_seconds: 0.1", "save_every_seconds: 1.0")
    path.write_text(f"{text}log: [{name}]\n", encoding="utf-8")
    for delay in (0.0, 0.5, 1.5):
        before = sum(map(len, metrics(run).values()))
        process, deadline = start("run", path, "--name", "killed", cwd=tmp_path), time.monotonic() + 200
        while sum(map(len, metrics(run).values())) == before and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    _, err = start("run", path, "--name", "killed", cwd=tmp_path).communicate(timeout=300)
    assert (run / "result.json").exists(), err
    assert READERS[name](run) == {learner: expected(rows) for learner, rows in metrics(run).items()}, err
