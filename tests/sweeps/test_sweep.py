"""A sweep: its settings end as they would alone, processes share the work, and test is read for what was chosen."""

from __future__ import annotations

import copy
import json
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import limbeck
import yaml_recipe
from final_weights import weights
from limbeck.errors import LimbeckError, RecipeError
from limbeck.report.run_data import read_run
from limbeck.sweeps.search import first_trials
from limbeck.sweeps.selection import best_of, outcomes, selected_recipe
from limbeck.sweeps.sweep import sweep
from limbeck.sweeps.trials import RecipeSource, merge_trials, random_trials, trial_as_written

TEMPERATURE, WEIGHT = "students.*.loss.0.temperature", "students.*.loss.0.weight"
AXES = {
    "axes": {TEMPERATURE: [1, 4], WEIGHT: [0.1, 0.5, 0.9]},
    "complements": {"students.*.loss.1.weight": WEIGHT},
}


def recipe(**more: Any) -> dict[str, Any]:
    training = {"epochs": 2, "optimizer": {"name": "adam", "lr": 3e-3}}
    small = {"name": "lightweight_cnn", "dropout": 0.1}
    return {
        "name": "grid",
        "seeds": [0, 1],
        "threads": 1,
        "precision": "fp32",
        "save_every_seconds": 0.2,
        "evaluation": {"latency_batch": 0},
        "data": {"source": "digits", "train_images": 400},
        "views": {"batch_size": 50, "flip": True},
        "teachers": {"wide": {**training, "model": small, "loss": [{"name": "cross_entropy"}]}},
        "students": {
            "defaults": {**training, "model": small},
            "baseline": {"loss": [{"name": "cross_entropy"}]},
            "distilled": {
                "teacher": "wide",
                "loss": [
                    {"name": "soft_targets", "temperature": 4, "weight": 0.5},
                    {"name": "cross_entropy", "weight": 0.5},
                ],
            },
        },
        "sweep": copy.deepcopy(AXES),
        **more,
    }


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> limbeck.Swept:
    return sweep(recipe(), folder=tmp_path_factory.mktemp("swept"))


@pytest.mark.middle
def test_every_setting_ends_bit_for_bit_as_it_does_alone(swept: limbeck.Swept, tmp_path: Path) -> None:
    together = weights(swept.folder / "search" / "000")
    settings = swept.result["settings"]
    for number in (0, 3, 5):
        values = settings[number]
        alone = limbeck.run(
            recipe(sweep=None, seeds=[0]),
            [
                f"students.distilled.loss.0.temperature={values[TEMPERATURE]}",
                f"students.distilled.loss.0.weight={values[WEIGHT]}",
                f"students.distilled.loss.1.weight={1 - values[WEIGHT]:.12g}",
            ],
            folder=tmp_path,
            name=f"alone-{number}",
        )
        expected = weights(alone.folder)
        assert {k: v for k, v in expected.items() if k.startswith("distilled")}
        for name, value in expected.items():
            here = name.replace("distilled-seed0", f"distilled.{number:03d}-seed0")
            assert together[here] == value, here


def test_test_is_read_for_what_was_chosen_alone(swept: limbeck.Swept) -> None:
    search = [json.loads(p.read_text()) for p in (swept.folder / "search/000/cohorts").glob("*/done.json")]
    assert all("test" not in arm for cohort in search for arm in cohort["arms"])
    chosen = swept.result["chosen"]["arms"]
    assert {(arm["arm"], arm["seed"]) for arm in chosen if arm["role"] == "student"} == {
        (name, seed) for name in {"baseline", "distilled", "distilled.as-written"} for seed in (0, 1)
    } or swept.result["best"]["distilled"] == swept.result["standard"]
    assert all("test" in arm for arm in chosen)


def test_the_best_on_validation_is_chosen(swept: limbeck.Swept) -> None:
    means = [sum(values) / len(values) for values in swept.result["validation"]["distilled"]]
    assert len(means) == 6
    best = swept.result["best"]["distilled"]
    assert means[best] == max(means)
    setting = swept.result["settings"][best]
    loss = swept.result["chosen"]["recipe"]["students"]["distilled"]["loss"]
    assert (loss[0]["temperature"], loss[0]["weight"]) == (setting[TEMPERATURE], setting[WEIGHT])
    assert loss[0]["weight"] + loss[1]["weight"] == 1
    page = swept.report.read_text()
    assert "as written" in page and "worst" in page and "figures/distilled.png" in page
    assert {p.name for p in (swept.folder / "figures").iterdir()} == {"distilled.png"}


def test_the_teacher_is_trained_once_and_taken_over(swept: limbeck.Swept) -> None:
    searched, chosen = (weights(swept.folder / part) for part in ("search/000", "chosen"))
    teacher = {name: value for name, value in searched.items() if name.startswith("wide-seed0")}
    assert teacher
    assert {name: chosen[name] for name in teacher} == teacher
    rows = [
        (swept.folder / part / "cohorts/wide-seed0/metrics/wide-seed0.jsonl").read_bytes()
        for part in ("search/000", "chosen")
    ]
    assert rows[0] == rows[1], "taken over with its history, seconds included: not trained again"


def test_again_it_says_that_it_is_finished(swept: limbeck.Swept) -> None:
    again = sweep(recipe(), folder=swept.folder.parent)
    assert again.was_finished and again.result == json.loads(json.dumps(swept.result))
    with pytest.raises(LimbeckError, match=r"seeds.1: 1 -> 2"):
        sweep(recipe(seeds=[0, 2]), folder=swept.folder.parent)


def test_a_run_and_a_sweep_do_not_take_each_others_place(swept: limbeck.Swept) -> None:
    with pytest.raises(LimbeckError, match="limbeck sweep"):
        limbeck.run(recipe(), folder=swept.folder.parent)
    with pytest.raises(LimbeckError, match="was made by another recipe"):
        limbeck.run(recipe(sweep=None), folder=swept.folder.parent)
    with pytest.raises(LimbeckError, match="has no `sweep:` section"):
        sweep(recipe(sweep=None), folder=swept.folder.parent)


@pytest.mark.middle
def test_smaller_cohorts_give_the_same(swept: limbeck.Swept, tmp_path: Path) -> None:
    parted = sweep(recipe(sweep={**AXES, "cohort": 3}), folder=tmp_path)
    assert len(list((parted.folder / "search/000/cohorts").glob("students-*"))) == 3
    assert weights(parted.folder / "search/000") == weights(swept.folder / "search/000")
    assert parted.result["validation"] == swept.result["validation"]


def test_arms_that_no_axis_touches_appear_once() -> None:
    source = RecipeSource(recipe())
    asked = source.read().sweep
    assert asked is not None
    combined = merge_trials(source, asked, asked.grid())
    assert [arm for arm in combined.recipe.students if arm.startswith("baseline")] == ["baseline"]
    assert list(combined.recipe.teachers) == ["wide"]
    assert combined.swept() == ["distilled"]
    assert trial_as_written(source, asked) == {TEMPERATURE: 4, WEIGHT: 0.5}
    assert len(first_trials(source, asked)) == 6, "as written it is on the grid"


def test_axes_of_views_and_teachers_move_what_hangs_on_them() -> None:
    source = RecipeSource(recipe(sweep={"axes": {"views.batch_size": [25, 50], "teachers.wide.epochs": [1, 2]}}))
    asked = source.read().sweep
    assert asked is not None
    combined = merge_trials(source, asked, asked.grid())
    assert len(combined.recipe.teachers) == 4
    assert combined.swept() == ["baseline", "distilled"]
    for variant in combined.variants:
        arm = combined.recipe.students[variant["distilled"]]
        (voice,) = arm.teacher
        teacher = combined.recipe.teachers[voice.name]
        assert (teacher.views or combined.recipe.views) == (arm.views or combined.recipe.views)
        assert arm.baseline == variant["baseline"]
    found = outcomes(
        {"arm": name, "seed": 0, "ended": "finished", "validation": {"top1": number / 10}}
        for number, name in enumerate(combined.recipe.students)
    )
    best = {arm: best_of([found[of[arm]] for of in combined.variants], arm) for arm in combined.swept()}
    chosen = selected_recipe(combined, best, as_written=None)
    assert list(chosen["students"]) == ["baseline", "distilled"]
    assert chosen["students"]["distilled"]["baseline"] == "baseline"
    assert len(chosen["teachers"]) == 1


@pytest.mark.parametrize(
    ("axes", "told"),
    [
        ({"students.distilled.loss.0.temprature": [1]}, "did you mean 'temperature'?"),
        ({"students.*.loss.0.temperature": [-1]}, "expected a number greater than 0; got -1"),
        ({"students.x.epochs": [1]}, "no arm named 'x'"),
        ({"data.validation": [0.1, 0.2]}, "takes keys under students, teachers and views; data is the same for all"),
        ({"seeds": [[0], [1]]}, "takes keys under students, teachers and views; seeds is the same for all"),
    ],
)
def test_an_axis_that_is_none_is_told(axes: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        sweep(recipe(sweep={"axes": axes}), folder=tmp_path)
    assert told in str(caught.value) and "sweep.axes: " in str(caught.value)


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ({"axes": {}}, "sweep.axes"),
        ({"axes": {"a": [1, 1]}}, "expected different values"),
        ({"axes": {"a": {"low": 2, "high": 1}}}, "low must be less than high"),
        ({"axes": {"a": {"low": 0, "high": 1, "log": True}}}, "log needs a low greater than 0"),
        ({"axes": {"a": [1]}, "strategy": "random"}, "needs a number of trials"),
        ({"axes": {"a": [1]}, "trials": 3}, "a grid tries all its settings"),
        ({"axes": {"a": [1]}, "complements": {"b": "c"}}, "expected the name of an axis"),
        (
            {"axes": {"a": {"low": 0, "high": 1, "count": 1000}, "b": {"low": 0, "high": 1, "count": 11}}},
            "10,000 settings",
        ),
        ({"axes": {"a": [1]}, "strategy": "gird"}, "'grid'"),
    ],
)
def test_a_sweep_that_cannot_be_is_told(about: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        RecipeSource(recipe(sweep=about)).read()
    assert told in str(caught.value)


def test_random_settings_are_drawn_by_key() -> None:
    about = {
        "axes": {
            TEMPERATURE: {"low": 1, "high": 100, "log": True},
            "students.*.epochs": {"low": 1, "high": 9, "whole": True},
        },
        "strategy": "random",
        "trials": 40,
    }
    asked = RecipeSource(recipe(sweep=about)).read().sweep
    assert asked is not None
    settings = random_trials(asked, 40)
    assert settings == random_trials(asked, 40) and settings[:10] == random_trials(asked, 10)
    assert len({json.dumps(setting) for setting in settings}) == 40
    temperatures = [setting[TEMPERATURE] for setting in settings]
    assert all(1 <= t <= 100 for t in temperatures) and sum(t < 10 for t in temperatures) in range(10, 31)
    assert {setting["students.*.epochs"] for setting in settings} <= set(range(1, 10))


@pytest.mark.middle
def test_processes_share_the_work_and_a_killed_ones_is_taken_over(swept, start, tmp_path: Path) -> None:
    """Two processes on one directory, killed now and then: every setting ends once, and as where nobody was killed."""
    (tmp_path / "grid.yaml").write_text(yaml_recipe.text(recipe(sweep={**AXES, "cohort": 2})))
    chance = random.Random(5)
    working = [start("sweep", "grid.yaml", cwd=tmp_path) for _ in range(2)]
    kills = 0
    deadline = time.monotonic() + 240
    while any(process.poll() is None for process in working):
        assert time.monotonic() < deadline
        time.sleep(chance.uniform(0.5, 1.5))
        if kills < 4 and (tmp_path / "runs/grid/search").exists():
            victim = chance.randrange(2)
            working[victim].send_signal(signal.SIGKILL)
            working[victim].communicate()
            kills += working[victim].returncode == -signal.SIGKILL
            working[victim] = start("sweep", "grid.yaml", cwd=tmp_path)
    for process in working:
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert kills >= 2
    root = tmp_path / "runs" / "grid"
    assert weights(root / "search/000") == weights(swept.folder / "search/000")
    result = json.loads((root / "result.json").read_text())
    assert result["validation"] == swept.result["validation"]
    assert result["best"] == swept.result["best"]
    ended = [
        arm["arm"]
        for p in (root / "search/000/cohorts").glob("*/done.json")
        for arm in json.loads(p.read_text())["arms"]
    ]
    assert sorted(ended) == sorted(["wide", "baseline", *(f"distilled.{n:03d}" for n in range(6))])


def test_a_sweep_is_reported_while_it_goes_on_and_after(swept: limbeck.Swept, tmp_path: Path) -> None:
    whole = read_run(swept.folder)
    assert whole.sweep is not None
    assert (whole.state, whole.problems) == ("finished", ())
    assert whole.sweep.best == swept.result["best"]
    assert [arm.name for arm in whole.arms] == list(dict.fromkeys(arm["arm"] for arm in swept.result["chosen"]["arms"]))
    assert set(whole.curves) == {(arm["arm"], arm["seed"]) for arm in swept.result["chosen"]["arms"]}
    shutil.copytree(swept.folder, tmp_path / "part", ignore=shutil.ignore_patterns("models", "checkpoints", "chosen"))
    (tmp_path / "part" / "result.json").unlink()
    part = read_run(tmp_path / "part")
    assert part.sweep is not None
    assert (part.state, part.problems, part.arms) == ("stopped", (), ())
    assert part.sweep.axes == whole.sweep.axes and part.sweep.settings == whole.sweep.settings
    assert part.sweep.swept == whole.sweep.swept
    assert part.sweep.validation == whole.sweep.validation
    assert part.sweep.ended["distilled"] == whole.sweep.ended["distilled"]
    for done in (tmp_path / "part").glob("search/000/cohorts/students-*/done.json"):
        done.unlink()
    begun = read_run(tmp_path / "part").sweep
    assert begun is not None
    assert begun.validation["distilled"] == [[]] * 6
