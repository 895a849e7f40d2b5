"""Wall time is what a clock on the wall shows while anybody works; compute time counts every process."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import limbeck
from limbeck.experiment.signals import Stopped
from limbeck.experiment.timing import covered, spans_of, summed, times
from limbeck.storage import checkpoint

whole_seconds = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 10)).map(lambda s: (s[0], s[0] + s[1])))


@given(whole_seconds)
def test_covered_is_the_number_of_seconds_in_which_somebody_worked(spans: list[tuple[int, int]]) -> None:
    assert covered(spans) == len({second for begin, end in spans for second in range(begin, end)})
    assert summed(spans) == sum(end - begin for begin, end in spans) >= covered(spans)


def test_two_processes_at_once_and_a_pause() -> None:
    cohorts = [{"spans": [[1000.0, 1010.0]]}, {"spans": [[1002.0, 1012.0], [2000.0, 2005.0]]}]
    found = times(cohorts)
    assert (found["wall_seconds"], found["compute_seconds"]) == (17.0, 25.0)
    assert (found["started"], found["ended"]) == ("1970-01-01T00:16:40+00:00", "1970-01-01T00:33:25+00:00")
    assert times(cohorts, processes=2)["compute_seconds"] == 50.0


def test_what_an_earlier_version_wrote() -> None:
    old = {"started": "1970-01-01T00:16:40+00:00", "wall_seconds": 10.5, "arms": []}
    assert spans_of(old) == [[1000.0, 1010.5]]


RECIPE: dict[str, Any] = {
    "name": "timed",
    "precision": "fp32",
    "save_every_seconds": 0,
    "evaluation": {"latency_batch": 0},
    "data": {"source": "digits", "train_images": 100},
    "views": {"batch_size": 50},
    "students": {
        "a": {
            "model": "lightweight_cnn",
            "epochs": 3,
            "optimizer": {"name": "adam", "lr": 1e-3},
            "loss": [{"name": "cross_entropy"}],
        }
    },
}


def test_a_run_that_was_stopped_does_not_count_the_pause(tmp_path: Path) -> None:
    import os
    import signal

    from limbeck.experiment.train_cohort import Watcher

    def stopping(cohort: str, names: Any) -> Watcher:
        return Watcher(epoch=lambda learner, row: os.kill(os.getpid(), signal.SIGTERM) if row["epoch"] == 1 else None)

    began = time.time()
    with pytest.raises(Stopped):
        limbeck.run(RECIPE, folder=tmp_path, make_watcher=stopping)
    time.sleep(2.0)
    done = limbeck.run(RECIPE, folder=tmp_path)
    took = time.time() - began
    (path,) = (tmp_path / "timed" / "cohorts").glob("*/done.json")
    assert len(json.loads(path.read_text())["spans"]) == 3, "taught till the stop, taught to the end, measured"
    result = done.result
    assert result["wall_seconds"] == pytest.approx(result["compute_seconds"])
    assert 0 < result["wall_seconds"] < took - 2.0
    assert result["started"] < result["ended"]


def test_a_checkpoint_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    """It kept how long the work had taken, and not when."""
    limbeck.run(RECIPE, folder=tmp_path)
    root = tmp_path / "timed"
    for name in ("result.json", *(str(path.relative_to(root)) for path in root.glob("cohorts/*/done.json"))):
        (root / name).unlink()
    (stream,) = root.glob("cohorts/*/checkpoints")
    found = checkpoint.newest(stream)
    assert found is not None
    info = {**found.info, "seconds": 1000.0}
    del info["spans"]
    files = {name: (found.path / name).read_bytes() for name in found.files}
    checkpoint.write(stream, int(found.path.name.removeprefix("step-")), files, info)
    done = limbeck.run(RECIPE, folder=tmp_path)
    assert 1000 < done.result["compute_seconds"] < 1100


def test_the_command_of_a_run_from_python(tmp_path: Path) -> None:
    """What can be typed again, or nothing: never words of another program's command line."""
    folder = str(tmp_path)
    done = limbeck.run(RECIPE, ["students.a.epochs=1"], folder=folder, name="from-a-dict")
    assert done.result["command"] is None
    assert "limbeck run" not in done.report.read_text()
    path = tmp_path / "timed.yaml"
    path.write_text(json.dumps(RECIPE))
    done = limbeck.run(path, ["students.a.epochs=1"], folder=folder, name="from-a-file")
    words = f"{str(path)!r}, ['students.a.epochs=1'], folder={folder!r}, name='from-a-file'"
    assert done.result["command"] == f"python: limbeck.run({words})"
