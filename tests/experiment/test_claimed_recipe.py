"""A run and a sweep work from the recipe that they have claimed, whatever becomes of its file meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import limbeck
import yaml_recipe
from limbeck.errors import LimbeckError
from limbeck.experiment.train_cohort import Watcher
from limbeck.storage.sweep_directory import SweepDirectory
from limbeck.sweeps.sweep import sweep
from limbeck.sweeps.trials import RecipeSource

TEMPERATURE = "students.*.loss.0.temperature"


def recipe(epochs: int, **more: Any) -> dict[str, Any]:
    arm = {"model": "lightweight_cnn", "epochs": epochs, "optimizer": {"name": "adam", "lr": 3e-3}}
    return {
        "name": "claimed",
        "threads": 1,
        "precision": "fp32",
        "evaluation": {"latency_batch": 0},
        "data": {"source": "digits", "train_images": 100},
        "views": {"batch_size": 50},
        "teachers": {"wide": {**arm, "loss": [{"name": "cross_entropy"}]}},
        "students": {"distilled": {**arm, "teacher": "wide", "loss": [{"name": "soft_targets", "temperature": 4}]}},
        **more,
    }


def at_the_first_epoch(do: Callable[[], object]) -> Callable[[str, Sequence[str]], Watcher]:
    """Do something once, in the middle of the work."""
    done: list[object] = []

    def watch(cohort: str, names: Sequence[str]) -> Watcher:
        return Watcher(epoch=lambda learner, row: done.append(do()) if not done else None)

    return watch


def test_a_sweep_whose_file_is_edited_while_it_runs(tmp_path: Path) -> None:
    axes = {"axes": {TEMPERATURE: [1, 4]}}
    path = tmp_path / "claimed.yaml"
    path.write_text(yaml_recipe.text(recipe(1, sweep=axes)))
    edited = recipe(2, sweep={"axes": {TEMPERATURE: [2]}})
    watch = at_the_first_epoch(lambda: path.write_text(yaml_recipe.text(edited)))
    done = sweep(path, folder=tmp_path, make_watcher=watch)
    assert json.loads(path.read_text().splitlines()[-1].removeprefix("sweep: ")) == edited["sweep"], "it was edited"
    chosen = done.result["chosen"]
    assert done.result["recipe"]["students"]["distilled"]["epochs"] == 1
    assert chosen["recipe"]["students"]["distilled"]["epochs"] == 1
    assert {arm["epochs_run"] for arm in chosen["arms"]} == {1}
    assert done.result["settings"] == [{TEMPERATURE: 1}, {TEMPERATURE: 4}]


def test_a_sweep_whose_dict_is_changed_while_it_runs(tmp_path: Path) -> None:
    given = recipe(1, sweep={"axes": {TEMPERATURE: [1, 4]}})
    watch = at_the_first_epoch(lambda: given["students"]["distilled"].update(epochs=2))
    done = sweep(given, folder=tmp_path, make_watcher=watch)
    assert given["students"]["distilled"]["epochs"] == 2, "it was changed"
    assert {arm["epochs_run"] for arm in done.result["chosen"]["arms"]} == {1}


def test_a_file_that_goes_away_is_not_missed(tmp_path: Path) -> None:
    path = tmp_path / "claimed.yaml"
    path.write_text(yaml_recipe.text(recipe(1)))
    source = RecipeSource(path)
    first = source.read()
    path.unlink()
    assert source.read() == first
    assert source.read(["students.distilled.epochs=3"]).students["distilled"].epochs == 3
    assert source.read() == first, "an override is for one reading"


def test_what_joins_a_sweep_that_has_trained_nothing_yet_must_have_its_recipe(tmp_path: Path) -> None:
    """While the first process is at work nobody rewrites its recipe, though nothing is trained so far."""
    directory, other = SweepDirectory(tmp_path / "s"), SweepDirectory(tmp_path / "s")
    one, two = ({"name": "s", "seeds": [seed]} for seed in (0, 1))
    with directory.join(one):
        with other.join(one):
            pass
        with pytest.raises(LimbeckError, match=r"another recipe:\n +seeds.0: 0 -> 1"), other.join(two):
            pass
        assert json.loads(directory.recipe.read_text()) == one
        with pytest.raises(LimbeckError, match="in use"), other.join(two, fresh=True):
            pass
    with other.join(two):  # the first has left, and nothing was trained: nobody is bound
        assert json.loads(directory.recipe.read_text()) == two


def test_a_run_whose_file_is_edited_while_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "claimed.yaml"
    path.write_text(yaml_recipe.text(recipe(1)))
    done = limbeck.run(
        path, folder=tmp_path, make_watcher=at_the_first_epoch(lambda: path.write_text(yaml_recipe.text(recipe(2))))
    )
    assert {arm["epochs_run"] for arm in done.result["arms"]} == {1}
    assert done.result["recipe"]["students"]["distilled"]["epochs"] == 1
