"""Trials suggested from earlier results (Optuna), and pruning of trials that fall behind."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_sweep import TEMPERATURE, WEIGHT, recipe

from final_weights import weights
from limbeck.errors import LimbeckError
from limbeck.sweeps.pruning import MIN_OTHERS, WARMUP_SHARE, MedianRule
from limbeck.sweeps.sweep import Swept, sweep

pytest.importorskip("optuna")
ABOUT = {
    "axes": {
        TEMPERATURE: {"low": 1, "high": 50, "log": True},
        "students.*.optimizer.lr": {"low": 1e-6, "high": 3e-2, "log": True},
        "students.*.clip_norm": [None, 1.0],
    },
    "strategy": "tpe",
    "trials": 14,
    "batch": 5,
}


def proposing(**more: Any) -> dict[str, Any]:
    return recipe(seeds=[0], sweep={**ABOUT, **more})


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    return sweep(proposing(), folder=tmp_path_factory.mktemp("tpe"))


@pytest.mark.middle
def test_as_many_settings_as_asked_each_once_and_on_its_axes(swept: Swept) -> None:
    settings = swept.result["settings"]
    assert len(settings) == 14
    assert len({json.dumps(setting) for setting in settings}) == 14
    for setting in settings:
        assert 1 <= setting[TEMPERATURE] <= 50
        assert 1e-6 <= setting["students.*.optimizer.lr"] <= 3e-2
        assert setting["students.*.clip_norm"] in (None, 1.0)
    batches = sorted((swept.folder / "search").glob("[0-9]*"))
    assert [len(json.loads((b / "settings.json").read_text())["settings"]) for b in batches] == [6, 5, 3]


@pytest.mark.middle
def test_what_no_axis_touches_is_trained_in_the_first_batch_alone(swept: Swept) -> None:
    for batch in ("001", "002"):
        trained = {name.split("/")[0] for name in weights(swept.folder / "search" / batch)}
        assert not any(name.startswith("baseline") for name in trained)
        teachers = [name for name in trained if name.startswith("wide")]
        assert teachers == ["wide-seed0"]
        rows = [
            (swept.folder / "search" / b / "cohorts/wide-seed0/metrics/wide-seed0.jsonl").read_bytes()
            for b in ("000", batch)
        ]
        assert rows[0] == rows[1], "taken over, not trained again"


@pytest.mark.middle
def test_the_same_again_proposes_the_same(swept: Swept, tmp_path: Path) -> None:
    again = sweep(proposing(), folder=tmp_path)
    assert again.result["settings"] == swept.result["settings"]
    assert again.result["validation"] == swept.result["validation"]


@pytest.mark.middle
def test_the_study_is_there_for_optunas_own_tools(swept: Swept) -> None:
    import optuna

    study = optuna.load_study(study_name="grid", storage=f"sqlite:///{swept.folder}/search/study.db")
    told = study.get_trials()
    assert {trial.state.name for trial in told} == {"COMPLETE"}, "none is ever in the making"
    accuracies = {round(trial.value, 6) for trial in told if trial.value is not None}
    known = {round(values[0], 6) for values in swept.result["validation"]["distilled"]}
    assert accuracies == known and len(told) == 14


@pytest.mark.middle
@pytest.mark.parametrize("damage", ["cut", "garbage", "gone"])
def test_a_damaged_study_is_made_anew(swept: Swept, tmp_path: Path, damage: str) -> None:
    """Between two batches, as a kill could leave it: nothing but the study's own file is lost."""
    import shutil

    root = tmp_path / "grid"
    shutil.copytree(swept.folder, root)
    for part in ("chosen", "search/002"):
        shutil.rmtree(root / part)
    (root / "result.json").unlink()
    file = root / "search" / "study.db"
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content[:5000] if damage == "cut" else bytes(len(content)))
    again = sweep(proposing(), folder=tmp_path)
    assert again.result["settings"] == swept.result["settings"]
    with sqlite3.connect(root / "search" / "study.db") as database:
        assert database.execute("select count(*) from trials").fetchone() == (14,)


def test_a_storage_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=r"sweep.storage: sqlite:///.*cannot be used") as caught:
        sweep(proposing(storage="sqlite:////nowhere/at/all/study.db"), folder=tmp_path)
    assert "\n" not in str(caught.value)


def test_a_password_is_not_printed(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError) as caught:
        sweep(proposing(storage="nosuch://me:secret@machine/base"), folder=tmp_path)
    assert "secret" not in str(caught.value)


@pytest.mark.middle
def test_settings_that_fall_behind_are_ended(tmp_path: Path) -> None:
    about = {**ABOUT, "trials": 10, "batch": 9, "pruning": True}
    found = sweep(
        recipe(seeds=[0], sweep={**about, "axes": {**ABOUT["axes"], "students.*.epochs": [6]}}), folder=tmp_path
    )
    ended = found.result["ended"]["distilled"]
    assert "pruned" in ended and "finished" in ended
    best = found.result["best"]["distilled"]
    assert ended[best] == "finished"
    for number, word in enumerate(ended):
        search = found.folder / "search" / "000" / "cohorts"
        paths = list(search.glob(f"students*/metrics/distilled.{number:03d}-seed0.jsonl"))
        if paths:
            epochs = len(paths[0].read_text().splitlines())
            asked = found.result["settings"][number]["students.*.epochs"]
            assert epochs < asked if word == "pruned" else epochs == asked


class Learning:
    """What the rule looks at of a learner."""

    def __init__(self, name: str, epochs: int) -> None:
        self.name, self.ended = name, None
        self.training = type("T", (), {"epochs": epochs})


@given(st.lists(st.lists(st.floats(0, 1), min_size=8, max_size=8), min_size=1, max_size=8))
def test_the_rule_is_the_median_of_the_others_best_so_far(rows: list[list[float]]) -> None:
    import statistics

    learners = [Learning(str(number), 8) for number in range(len(rows))]
    rule = MedianRule({learner.name for learner in learners})
    kept = {learner.name: row for learner, row in zip(learners, rows, strict=True)}
    for epoch in range(1, 9):
        active = {learner.name: kept[learner.name][epoch - 1] for learner in learners if not learner.ended}
        was = {learner.name: learner.ended for learner in learners}
        rule(learners, active)  # type: ignore[arg-type]
        for learner in learners:
            if learner.name not in active:
                continue
            others = [
                max(kept[other.name][:epoch]) for other in learners if other is not learner and other.name in active
            ]
            behind = len(others) >= MIN_OTHERS and max(kept[learner.name][:epoch]) < statistics.median(others)
            assert (learner.ended == "pruned") == (behind and epoch >= WARMUP_SHARE * 8)
            assert was[learner.name] is None


def test_what_is_not_its_subject_is_left_alone() -> None:
    learners = [Learning(name, 4) for name in ("baseline", "a", "b", "c", "d", "e")]
    rule = MedianRule({"a", "b", "c", "d", "e"})
    for _ in range(4):
        rule(learners, {learner.name: 0.9 * (learner.name != "baseline") for learner in learners})  # type: ignore[arg-type]
    assert [learner.ended for learner in learners] == [None] * 6


def test_weights_sum_to_one_in_suggestions_too() -> None:
    from limbeck.sweeps.trials import RecipeSource

    source = RecipeSource(
        recipe(sweep={"axes": {WEIGHT: {"low": 0, "high": 1}}, "complements": {"students.*.loss.1.weight": WEIGHT}})
    )
    asked = source.read().sweep
    assert asked is not None
    assert [sum(asked.whole(setting).values()) for setting in asked.grid()] == [1.0] * 5  # type: ignore[arg-type]
