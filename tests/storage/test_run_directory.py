"""A run directory belongs to one recipe and one process, and nothing outside it is written."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from limbeck.errors import LimbeckError
from limbeck.recipes.load import load_recipe
from limbeck.storage.atomic import read_json, write_json
from limbeck.storage.run_directory import MetricsLog, RunDirectory


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "runs" / "mine")


def test_the_directory_of_a_recipe(directory: RunDirectory) -> None:
    recipe = load_recipe("quickstart").to_dict()
    with directory.locked():
        directory.bind(load_recipe("quickstart", ["seeds=[5]"]).to_dict())
        directory.bind(recipe)  # nothing has been trained yet
        directory.cohort("c").metrics("a").append({"epoch": 1})
        directory.bind(recipe)
        assert load_recipe(read_json(directory.recipe)).to_dict() == recipe
        other = load_recipe("quickstart", ["students.distilled.epochs=99", "seeds=[7]"]).to_dict()
        with pytest.raises(LimbeckError) as caught:
            directory.bind(other)
    message = str(caught.value)
    assert str(directory.root) in message
    assert "\n  seeds: [0, 1, 2] -> [7]\n  students.distilled.epochs: 6 -> 99\n" in message
    assert "--name" in message
    assert "--fresh" in message
    assert load_recipe(read_json(directory.recipe)).to_dict() == recipe, "a refused recipe changes nothing"


def test_a_directory_is_claimed_while_others_write_there(directory: RunDirectory) -> None:
    """Folders come and go under the eyes of a process that joins a sweep."""
    recipe = load_recipe("quickstart").to_dict()
    beside, ended = directory.root / "cohorts" / "teacher" / ".tmp-beside", threading.Event()

    def write() -> None:
        while not ended.is_set():
            (beside / "step-000000000001").mkdir(parents=True)
            shutil.rmtree(beside)

    with directory.locked():
        directory.bind(recipe)
        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(2000):
                directory.bind(recipe)
        finally:
            ended.set()
            writer.join()


def test_a_killed_writer_leaves_nothing_in_a_cohort_once_claimed(directory: RunDirectory) -> None:
    cohort = directory.cohort("c")
    (cohort.root / ".tmp-killed" / "step-1").mkdir(parents=True)
    (cohort.root / ".tmp-killed-too").write_bytes(b"{")
    with cohort.try_lock() as ours:
        assert ours
        assert [path.name for path in cohort.root.iterdir()] == ["cohort.lock"]
        (cohort.root / ".tmp-at-work").write_bytes(b"{")
        with RunDirectory(directory.root).cohort("c").try_lock() as others:
            assert not others
        assert (cohort.root / ".tmp-at-work").exists(), "what a living process writes is its own"


def test_a_recipe_of_an_earlier_version_takes_new_defaults(directory: RunDirectory) -> None:
    recipe = load_recipe("quickstart").to_dict()
    older = json.loads(json.dumps(recipe))
    del older["evaluation"], older["views"]["flip"]
    with directory.locked():
        write_json(directory.recipe, older)
        directory.cohort("c").metrics("a").append({"epoch": 1})
        directory.bind(recipe)
        assert read_json(directory.recipe) == older


def test_a_damaged_recipe_is_said(directory: RunDirectory) -> None:
    with directory.locked():
        directory.cohort("c").metrics("a").append({"epoch": 1})
        directory.recipe.write_bytes(b'{"name": ')
        with pytest.raises(LimbeckError, match=r"recipe\.json: damaged, not readable as JSON"):
            directory.bind({})


HOLDER = """
import sys, time
from pathlib import Path
from limbeck.storage.run_directory import RunDirectory
from limbeck.errors import LimbeckError
try:
    with RunDirectory(Path(sys.argv[1])).locked():
        print("held", flush=True)
        sys.stdin.read()
except LimbeckError as error:
    print(error, flush=True)
"""


def process(root: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(root)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def first_line(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    return running.stdout.readline().strip()


def test_one_process_at_a_time_and_the_next_after_a_kill(directory: RunDirectory) -> None:
    holder = process(directory.root)
    assert first_line(holder) == "held"
    with pytest.raises(LimbeckError) as caught, directory.locked():
        pass
    assert f"is in use by process {holder.pid}" in str(caught.value)
    second = process(directory.root)
    assert f"is in use by process {holder.pid}" in first_line(second)
    second.communicate()
    holder.kill()
    holder.wait()
    began = time.monotonic()
    with directory.locked():
        assert time.monotonic() - began < 1.0
        assert (directory.root / "run.lock").read_text() == f"process {os.getpid()}"
    holder.communicate()


def test_of_many_at_once_one_goes_on(directory: RunDirectory) -> None:
    racers = [process(directory.root) for _ in range(4)]
    answers = sorted(first_line(racer) for racer in racers)
    for racer in racers:
        racer.communicate()
    assert answers.count("held") == 1
    assert sum("is in use by" in answer for answer in answers) == 3


def test_the_lock_is_let_go(directory: RunDirectory) -> None:
    with pytest.raises(KeyError), directory.locked():
        raise KeyError
    with directory.locked():
        pass


def test_a_folder_of_someone_elses_is_left_alone(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.jpg").write_bytes(b"miaow")
    with pytest.raises(LimbeckError, match="photos: holds other files"), RunDirectory(photos).locked():
        pass
    assert [p.name for p in photos.iterdir()] == ["cat.jpg"]


def test_a_root_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for root in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(LimbeckError, match="cannot be written"), RunDirectory(root).locked():
            pass
    assert (tmp_path / "file").read_text() == "mine"


def test_a_lock_that_is_a_link_is_refused(directory: RunDirectory, tmp_path: Path) -> None:
    directory.root.mkdir(parents=True)
    (tmp_path / "precious").write_text("precious")
    (directory.root / "run.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(LimbeckError, match="cannot be written"), directory.locked():
        pass
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "", ".", "..", "a/b", ".hidden", "a\0"])
def test_names_lead_nowhere_else(directory: RunDirectory, name: str) -> None:
    for use in (directory.cohort, directory.model, directory.cohort("c").metrics):
        with pytest.raises(LimbeckError, match="expected a plain file name"):
            use(name)


def test_emptied_for_a_fresh_start(directory: RunDirectory, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    with directory.locked():
        directory.bind({"name": "x"})
        directory.cohort("c").metrics("a").append({"epoch": 1})
        (directory.root / "link").symlink_to(outside)
        directory.clear()
        assert [p.name for p in directory.root.iterdir()] == ["run.lock"]
    assert (outside / "kept").read_text() == "kept"


def test_a_finished_cohort(directory: RunDirectory) -> None:
    cohort = directory.cohort("students-0-views0")
    assert cohort.read_result() is None
    result: dict[str, Any] = {"arms": [{"top1": 0.5, "loss": math.nan, "worst": [math.inf]}]}
    cohort.write_result(result)
    assert directory.cohort("students-0-views0").read_result() == {
        "arms": [{"top1": 0.5, "loss": None, "worst": [None]}]
    }


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "a" / "b" / "student.jsonl")
    assert (log.rows(), log.size()) == ([], 0)
    log.append({"epoch": 1, "loss": 0.5})
    size = log.size()
    log.append({"epoch": 2, "loss": math.nan})
    assert log.rows() == [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": None}]
    log.truncate(size)
    log.append({"epoch": 2, "loss": 0.25})
    assert [row["loss"] for row in log.rows()] == [0.5, 0.25]
    log.truncate(0)
    assert log.rows() == []


def test_a_torn_last_row_is_no_row(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "student.jsonl")
    log.append({"epoch": 1})
    size = log.size()
    with log.path.open("ab") as file:
        file.write(b'{"epoch": 2, "lo')
    assert log.rows() == [{"epoch": 1}]
    log.truncate(size)
    log.append({"epoch": 2})
    assert log.rows() == [{"epoch": 1}, {"epoch": 2}]


def test_lost_and_damaged_rows_are_said(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "student.jsonl")
    log.append({"epoch": 1})
    with pytest.raises(LimbeckError, match=r"student.jsonl: has 13 bytes, and had 26"):
        log.truncate(26)
    log.path.write_bytes(b'{"epoch": 1}\n{"ep\n{"epoch": 3}\n')
    with pytest.raises(LimbeckError, match=r"student.jsonl:2: damaged"):
        log.rows()


def test_a_row_on_a_full_disk(small_disk: Path) -> None:
    log = MetricsLog(small_disk / "metrics" / "student.jsonl")
    log.append({"epoch": 1})
    size = log.size()
    fill(small_disk)
    row = {"epoch": 2, "note": "x" * 10_000}
    with pytest.raises(LimbeckError, match=r"student\.jsonl: cannot be written: No space left on device$"):
        log.append(row)
    assert log.rows() == [{"epoch": 1}], "what did not fit is no row"
    (small_disk / "filler").unlink()
    log.truncate(size)
    log.append(row)
    assert log.rows() == [{"epoch": 1}, row]


def fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass


def test_a_recipe_on_a_full_disk_claims_nothing(small_disk: Path) -> None:
    directory = RunDirectory(small_disk / "mine")
    with directory.locked():
        fill(small_disk)
        with pytest.raises(LimbeckError, match=r"recipe\.json: cannot be written: No space left on device$"):
            directory.bind(load_recipe("quickstart").to_dict())
        assert [path.name for path in directory.root.iterdir()] == ["run.lock"]
