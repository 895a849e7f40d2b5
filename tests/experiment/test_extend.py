"""A run is given more epochs, arms and seeds, and ends as one that had them from the beginning."""

from __future__ import annotations

import copy
import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import limbeck
import yaml_recipe
from final_weights import weights
from limbeck.errors import LimbeckError
from limbeck.experiment.extend import describe_extension
from limbeck.experiment.run import run
from limbeck.experiment.signals import Stopped
from limbeck.experiment.train_cohort import Watcher
from limbeck.recipes.load import load_recipe
from limbeck.storage.run_directory import RunDirectory

ARM: dict[str, Any] = {
    "model": {"name": "lightweight_cnn", "dropout": 0.1},
    "epochs": 2,
    "optimizer": {"name": "adam", "lr": 3e-3},
    "loss": [{"name": "cross_entropy"}],
}
KD = {**ARM, "teacher": "wide", "loss": [{"name": "soft_targets"}, {"name": "cross_entropy"}]}


def recipe(epochs: int = 2, **more: Any) -> dict[str, Any]:
    """`kd` may have more epochs; `slow` goes on after it has ended, and cannot."""
    tree = {
        "name": "more",
        "threads": 1,
        "precision": "fp32",
        "save_every_seconds": 0,
        "evaluation": {"latency_batch": 0},
        "data": {"source": "digits", "train_images": 100},
        "views": {"batch_size": 25, "flip": True},
        "teachers": {"wide": ARM},
        "students": {
            "kd": {**KD, "epochs": epochs, "ema": {"decay": 0.9}, "choose": "best"},
            "slow": {**KD, "epochs": 3, "schedule": {"name": "cosine"}},
        },
        **more,
    }
    return copy.deepcopy(tree)


def rows(folder: Path, learner: str) -> list[dict[str, Any]]:
    (path,) = folder.glob(f"cohorts/*/metrics/{learner}.jsonl")
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in path.read_text().splitlines()]


def measured(done: limbeck.Run) -> dict[str, Any]:
    return {
        f"{arm['arm']}-{arm['seed']}": (arm["test"], arm["epochs_run"], arm["ended"]) for arm in done.result["arms"]
    }


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory) -> limbeck.Run:
    """Four epochs from the beginning."""
    return limbeck.run(recipe(4), folder=tmp_path_factory.mktemp("at-once"))


def must_match_main_process(one: limbeck.Run, other: limbeck.Run) -> None:
    assert weights(one.folder) == weights(other.folder)
    assert measured(one) == measured(other)
    for learner in ("kd-seed0", "slow-seed0"):
        assert rows(one.folder, learner) == rows(other.folder, learner)


def test_more_epochs_are_those_that_it_would_have_had(at_once: limbeck.Run, tmp_path: Path) -> None:
    short = limbeck.run(recipe(), folder=tmp_path)
    teacher = (short.folder / "cohorts/wide-seed0/done.json").read_bytes()
    with pytest.raises(LimbeckError) as caught:
        limbeck.run(recipe(4), folder=tmp_path)
    assert "students.kd.epochs: 2 -> 4" in str(caught.value) and "use --extend (from Python: extend=True)" in str(
        caught.value
    )
    said: list[str] = []
    done = limbeck.run(
        recipe(4), folder=tmp_path, extend=True, make_watcher=lambda key, names: Watcher(say=said.append)
    )
    assert "extended: students.kd.epochs: 2 -> 4" in said
    assert [line for line in said if line.startswith("measuring")] == ["measuring kd-seed0", "measuring slow-seed0"]
    must_match_main_process(done, at_once)
    assert (short.folder / "cohorts/wide-seed0/done.json").read_bytes() == teacher, "it was not measured again"
    (extended,) = done.result["extended"]
    assert extended["changes"] == ["students.kd.epochs: 2 -> 4"] and extended["when"]
    again = limbeck.run(recipe(4), folder=tmp_path)
    assert again.was_finished and again.result == done.result
    with pytest.raises(LimbeckError, match=r"students.kd.epochs: 4 -> 2"):
        limbeck.run(recipe(), folder=tmp_path)


@pytest.mark.middle
def test_in_two_steps_and_stopped_on_the_way(at_once: limbeck.Run, tmp_path: Path) -> None:
    limbeck.run(recipe(), folder=tmp_path)
    limbeck.run(recipe(3), folder=tmp_path, extend=True)

    def stopping(cohort: str, names: Sequence[str]) -> Watcher:
        done = 3.4 if "kd-seed0" in names else 99.0
        return Watcher(step=lambda now, epochs: os.kill(os.getpid(), signal.SIGTERM) if now >= done else None)

    with pytest.raises(Stopped):
        limbeck.run(recipe(4), folder=tmp_path, extend=True, make_watcher=stopping)
    assert not (tmp_path / "more" / "result.json").exists()
    done = limbeck.run(recipe(4), folder=tmp_path)
    must_match_main_process(done, at_once)
    assert [one["changes"] for one in done.result["extended"]] == [
        ["students.kd.epochs: 2 -> 3"],
        ["students.kd.epochs: 3 -> 4"],
    ]


@pytest.mark.middle
def test_new_arms_and_seeds_leave_what_is_there(tmp_path: Path) -> None:
    more = recipe(seeds=[0, 1])
    more["students"]["baseline"] = ARM
    expected = limbeck.run(more, folder=tmp_path, name="at-once")
    first = limbeck.run(recipe(), folder=tmp_path, name="extended")
    kept = {path: path.read_bytes() for path in first.folder.glob("cohorts/*/done.json")}
    assert len(kept) == 2
    done = limbeck.run(more, folder=tmp_path, name="extended", extend=True)
    assert {path: path.read_bytes() for path in kept} == kept
    assert weights(done.folder) == weights(expected.folder)
    accuracies = [
        {(arm["arm"], arm["seed"]): (arm["test"]["top1"], arm["baseline"]) for arm in one.result["arms"]}
        for one in (done, expected)
    ]
    assert accuracies[0] == accuracies[1]
    assert accuracies[0]["kd", 0][1] == "baseline", "compared with what was added after it was measured"


def test_a_new_schedule_from_here(tmp_path: Path) -> None:
    limbeck.run(recipe(), folder=tmp_path)
    longer = recipe()
    longer["students"]["slow"] |= {"epochs": 5, "schedule": {"name": "multi_step", "milestones": [4], "factor": 0.1}}
    done = limbeck.run(longer, folder=tmp_path, extend=True)
    rates = [row["lr"] for row in rows(done.folder, "slow-seed0")]
    assert rates[2] < 1e-3 and rates[3:] == pytest.approx([3e-3, 3e-4])


def test_a_stopped_run_is_extended(at_once: limbeck.Run, tmp_path: Path) -> None:
    def stopping(cohort: str, names: Sequence[str]) -> Watcher:
        done = 1.4 if "kd-seed0" in names else 99.0
        return Watcher(step=lambda now, epochs: os.kill(os.getpid(), signal.SIGTERM) if now >= done else None)

    with pytest.raises(Stopped):
        limbeck.run(recipe(), folder=tmp_path, make_watcher=stopping)
    must_match_main_process(limbeck.run(recipe(4), folder=tmp_path, extend=True), at_once)


def test_what_cannot_be_changed_is_named_and_nothing_is_touched(tmp_path: Path) -> None:
    done = limbeck.run(recipe(), folder=tmp_path)
    before = {path: path.read_bytes() for path in done.folder.rglob("*") if path.is_file() and path.suffix != ".lock"}
    other = recipe(views={"batch_size": 20, "flip": True})
    with pytest.raises(
        LimbeckError, match=r"--extend: views.batch_size: 25 -> 20: the existing models were trained with"
    ):
        limbeck.run(other, folder=tmp_path, extend=True)
    with pytest.raises(LimbeckError, match="was made by another recipe") as caught:
        limbeck.run(other, folder=tmp_path)
    assert "--extend" not in str(caught.value)
    with pytest.raises(LimbeckError, match="give one of the two"):
        limbeck.run(other, folder=tmp_path, extend=True, fresh=True)
    after = {path: path.read_bytes() for path in done.folder.rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert after == before


@pytest.mark.middle
def test_what_would_be_added_is_shown_and_asked_for(limbeck, tmp_path: Path) -> None:
    path = tmp_path / "more.yaml"
    path.write_text(yaml_recipe.text(recipe(teachers={}, students={"a": {**ARM, "epochs": 1}})))
    words = ["students.a.epochs=2", "seeds=[0,3]"]
    longer = load_recipe(path, words)
    directory = RunDirectory(tmp_path / "runs" / "more")
    assert "there is nothing to extend yet" in describe_extension(directory, longer)[0]
    run(path, folder=tmp_path / "runs")
    lines = describe_extension(directory, longer)
    assert lines == [f"{directory.root}: would be extended:", "  seeds: 3 added", "  students.a.epochs: 1 -> 2", ""]
    done = limbeck("run", path, *words, "--extend", cwd=tmp_path)
    assert done.returncode == 0 and "extended: seeds: 3 added" in done.stderr
    result = json.loads(directory.result.read_text())
    assert [(arm["seed"], arm["epochs_run"]) for arm in result["arms"]] == [(0, 2), (3, 2)]


@pytest.mark.middle
def test_killed_while_it_is_extended(at_once: limbeck.Run, start, limbeck, tmp_path: Path) -> None:
    path = tmp_path / "more.yaml"
    path.write_text(yaml_recipe.text(recipe()))
    assert limbeck("run", path, cwd=tmp_path).returncode == 0
    path.write_text(yaml_recipe.text(recipe(4)))
    process = start("run", path, "--extend", cwd=tmp_path)
    folder = tmp_path / "runs" / "more"
    deadline = time.monotonic() + 120
    while (folder / "result.json").exists() or len(rows(folder, "kd-seed0")) < 3:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = limbeck("run", path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert weights(folder) == weights(at_once.folder)
    assert rows(folder, "kd-seed0") == rows(at_once.folder, "kd-seed0")
