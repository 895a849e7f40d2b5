"""The options of optimizers that set learning rates by layer and leave parameters out of weight decay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from limbeck.recipes.json_schema import json_schema
from limbeck.recipes.load import load_recipe

WRITTEN = "lr: 0.1, weight_decay: 5e-4"
PLACE = "13: teachers.large.optimizer"
LIST, TRUTH = "expected a list, such as […]", "expected true or false"

REFUSED = [
    ("layer_decay: 0", "layer_decay: expected a number greater than 0; got 0"),
    ("layer_decay: -0.5", "layer_decay: expected a number greater than 0; got -0.5"),
    ("layer_decay: 1.5", "layer_decay: expected a number of at most 1; got 1.5"),
    ("layer_decay: .nan", "layer_decay: expected a finite number; got .nan"),
    ("layer_decay: '0.75'", "layer_decay: expected a number; got '0.75'"),
    ("layer_decay: true", "layer_decay: expected a number; got true"),
    ("layer_decay: [0.5]", "layer_decay: expected a number; got [0.5]"),
    ("layer_decya: 0.5", "layer_decya: unknown key; did you mean 'layer_decay'? (got 0.5)"),
    ("no_weight_decay: '*.bias'", f"no_weight_decay: {LIST}; got '*.bias'"),
    ("no_weight_decay: true", f"no_weight_decay: {LIST}; got true"),
    ("no_weight_decay: {head: 1}", f"no_weight_decay: {LIST}; got {{head: 1}}"),
    ("no_weight_decay: null", f"no_weight_decay: {LIST}; got nothing"),
    ("no_weight_decay: [head, 3]", "no_weight_decay.1: expected a string; got 3; put it in quotes"),
    ("no_weight_decay: ['']", "no_weight_decay.0: expected a string that is not empty; got ''"),
    ("no_weight_decay: [head, '']", "no_weight_decay.1: expected a string that is not empty; got ''"),
    ("no_weight_decay: [[head]]", "no_weight_decay.0: expected a string; got ['head']"),
    ("no_weigth_decay: [head]", "no_weigth_decay: unknown key; did you mean 'no_weight_decay'? (got ['head'])"),
    ("decay_norms_and_biases: 0", f"decay_norms_and_biases: {TRUTH}; got 0"),
    ("decay_norms_and_biases: no", f"decay_norms_and_biases: {TRUTH}; got 'no'"),
    ("decay_norms_and_biases: null", f"decay_norms_and_biases: {TRUTH}; got nothing"),
    ("decay_norms: false", "decay_norms: unknown key; did you mean 'decay_norms_and_biases'? (got false)"),
]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize(("option", "message"), REFUSED)
def test_what_is_wrong_is_told(
    optimizer: str, option: str, message: str, pair: str, refused: Callable[..., list[str]]
) -> None:
    text = pair.replace(f"sgd, {WRITTEN}", f"{optimizer}, lr: 0.1, {option}")
    assert refused(text) == [f"{PLACE}.{message}"]


def test_muon_never_decays_norms_and_biases(pair: str, refused: Callable[..., list[str]]) -> None:
    text = pair.replace(f"sgd, {WRITTEN}", "muon, lr: 0.1, decay_norms_and_biases: false")
    assert refused(text) == [
        f"{PLACE}.decay_norms_and_biases: unknown key; expected one of adam_lr, layer_decay, lr, momentum, name, "
        "no_weight_decay, weight_decay (got false)"
    ]


def test_all_three_at_once(pair: str, refused: Callable[..., list[str]]) -> None:
    wrong = "lr: 0.1, layer_decay: 2, no_weight_decay: head, decay_norms_and_biases: 1"
    assert refused(pair.replace(WRITTEN, wrong)) == [
        f"{PLACE}.layer_decay: expected a number of at most 1; got 2",
        f"{PLACE}.no_weight_decay: {LIST}; got 'head'",
        f"{PLACE}.decay_norms_and_biases: {TRUTH}; got 1",
    ]


def tree(name: str, **options: Any) -> dict[str, Any]:
    """The part of a recipe of which the schema speaks: one optimizer of one student."""
    student = {"model": "resnet20", "epochs": 1, "loss": [{"name": "cross_entropy"}]}
    return {
        "name": "one",
        "data": {"source": "digits"},
        "students": {"a": student | {"optimizer": {"name": name, "lr": 0.1, **options}}},
    }


RIGHT: list[dict[str, Any]] = [
    {"layer_decay": 0.75}, {"layer_decay": 1}, {"layer_decay": None}, {"no_weight_decay": []},
    {"no_weight_decay": ["head.weight", "*.bias"]}, {"decay_norms_and_biases": False}, {"decay_norms_and_biases": True},
]  # fmt: skip
WRONG: list[dict[str, Any]] = [
    {"layer_decay": 0}, {"layer_decay": -1}, {"layer_decay": 1.01}, {"layer_decay": "0.5"}, {"layer_decay": True},
    {"no_weight_decay": "head"}, {"no_weight_decay": [1]}, {"no_weight_decay": None}, {"no_weight_decay": {"a": 1}},
    {"no_weight_decay": [""]}, {"no_weight_decay": ["head", ""]},
    {"decay_norms_and_biases": 0}, {"decay_norms_and_biases": "no"}, {"decay_norms_and_biases": None},
    {"layer_decya": 0.5},
]  # fmt: skip


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "muon"])
def test_the_schema_takes_what_a_recipe_takes(name: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    checker = jsonschema.Draft202012Validator(json_schema())
    for options in WRONG:
        assert not checker.is_valid(tree(name, **options)), options
    for options in RIGHT:
        is_right = name != "muon" or "decay_norms_and_biases" not in options
        assert checker.is_valid(tree(name, **options)) == is_right, options
        if is_right:
            optimizer = load_recipe(tree(name, **options)).students["a"].optimizer
            for key, value in options.items():
                assert getattr(optimizer, key) == (tuple(value) if isinstance(value, list) else value)


def test_the_schema_tells_range_and_default() -> None:
    for part in ("Sgd", "Adam", "AdamW", "Muon"):
        about = json_schema()["$defs"][part]["properties"]
        number, nothing = about["layer_decay"]["anyOf"]
        assert number == {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
        assert (nothing, about["layer_decay"]["default"]) == ({"type": "null"}, None)
        listed = about["no_weight_decay"]
        assert (listed["type"], listed["items"], listed["default"]) == ("array", {"type": "string", "minLength": 1}, [])
        if part == "Muon":
            assert "decay_norms_and_biases" not in about
        else:
            decays = about["decay_norms_and_biases"]
            assert (decays["type"], decays["default"]) == ("boolean", True)
        assert all(about[key]["description"] for key in about)
