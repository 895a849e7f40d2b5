"""A view's parameters are a pure function of (data set, view recipe, seed, epoch, step)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recipes_of_views import crop_and_flip, rich_views

from limbeck.recipes.views import Views
from limbeck.seeding import generator
from limbeck.views.plan import ViewPlan, ViewPlanner, key_text

BASE = ViewPlanner("data", 200, crop_and_flip(batch_size=32, padding=4, flip=True), seed=3)

planners = st.builds(
    ViewPlanner,
    fingerprint=st.sampled_from(["data", "other"]),
    size=st.integers(1, 60),
    views=st.builds(
        crop_and_flip, batch_size=st.integers(1, 20), padding=st.integers(0, 5), flip=st.booleans()
    ),
    seed=st.integers(0, 2**40),
)  # fmt: skip


def same(first: ViewPlan, second: ViewPlan) -> bool:
    def equal(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
        return a is b is None or (a is not None and b is not None and torch.equal(a, b))

    pairs = [(first.indices, second.indices), (first.offsets, second.offsets), (first.flips, second.flips)]
    return all(equal(a, b) for a, b in pairs)


@given(planners, st.integers(0, 300), st.data())
def test_the_same_key_gives_the_same_view(planner: ViewPlanner, epoch: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, planner.steps_per_epoch - 1))
    first = planner.plan(epoch, step)
    planner.plan(epoch + 1, 0)
    torch.manual_seed(1)
    torch.rand(7)
    again = ViewPlanner(planner.fingerprint, planner.size, planner.views, planner.seed)
    assert same(first, again.plan(epoch, step))
    assert same(first, planner.plan(epoch, step, planner.order(epoch)))
    assert (first.epoch, first.step) == (epoch, step)


OTHERS = {
    "fingerprint": (ViewPlanner("other", 200, BASE.views, 3), 1, 2),
    "size": (ViewPlanner("data", 201, BASE.views, 3), 1, 2),
    "batch size": (ViewPlanner("data", 200, crop_and_flip(31, 4, True), 3), 1, 2),
    "padding": (ViewPlanner("data", 200, crop_and_flip(32, 5, True), 3), 1, 2),
    "flip": (ViewPlanner("data", 200, crop_and_flip(32, 4, False), 3), 1, 2),
    "seed": (ViewPlanner("data", 200, BASE.views, 4), 1, 2),
    "epoch": (BASE, 2, 2),
    "step": (BASE, 1, 3),
    "epoch and step exchanged": (BASE, 2, 1),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_another_key_gives_another_view(other: tuple[ViewPlanner, int, int]) -> None:
    planner, epoch, step = other
    assert not same(BASE.plan(1, 2), planner.plan(epoch, step))


@pytest.mark.parametrize("other", ["fingerprint", "seed", "epoch", "step"])
def test_each_part_of_another_view_is_drawn_anew(other: str) -> None:
    planner, epoch, step = OTHERS[other]
    mine, theirs = BASE.plan(1, 2), planner.plan(epoch, step)
    assert mine.offsets is not None
    assert theirs.offsets is not None
    assert mine.flips is not None
    assert theirs.flips is not None
    assert not torch.equal(mine.indices, theirs.indices)
    assert not torch.equal(mine.offsets, theirs.offsets)
    assert not torch.equal(mine.flips, theirs.flips)


def test_one_augmentation_moves_no_numbers_of_another() -> None:
    whole = BASE.plan(1, 2)
    for views in (crop_and_flip(32, 0, True), crop_and_flip(32, 4, False), crop_and_flip(32, 0, False)):
        part = ViewPlanner("data", 200, views, 3).plan(1, 2)
        assert torch.equal(part.indices, whole.indices)
        assert (part.offsets is None) == (views.crop is None)
        assert (part.flips is None) == (not views.flip)
        assert part.offsets is None or (whole.offsets is not None and torch.equal(part.offsets, whole.offsets))
        assert part.flips is None or (whole.flips is not None and torch.equal(part.flips, whole.flips))


@given(planners, st.integers(0, 5))
def test_an_epoch_takes_every_image_at_most_once_in_whole_batches(planner: ViewPlanner, epoch: int) -> None:
    batches = [planner.plan(epoch, step).indices for step in range(planner.steps_per_epoch)]
    drawn = torch.cat(batches).tolist()
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= set(range(planner.size))
    whole = min(planner.size, planner.views.batch_size)
    assert [len(batch) for batch in batches] == [whole] * planner.steps_per_epoch
    assert planner.size - len(drawn) < planner.views.batch_size, "what is left out does not fill a batch"


@given(planners, st.integers(0, 5))
def test_shapes_and_ranges(planner: ViewPlanner, epoch: int) -> None:
    plan = planner.plan(epoch, 0)
    count, crop = len(plan.indices), planner.views.crop
    assert plan.indices.dtype == torch.int64
    assert (plan.offsets is None) == (crop is None)
    if plan.offsets is not None and crop is not None:
        assert plan.offsets.shape == (count, 2)
        assert plan.offsets.dtype == torch.int64
        assert plan.offsets.min() >= 0
        assert plan.offsets.max() <= 2 * crop.padding
    assert (plan.flips is None) == (not planner.views.flip)
    if plan.flips is not None:
        assert plan.flips.shape == (count,)
        assert plan.flips.dtype == torch.bool


def test_another_part_is_left_out_of_each_epoch() -> None:
    left = [set(BASE.order(epoch)[192:].tolist()) for epoch in range(60)]
    assert len(set(map(frozenset, left))) > 50
    assert len(set().union(*left)) > 150, "nobody is left out for good"


def test_a_data_set_smaller_than_the_batch_is_one_batch() -> None:
    planner = ViewPlanner("data", 5, crop_and_flip(batch_size=8), 0)
    assert planner.steps_per_epoch == 1
    assert sorted(planner.plan(0, 0).indices.tolist()) == [0, 1, 2, 3, 4]


def test_crops_and_flips_are_uniform() -> None:
    """Within five standard deviations, over 100 views of 200 images; the draws are fixed, so this is no lottery."""
    planner = ViewPlanner("data", 200, crop_and_flip(batch_size=200, padding=4, flip=True), seed=0)
    plans = [planner.plan(epoch, 0) for epoch in range(100)]
    offsets = torch.cat([p.offsets for p in plans if p.offsets is not None])
    flips = torch.cat([p.flips for p in plans if p.flips is not None]).double()
    n = len(flips)
    assert abs(flips.mean().item() - 0.5) < 5 * 0.5 / math.sqrt(n)
    counts = torch.zeros(9, 9)
    counts.index_put_((offsets[:, 0], offsets[:, 1]), torch.ones(n), accumulate=True)
    expected = n / 81
    assert (counts - expected).abs().max() < 5 * math.sqrt(expected)


def test_every_image_comes_first_equally_often() -> None:
    planner = ViewPlanner("data", 10, crop_and_flip(batch_size=10), seed=0)
    first = torch.stack([planner.order(epoch) for epoch in range(2000)])[:, 0]
    counts = first.bincount(minlength=10)
    assert (counts - 200).abs().max() < 5 * math.sqrt(200)


# The views of some epochs again and again

rich_planners = st.builds(ViewPlanner, st.just("data"), st.integers(1, 20), rich_views, st.integers(0, 99))


def drawn(value: Any) -> Any:
    """Everything in a plan that is drawn, as plain values that can be compared."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), value.tolist()
    if isinstance(value, ViewPlan):
        return {name: drawn(part) for name, part in vars(value).items() if name != "epoch"}
    return [drawn(part) for part in value] if isinstance(value, tuple) else value


def cycling(planner: ViewPlanner, distinct: int | None) -> ViewPlanner:
    return replace(planner, views=planner.views.model_copy(update={"distinct_epochs": distinct}))


@given(rich_planners, st.integers(1, 7), st.integers(0, 40), st.data())
def test_views_come_again_in_everything_and_the_first_are_as_ever(
    planner: ViewPlanner, distinct: int, epoch: int, data: st.DataObject
) -> None:
    step = data.draw(st.integers(0, planner.steps_per_epoch - 1))
    again = cycling(planner, distinct)
    assert again.steps_per_epoch == planner.steps_per_epoch
    assert torch.equal(again.order(epoch), planner.order(epoch % distinct))
    assert drawn(again.plan(epoch, step)) == drawn(planner.plan(epoch % distinct, step))
    assert drawn(again.plan(epoch, step, again.order(epoch))) == drawn(again.plan(epoch + distinct, step))
    assert again.plan(epoch, step).epoch == epoch


def test_within_a_period_no_view_comes_twice() -> None:
    again = cycling(BASE, 5)
    assert len({str(drawn(again.plan(epoch, 2))) for epoch in range(12)}) == 5


@given(rich_planners, st.integers(1, 30))
def test_a_period_as_long_as_the_training_is_none(planner: ViewPlanner, epochs: int) -> None:
    for distinct in (epochs, epochs + 1, 10**9):
        again = cycling(planner, distinct)
        assert drawn(again.plan(epochs - 1, 0)) == drawn(planner.plan(epochs - 1, 0))


@given(planners, st.integers(0, 10**6))
def test_without_a_period_the_epoch_itself_is_the_key(planner: ViewPlanner, epoch: int) -> None:
    """The keys of every run so far: what they draw may not move."""
    key = (planner.fingerprint, planner.seed, epoch)
    assert planner.views.distinct_epochs is None
    assert torch.equal(planner.order(epoch), torch.randperm(planner.size, generator=generator(*key, "order")))
    plan, count = planner.plan(epoch, 0), min(planner.size, planner.views.batch_size)
    if plan.flips is not None:
        assert torch.equal(plan.flips, torch.randint(0, 2, (count,), generator=generator(*key, 0, "flip")).bool())


KEY_TEXTS = {
    "ViewRecipe(batch_size=128, padding=0, flip=False, resized_crop=None, policy=None, erasing=None, mixing=None, "
    "distinct_epochs=None)": {},
    "ViewRecipe(batch_size=128, padding=4, flip=True, resized_crop=None, policy=RandAugment(operations=2, "
    "magnitude=9), erasing=Erasing(probability=0.25, area=(0.02, 0.33), aspect=(0.3, 3.3), fill='mean'), "
    "mixing=Mixing(mixup=1.0, cutmix=None, probability=1.0, cutmix_probability=0.5), distinct_epochs=3)": {
        "crop": {"padding": 4}, "flip": True, "policy": {"name": "randaugment"}, "erasing": {}, "mixing": {"mixup": 1},
        "distinct_epochs": 3, "seed": 5,
    },
    "ViewRecipe(batch_size=16, padding=0, flip=False, resized_crop=ResizedCrop(area=(0.08, 1.0), aspect=(0.75, "
    "1.3333333333333333), interpolation='bilinear'), policy=TrivialAugment(), erasing=None, mixing=None, "
    "distinct_epochs=None)": {"batch_size": 16, "resized_crop": {}, "policy": {"name": "trivialaugment"}},
    "ViewRecipe(batch_size=128, padding=0, flip=False, resized_crop=None, policy=AutoAugment(table='svhn'), "
    "erasing=None, mixing=None, distinct_epochs=None)": {"policy": {"name": "autoaugment", "table": "svhn"}},
}  # fmt: skip


@pytest.mark.parametrize("text", KEY_TEXTS)
def test_the_text_in_cache_keys_and_checkpoints_never_changes(text: str) -> None:
    """As version 1 wrote it: with another wording stored outputs are not found and begun runs are refused."""
    assert key_text(Views.model_validate(KEY_TEXTS[text])) == text
