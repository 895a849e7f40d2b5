"""A cost is compared with what is allowed, and what was not measured is not judged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.evaluation.budget import MEASURED_AS, judge
from limbeck.recipes.budget import Budget

COST = {"megabytes": 0.5, "image_ms_median": 2.0, "multiply_adds": 1000, "disturbed": False}
costs = st.none() | st.floats(1e-3, 1e3)
limits = st.none() | st.floats(1e-3, 1e3)


def test_exactly_the_limit_is_met() -> None:
    found = judge(Budget(megabytes=0.5, milliseconds=2, multiply_adds=1000), COST)
    assert found["met"] is True
    assert found["limits"]["megabytes"] == {"measured": 0.5, "allowed": 0.5, "met": True}
    assert found["limits"]["milliseconds"] == {"measured": 2.0, "allowed": 2.0, "met": True, "disturbed": False}


@pytest.mark.parametrize("limit", MEASURED_AS)
def test_one_exceeded_limit_is_enough(limit: str) -> None:
    allowed = {"megabytes": 1.0, "milliseconds": 3.0, "multiply_adds": 2000.0} | {limit: 0.25}
    found = judge(Budget(**allowed), COST)
    assert found["met"] is False
    assert [name for name, one in found["limits"].items() if not one["met"]] == [limit]


def test_a_disturbed_time_is_marked() -> None:
    found = judge(Budget(megabytes=1, milliseconds=1), COST | {"disturbed": True})
    assert found["limits"]["milliseconds"]["disturbed"] is True
    assert "disturbed" not in found["limits"]["megabytes"]


@given(limits, limits, limits, costs, costs, costs)
def test_the_whole_is_what_its_limits_are(
    a: float | None, b: float | None, c: float | None, x: float | None, y: float | None, z: float | None
) -> None:
    budget = Budget(megabytes=a, milliseconds=b, multiply_adds=c)
    cost = {"megabytes": x, "image_ms_median": y, "multiply_adds": z}
    found = judge(budget, {name: value for name, value in cost.items() if value is not None})
    pairs = [(limit, value) for limit, value in ((a, x), (b, y), (c, z)) if limit is not None]
    assert list(found["limits"]) == list(budget.limits())
    assert (found["met"] is False) == any(value is not None and value > limit for limit, value in pairs)
    assert (found["met"] is True) == all(value is not None and value <= limit for limit, value in pairs)
