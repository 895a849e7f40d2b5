"""Values from the command line reach any place of a recipe, in the recipe's own words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limbeck.errors import RecipeError
from limbeck.recipes.differences import differences
from limbeck.recipes.load import load_recipe
from limbeck.recipes.optimization import Adam, Cosine
from limbeck.recipes.recipe import Recipe
from limbeck.recipes.views import Crop

Refused = Callable[..., list[str]]


@pytest.fixture
def load(pair: str, tmp_path: Path) -> Callable[..., Recipe]:
    path = tmp_path / "recipe.yaml"
    path.write_text(pair)
    return lambda *overrides: load_recipe(path, overrides)


def test_any_value_can_be_set(load: Callable[..., Recipe]) -> None:
    recipe = load(
        "seeds=[3, 4]",
        "data.validation=0.2",
        "views.crop.padding=2",
        "students.distilled.loss.0.temperature=2",
        "students.distilled.loss.1={name: cross_entropy, label_smoothing: 1e-1}",
        "students.distilled.optimizer={name: adam, lr: 1e-3}",
        "students.baseline.schedule.name=cosine",
        "teachers.large.model.stem=8",
        "device=cpu",
        "students.distilled.epochs = 7",
    )
    distilled = recipe.students["distilled"]
    assert recipe.seeds == (3, 4)
    assert recipe.data.validation == 0.2
    assert recipe.views.crop == Crop(padding=2)
    assert [(term.name, term.weight, term.options) for term in distilled.loss] == [
        ("soft_targets", 0.7, {"temperature": 2}),
        ("cross_entropy", 1.0, {"label_smoothing": 0.1}),
    ]
    assert distilled.optimizer == Adam(name="adam", lr=1e-3)
    assert recipe.students["baseline"].schedule == Cosine(name="cosine")
    assert recipe.teachers["large"].model.options == {"stem": 8}, "a word is short for its name"
    assert (recipe.device, distilled.epochs) == ("cpu", 7)


def test_the_last_word_counts(load: Callable[..., Recipe]) -> None:
    assert load("views.batch_size=1", "views.batch_size=8").views.batch_size == 8


def test_defaults_are_set_before_arms_take_them(load: Callable[..., Recipe]) -> None:
    recipe = load("students.distilled.epochs=9", "students.defaults.epochs=4", "students.defaults.model.dropout=0.1")
    assert {name: arm.epochs for name, arm in recipe.students.items()} == {"baseline": 4, "distilled": 9}
    assert {arm.model.options["dropout"] for arm in recipe.students.values()} == {0.1}
    whole = load("students.defaults={model: resnet20, epochs: 1, optimizer: {name: sgd, lr: 1}}")
    assert {arm.model.name for arm in whole.students.values()} == {"resnet20"}
    assert list(whole.students) == ["baseline", "distilled"]
    arm = load("students.baseline={epochs: 5, loss: [{name: cross_entropy}]}").students["baseline"]
    assert (arm.epochs, arm.model.name) == (5, "lightweight_cnn"), "an arm set as a whole still takes the defaults"


def test_an_arm_without_defaults(load: Callable[..., Recipe]) -> None:
    assert load("teachers.defaults.patience=2").teachers["large"].patience == 2


def test_nothing_can_be_taken_back_to_nothing(load: Callable[..., Recipe]) -> None:
    assert load("students.baseline.patience=3", "students.baseline.patience=").students["baseline"].patience is None


def test_names_may_hold_dots(pair: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(pair.replace("distilled:", "T4.0:"))
    assert load_recipe(path, ["students.T4.0.epochs=6"]).students["T4.0"].epochs == 6


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("students.distiled.epochs=5", "students.distiled.epochs: no arm named 'distiled'; did you mean 'distilled'?"),
        (
            "students.new={model: resnet20}",
            "students.new: no arm named 'new'; expected one of baseline, defaults, distilled",
        ),
        ("teachers.huge.epochs=5", "teachers.huge.epochs: no arm named 'huge'; expected large"),
        ("students.distilled.epocs=5", "students.distilled.epocs: unknown key; did you mean 'epochs'? (got 5)"),
        ("students.distilled.epochs=five", "students.distilled.epochs: expected an integer; got 'five'"),
        ("students.defaults.epochs=five", "students.defaults.epochs: expected an integer; got 'five'"),
        ("students.distilled.loss.2.weight=1", "students.distilled.loss.2.weight: the list has items 0 to 1; got '2'"),
        ("students.distilled.loss.-1.weight=1",
         "students.distilled.loss.-1.weight: the list has items 0 to 1; got '-1'"),
        ("students.distilled.loss.²=1", "students.distilled.loss.²: the list has items 0 to 1; got '²'"),
        ("students.distilled.loss." + "9" * 2000 + "=1", "the list has items 0 to 1"),
        ("students.distilled.loss.first=1", "students.distilled.loss.first: the list has items 0 to 1; got 'first'"),
        ("students.distilled.loss.0.temprature=1",
         "students.distilled.loss.0.temprature: 'soft_targets' has no option 'temprature'; did you mean 'temp"),
        ("teachers.large.patience.x=1", "teachers.large.patience: expected an integer; got {x: 1}"),
        ("name.x=1", "name.x: name is 'pair', which has no keys"),
        ("view.flip=true", "view: unknown key; did you mean 'views'? (got {flip: true})"),
        ("students.distilled.ema.1=3",
         "students.distilled.ema.1: there is no list to set item 1 of; give the whole list"),
        ("x" + ".x" * 5000 + "=1", "too deeply nested for a recipe"),
        ("students.baseline.ema" + ".x" * 90 + "=1", "students.baseline.ema.x: unknown key; expected decay"),
        ("epochs", "'epochs': expected key=value, such as views.batch_size=64"),
        ("=5", "'=5': expected key=value"),
        ("views..flip=1", "'views..flip=1': expected key=value"),
        ("seeds=[1,", "seeds: invalid YAML"),
        ("seeds=!!int 1", "seeds: tags are not allowed in a recipe"),
        ("seeds=*x", "seeds: alias *x without a preceding &x"),
        ("seeds=0,1", "seeds: expected a list, such as [0, 1, 2]; got '0,1'"),
    ],
)  # fmt: skip
def test_a_slip_on_the_command_line(pair: str, refused: Refused, override: str, told: str) -> None:
    lines = refused(pair, [override])
    assert all(line.startswith("command line: ") and len(line) < 500 for line in lines)
    assert told in lines[-1]
    assert all("is missing" in line for line in lines[:-1])


def test_a_slip_beside_one_in_the_file(pair: str, refused: Refused) -> None:
    assert refused(pair.replace("epochs: 3", "epochs: -3"), ["views.batch_size=0"]) == [
        "12: teachers.large.epochs: expected a number of at least 1; got -3",
        "command line: views.batch_size: expected a number of at least 1; got 0",
    ]


def test_overrides_leave_no_trace_in_what_was_handed_in() -> None:
    tree: dict[str, Any] = {"name": "x", "data": {"source": "digits"}, "students": {"a": {"model": "resnet20"}}}
    with pytest.raises(RecipeError):
        load_recipe(tree, ["students.a.model.depth=1", "name=y"])
    assert tree == {"name": "x", "data": {"source": "digits"}, "students": {"a": {"model": "resnet20"}}}


def test_differences_name_every_value_that_changed(load: Callable[..., Recipe]) -> None:
    old = load().to_dict()
    assert differences(old, load().to_dict()) == []
    new = load(
        "students.distilled.epochs=20", "students.distilled.loss.0.temperature=2", "seeds=[0]", "views.crop.padding=1"
    ).to_dict()
    assert differences(old, new) == [
        "seeds: [0, 1] -> [0]",
        'views.crop: null -> {"padding": 1}',
        "students.distilled.epochs: 2 -> 20",
        "students.distilled.loss.0.temperature: 4.0 -> 2",
    ]
    assert differences({"a": 1}, {"b": [2]}) == ["a: 1 -> (absent)", "b: (absent) -> [2]"]
    assert differences({"a": 1}, {"a": 1.0}) == []
    assert differences({"a": 1}, {"a": True}) == ["a: 1 -> true"]
