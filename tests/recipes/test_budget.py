"""The budget of a recipe: its ranges, its dump, and its absence from the dumps of recipes without one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.errors import RecipeError
from limbeck.recipes.budget import Budget
from limbeck.recipes.checks.key_hints import key_places
from limbeck.recipes.load import load_recipe, shipped
from limbeck.recipes.recipe import Recipe

ARM: dict[str, Any] = {
    "model": "lightweight_cnn",
    "epochs": 1,
    "optimizer": {"name": "sgd", "lr": 0.1},
    "loss": [{"name": "cross_entropy"}],
}
positive = st.floats(1e-6, 1e12, allow_subnormal=False) | st.integers(1, 10**12)


def recipe(**more: Any) -> dict[str, Any]:
    return {"name": "x", "data": {"source": "digits"}, "students": {"a": ARM}, **more}


@pytest.mark.parametrize("name", shipped())
def test_a_recipe_without_a_budget_is_dumped_as_before_there_were_budgets(name: str) -> None:
    loaded = load_recipe(name)
    assert loaded.budget is None
    assert "budget" not in loaded.to_dict()
    assert "budget" not in json.loads(loaded.model_dump_json())
    assert list(loaded.to_dict()) == [key for key in Recipe.model_fields if key not in ("budget", "log")]


def test_null_is_no_budget() -> None:
    assert load_recipe(recipe(budget=None)) == load_recipe(recipe())
    assert load_recipe(recipe(budget={"megabytes": 1}), ["budget=null"]).to_dict() == load_recipe(recipe()).to_dict()


@given(st.dictionaries(st.sampled_from([*Budget.model_fields]), positive, min_size=1))
@settings(max_examples=60, deadline=None)
def test_a_budget_reads_back_as_itself(limits: dict[str, float]) -> None:
    loaded = load_recipe(recipe(budget=limits))
    assert loaded.budget is not None
    assert loaded.budget.limits() == limits
    stored = json.loads(json.dumps(loaded.to_dict(), allow_nan=False))
    assert load_recipe(stored) == loaded
    assert load_recipe(stored).to_dict() == loaded.to_dict()


def test_a_budget_is_written_in_yaml_and_overridden(tmp_path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(json.dumps(recipe())[:-1] + ', "budget": {"multiply_adds": 40e6}}', encoding="utf-8")
    assert load_recipe(path, ["budget.megabytes=0.5"]).budget == Budget(megabytes=0.5, multiply_adds=40e6)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"budget": {"megabytes": -1}}, "budget.megabytes: expected a number greater than 0; got -1"),
        ({"budget": {"milliseconds": 0}}, "budget.milliseconds: expected a number greater than 0; got 0"),
        ({"budget": {"multiply_adds": "40M"}}, "budget.multiply_adds: expected a number; got '40M'"),
        ({"budget": {"megabytes": float("inf")}}, "budget.megabytes: expected a finite number; got .inf"),
        ({"budget": {"megabyte": 1}}, "did you mean 'megabytes'?"),
        ({"budget": {"macs": 1}}, "did you mean 'multiply_adds'?"),
        ({"budget": {"latency": 1}}, "did you mean 'milliseconds'?"),
        ({"budget": {}}, "budget: is missing a limit; expected at least one of megabytes, milliseconds, multiply_adds"),
        ({"budget": 3}, "budget: expected a mapping, such as {megabytes: 0.5, multiply_adds: 10e6}; got 3"),
        (
            {"budget": {"milliseconds": 1}, "evaluation": {"latency_batch": 0}},
            "budget.milliseconds: cannot be measured with evaluation.latency_batch: 0",
        ),
    ],
)
def test_a_wrong_budget_is_one_line(more: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe(**more))
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_budget_in_an_arm_is_sent_to_the_recipe() -> None:
    with pytest.raises(RecipeError, match="`budget` belongs to the recipe itself: budget"):
        load_recipe(recipe(students={"a": ARM | {"budget": {"megabytes": 1}}}))
    assert key_places()["megabytes"] == [("budget", "megabytes")]
