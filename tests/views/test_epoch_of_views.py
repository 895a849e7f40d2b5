"""Views made several at a time are those made one by one, wherever an epoch is taken up."""

from __future__ import annotations

from unittest.mock import patch

import torch
from hypothesis import given
from hypothesis import strategies as st
from recipes_of_views import rich_views

from limbeck.recipes.views import Views
from limbeck.types import Split
from limbeck.views import epoch as epoch_module
from limbeck.views.apply import View, make_view, make_views
from limbeck.views.epoch import epoch_of_views
from limbeck.views.plan import ViewPlanner

planners = st.builds(ViewPlanner, st.just("data"), st.integers(1, 40), rich_views, st.integers(0, 99), st.just((11, 8)))


def images(size: int) -> Split:
    g = torch.Generator().manual_seed(size)
    pixels = torch.randint(0, 256, (size, 11, 8, 3), dtype=torch.uint8, generator=g)
    return Split(pixels.permute(0, 3, 1, 2), torch.arange(size) * 7 + 3)


def same(first: View, second: View) -> bool:
    pairs = zip((first.images, *first.targets), (second.images, *second.targets), strict=True)
    return all(torch.equal(a, b) and a.dtype == b.dtype and a.stride() == b.stride() for a, b in pairs)


def alone(of: Split, planner: ViewPlanner, epoch: int, step: int) -> View:
    return make_view(of, planner.plan(epoch, step), planner.views, planner.normalisation)


@given(planners, st.integers(0, 9), st.data())
def test_several_at_once_are_each_as_alone(planner: ViewPlanner, epoch: int, data: st.DataObject) -> None:
    """Any plans in any order, also the same one twice."""
    of = images(planner.size)
    steps = data.draw(st.lists(st.integers(0, planner.steps_per_epoch - 1), min_size=1, max_size=6))
    made = make_views(of, [planner.plan(epoch, step) for step in steps], planner.views)
    assert all(same(view, alone(of, planner, epoch, step)) for step, view in zip(steps, made, strict=True))


@given(planners, st.integers(0, 9), st.integers(1, 20_000), st.data())
def test_an_epoch_from_any_step_on(planner: ViewPlanner, epoch: int, at_once: int, data: st.DataObject) -> None:
    of, steps = images(planner.size), planner.steps_per_epoch
    first = data.draw(st.integers(0, steps))
    with patch.object(epoch_module, "MAX_CHUNK_BYTES", at_once):
        made = list(epoch_of_views(of, planner, epoch, first))
    assert [step for step, _ in made] == list(range(first, steps))
    assert all(same(view, alone(of, planner, epoch, step)) for step, view in made)


def test_which_are_made_at_once_does_not_depend_on_where_it_begins() -> None:
    """Three steps of 4 images fit: from step 4 on, steps 3 to 5 are made once more, as they were the first time."""
    planner, made = ViewPlanner("data", 40, Views(batch_size=4), 0), []

    def noting(split: Split, plans: list, *rest: object) -> list[View]:
        made.append([plan.step for plan in plans])
        return make_views(split, plans, *rest)  # type: ignore[arg-type]

    with (
        patch.object(epoch_module, "MAX_CHUNK_BYTES", 3 * 4 * 11 * 8 * 3 + 5),
        patch.object(epoch_module, "make_views", noting),
    ):
        assert len(list(epoch_of_views(images(40), planner, 0, 4))) == 6
    assert made == [[3, 4, 5], [6, 7, 8], [9]]
