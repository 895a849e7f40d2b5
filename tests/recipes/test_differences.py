"""What may be added to a run that was trained, and what is refused, naming the key."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from limbeck.errors import LimbeckError
from limbeck.recipes.differences import extension
from limbeck.recipes.load import load_recipe
from limbeck.recipes.recipe import Recipe
from limbeck.storage.atomic import read_json, write_json
from limbeck.storage.run_directory import RunDirectory

ARM: dict[str, Any] = {
    "model": "lightweight_cnn",
    "epochs": 4,
    "optimizer": {"name": "sgd", "lr": 0.1},
    "loss": [{"name": "cross_entropy"}],
}
KD = {**ARM, "teacher": "t", "loss": [{"name": "soft_targets"}]}
COSINE, STEP = {"name": "cosine"}, {"name": "step", "every_epochs": 2, "factor": 0.1}
EVERYTHING = {"t", "a", "kd", "slow"}


def tree() -> dict[str, Any]:
    return {
        "name": "x",
        "seeds": [0, 1],
        "data": {"source": "digits"},
        "teachers": {"t": ARM},
        "students": {"a": ARM, "kd": KD, "slow": {**ARM, "schedule": COSINE}},
    }


def recipe(**changes: Any) -> Recipe:
    """changes: values by key, dots as double underscores; None takes away."""
    made = json.loads(json.dumps(tree()))  # arms share nothing
    for key, value in changes.items():
        *above, last = key.split("__")
        holder = made
        for part in above:
            holder = holder[part]
        if value is None:
            del holder[last]
        else:
            holder[last] = value
    return load_recipe(made)


@pytest.mark.parametrize(
    ("changes", "lines", "longer"),
    [
        ({"seeds": [0, 1, 5, 6]}, ["seeds: 5, 6 added"], []),
        ({"students__new": KD}, ["students.new: added"], []),
        ({"budget": {"megabytes": 2}}, ["budget.megabytes: (absent) -> 2.0"], []),
        ({"teachers__new": ARM}, ["teachers.new: added"], []),
        (
            {"evaluation": {"test_time": {"flip": True}}},
            ['evaluation.test_time: (absent) -> {"flip": true, "shifts": 0, "scales": []}'],
            [],
        ),
        ({"students__a__epochs": 6}, ["students.a.epochs: 4 -> 6"], ["a"]),
        (
            {"students__slow__epochs": 6, "students__slow__schedule": STEP},
            [
                "students.slow.epochs: 4 -> 6; continues with the learning rates of the new schedule (step) at "
                "the same epoch"
            ],
            ["slow"],
        ),
    ],
)
def test_what_may_be_added(changes: dict[str, Any], lines: list[str], longer: list[str]) -> None:
    found = extension(recipe(), recipe(**changes), EVERYTHING)
    assert (list(found.lines), list(found.longer)) == (lines, longer)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seeds": [0, 2]}, "seeds: 1 cannot be removed"),
        ({"students__a": None}, "students.a: an arm cannot be removed"),
        ({"students__a__epochs": 3}, "students.a.epochs: 4 -> 3: a trained arm can only get more"),
        ({"students__a__schedule": STEP}, "students.a.schedule.*can only get more epochs"),
        (
            {"students__slow__epochs": 9},
            r"the learning rates of cosine depend.*students.slow.schedule=\{name: constant\}",
        ),
        (
            {"students__a__optimizer": {"name": "sgd", "lr": 0.2}},
            "students.a.optimizer.lr: 0.1 -> 0.2: the arm was tra",
        ),
        ({"students__kd__loss": [{"name": "dkd"}]}, "students.kd.loss.0"),
        ({"students__a__views": {"batch_size": 7}}, "students.a.views"),
        ({"views": {"batch_size": 7}}, "views.batch_size: 128 -> 7"),
        ({"data": {"source": "digits", "validation": 0.2}}, "data.validation: 0.1 -> 0.2"),
        ({"precision": "fp32"}, "precision: auto -> fp32"),
        ({"evaluation": {"batch_size": 9, "test_time": {"flip": True}}}, "evaluation.batch_size: 250 -> 9"),
        ({"teachers__t__epochs": 5}, "teachers.t.epochs: kd was already trained with t as its teacher"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(LimbeckError, match=told) as caught:
        extension(recipe(), recipe(**changes), EVERYTHING)
    assert "\n" not in str(caught.value)


def test_test_time_augmentation_may_change_and_go() -> None:
    flips, moves = (recipe(evaluation={"test_time": views}) for views in ({"flip": True}, {"flip": True, "shifts": 1}))
    assert extension(flips, moves, EVERYTHING).lines == ("evaluation.test_time.shifts: 0 -> 1",)
    (line,) = extension(moves, recipe(), EVERYTHING).lines
    assert line.endswith("-> (absent)")


def test_what_was_not_trained_may_change() -> None:
    changed = recipe(students__kd__loss=[{"name": "dkd"}], teachers__t__epochs=9)
    found = extension(recipe(), changed, {"t", "a"})
    assert found.longer == ("t",), "nobody has heard it yet"
    assert any(line.startswith("students.kd.loss.0") for line in found.lines)


def test_an_arm_that_waits_for_others_of_its_cohort() -> None:
    with pytest.raises(
        LimbeckError, match=r"students.a.epochs: 4 -> 9: this arm has finished, but others of its cohort have not"
    ):
        extension(recipe(), recipe(students__a__epochs=9), EVERYTHING, {"a"})


def test_an_extension_that_is_cut_off_anywhere_is_finished_or_never_was(tmp_path: Path) -> None:
    """A process that ends at the n-th renaming or removing, for every n."""
    old, new = {"name": "old"}, {"name": "new"}

    def state(root: Path) -> dict[str, Any]:
        files = (path for path in sorted(root.rglob("*")) if path.is_file())
        return {str(path.relative_to(root)): path.read_text() for path in files}

    def prepared(root: Path) -> RunDirectory:
        for name, value in (("recipe", old), ("result", {}), ("cohorts/a/done", {}), ("cohorts/b/done", {})):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            write_json(root / f"{name}.json", value)
        return RunDirectory(root)

    untouched = state(prepared(tmp_path / "untouched").root)
    whole = prepared(tmp_path / "whole")
    whole.extend(new, {"cohorts": []}, ["a"])
    assert read_json(whole.recipe) == new and not whole.result.exists()
    assert whole.cohort("a").read_result() is None and whole.cohort("b").read_result() is not None
    ends = set()
    for number in range(20):
        directory = prepared(tmp_path / str(number))
        child = os.fork()
        if child == 0:
            _dies_at(number)
            directory.extend(new, {"cohorts": []}, ["a"])
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            break
        directory.finish_extension()
        after = {name: text for name, text in state(directory.root).items() if ".tmp-" not in name}
        assert after in (untouched, state(whole.root)), number
        ends.add(after == untouched)
    assert number >= 6 and ends == {True, False}


def _dies_at(number: int) -> None:
    """End this process at its n-th change of a name."""
    left = number
    for name in ("replace", "unlink"):
        real = getattr(os, name)

        def counting(*words: Any, real: Any = real, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os._exit(9)
            return real(*words, **more)

        setattr(os, name, counting)
