"""`quantise` in a recipe: absent where it is not set, and at odds with what computes otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from limbeck.errors import RecipeError
from limbeck.recipes.load import check


def tree(**student: Any) -> dict[str, Any]:
    arm = {
        "model": "lightweight_cnn",
        "epochs": 1,
        "optimizer": {"name": "adam", "lr": 0.001},
        "loss": [{"name": "cross_entropy"}],
    }
    return {
        "name": "n",
        "data": {"source": "digits"},
        "teachers": {"big": dict(arm)},
        "students": {"net": arm | student},
    }


def test_a_recipe_without_it_is_dumped_as_before_there_was_one() -> None:
    plain = check(tree(), "recipe", {}).to_dict()
    assert "quantise" not in plain["students"]["net"]
    quantised = check(tree(quantise="int8"), "recipe", {}).to_dict()
    assert quantised["students"]["net"].pop("quantise") == "int8"
    assert quantised == plain


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ({"quantise": "int4"}, "quantise.*int8"),
        ({"quantise": "int8", "precision": "bf16"}, "precision: bf16 does not go with quantise: int8"),
        ({"quantize": "int8"}, "quantize.*did you mean 'quantise'"),
    ],
)
def test_wrong_words_get_one_line(student: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check(tree(**student), "recipe", {})


def test_a_teacher_stays_float() -> None:
    wrong = tree()
    wrong["teachers"]["big"]["quantise"] = "int8"
    with pytest.raises(RecipeError, match=r"teachers\.big\.quantise: is for students"):
        check(wrong, "recipe", {})
