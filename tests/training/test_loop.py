"""A student ends as it would alone, and a run that was stopped as one that was not, bit for bit."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from digit_cohorts import (
    BATCH,
    CPU,
    CROSS_ENTROPY,
    EPOCHS,
    INPUT_FORMAT,
    PLANNER,
    STEPS,
    digits,
    follow,
    learner,
    photograph,
    teacher,
    train_split,
    used_model,
)
from packed_state import packed, restored
from torch import Tensor, nn

from limbeck.recipes.optimization import Adam, AdamW, Muon, OneCycle, Sgd
from limbeck.recipes.views import Views
from limbeck.training.learner import Learner
from limbeck.training.loop import EpochEnded, Position, StepDone, train
from limbeck.training.teacher import Teacher
from limbeck.types import Outputs
from limbeck.views.apply import make_view
from limbeck.views.plan import ViewPlanner
from limbeck.views.preprocess import InputFormat, prepare

MAKERS = {
    "sgd": Sgd(lr=0.05),
    "adam": Adam(lr=3e-3),
    "adamw": AdamW(lr=3e-3),
    "muon": Muon(lr=0.02),
}


def arms(dtype: torch.dtype = torch.float32) -> dict[str, Callable[[], Learner]]:
    """Learners as unlike each other as one cohort may hold."""
    return {
        "distilled": lambda: learner("distilled", dtype=dtype),
        "seed 1": lambda: learner("seed 1", seed=1, dtype=dtype),
        "baseline": lambda: learner("baseline", terms=[CROSS_ENTROPY], teachers=(), ema_decay=None, dtype=dtype),
        "muon": lambda: learner("muon", optimizer=MAKERS["muon"], choose="best", clip_norm=None),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_student_in_a_cohort_ends_as_it_does_alone(dtype: torch.dtype) -> None:
    heard = teacher(dtype)
    cohort = [make() for make in arms(dtype).values()]
    rows = follow(cohort, heard=heard)
    assert len({packed({"m": one.model.state_dict()})["x.safetensors"] for one in cohort}) == 4
    for together, make in zip(cohort, arms(dtype).values(), strict=True):
        alone = make()
        alone_rows = follow([alone], heard=heard)
        assert photograph(alone) == photograph(together)
        assert alone_rows == [row for row in rows if row[0] == alone.name]
        assert alone.ended == "finished"


def test_the_order_in_a_cohort_does_not_matter() -> None:
    forward = [make() for make in arms().values()]
    backward = [make() for make in reversed(arms().values())]
    follow(forward)
    follow(backward)
    assert [photograph(one) for one in forward] == [photograph(one) for one in reversed(backward)]


def test_random_numbers_that_others_draw_do_not_matter() -> None:
    quiet, disturbed = learner(), learner()
    follow([quiet])
    torch.manual_seed(99)
    follow([disturbed], disturb=lambda: torch.rand(13))
    assert photograph(quiet) == photograph(disturbed)


@pytest.mark.parametrize("change", ["seed", "views", "teacher"])
def test_what_ought_to_matter_does(change: str) -> None:
    """Else equality above would say nothing."""
    one = learner()
    other = learner(seed=5, weights=0) if change == "seed" else learner()
    planner = ViewPlanner("digits", PLANNER.size, PLANNER.views, seed=1 if change == "views" else 0)
    heard = teacher()
    if change == "teacher":
        with torch.no_grad():
            next(iter(heard.frozen.parameters())).mul_(1.5)
    follow([one])
    follow([other], planner=planner, heard=heard)
    assert photograph(one) != photograph(other)


# Stopping and going on


def resumable(weights: int | None = None, **training: Any) -> list[Learner]:
    """A cohort of two with everything on: batch norm, dropout, average, clipping, patience, the best kept."""
    kinds: dict[str, Any] = {"epochs": 3, "patience": 2, "choose": "best"} | training
    second = {"terms": [CROSS_ENTROPY], "teachers": (), "optimizer": MAKERS["sgd"]}
    return [learner("a", seed=0, weights=weights, **kinds), learner("b", seed=1, weights=weights, **(kinds | second))]


LAST = Position(2, 2)
"""In the middle of the last epoch of `resumable`."""


def stopped_at(position: Position, **training: Any) -> dict[str, bytes]:
    cohort = resumable(**training)
    follow(cohort, after=lambda now: now == position)
    return functools.reduce(dict.__or__, (packed(one.state(), one.name) for one in cohort))


def continued(files: dict[str, bytes], position: Position, change: Callable[[dict], object] = lambda state: None):
    cohort = resumable(weights=77)
    for one in cohort:
        state = restored(files, one.name)
        change(state)
        one.restore(state)
    torch.manual_seed(1234)
    rows = follow(cohort, position)
    return cohort, rows


@functools.cache
def undisturbed(**training: Any) -> tuple[list[dict[str, bytes]], list]:
    cohort = resumable(**training)
    rows = follow(cohort)
    return [photograph(one) for one in cohort], rows


PLACES = [Position(0, 1), Position(0, STEPS), Position(1, 0), Position(1, 2), Position(2, 0), LAST]


@pytest.mark.parametrize("place", PLACES, ids=lambda p: f"epoch {p.epoch} step {p.step}")
def test_a_run_that_was_stopped_ends_as_one_that_was_not(place: Position) -> None:
    expected, rows = undisturbed()
    cohort, later = continued(stopped_at(place), place)
    assert [photograph(one) for one in cohort] == expected
    assert later == rows[-len(later) :]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("optimizer", MAKERS)
def test_with_every_optimizer_and_precision(optimizer: str, dtype: torch.dtype) -> None:
    def make(weights: int | None = None) -> Learner:
        return learner(weights=weights, dtype=dtype, optimizer=MAKERS[optimizer])

    whole, first, second = make(), make(), make(weights=77)
    follow([whole])
    follow([first], after=lambda now: now == Position(1, 1))
    second.restore(restored(packed(first.state())))
    follow([second], Position(1, 1))
    assert photograph(second) == photograph(whole)


def fresh_optimizer(state: dict) -> None:
    state["optimizer"]["state"] = {}


def only_weights_averaged(state: dict) -> None:
    state["average"] = copy.deepcopy(state["model"])


def old_batch_statistics(state: dict) -> None:
    for name in state["model"]:
        if "running" in name:
            state["model"][name] = torch.ones_like(state["model"][name])


FORGOTTEN: dict[str, Callable[[dict], object]] = {
    "optimizer": fresh_optimizer,
    "average": only_weights_averaged,
    "updates": lambda state: state.update(updates=0),
    "trace": lambda state: state.update(trace=None),
    "batch statistics": old_batch_statistics,
    "base rates": lambda state: [group.pop("base_lr") for group in state["optimizer"]["param_groups"]],
    "best weights": lambda state: state.update(best_weights=None, best_accuracy=2.0),
    "lowest loss": lambda state: state.update(lowest_loss=-1.0),
}


@pytest.mark.parametrize("part", FORGOTTEN)
def test_each_part_of_the_state_is_needed(part: str) -> None:
    """The tests above would notice if it were missing."""
    expected, _ = undisturbed()
    cohort, _ = continued(stopped_at(LAST), LAST, FORGOTTEN[part])
    assert all(photograph(one) != before for one, before in zip(cohort, expected, strict=True))


@pytest.mark.parametrize("place", [Position(2, 1), Position(1, 2), Position(2, 0)])
def test_the_place_is_needed(place: Position) -> None:
    expected, _ = undisturbed()
    cohort, _ = continued(stopped_at(LAST), place)
    assert all(photograph(one) != before for one, before in zip(cohort, expected, strict=True))


def test_the_state_says_all_that_changes() -> None:
    """A learner restored is the learner that was photographed, whatever it was before."""
    one, other = learner(choose="best"), learner(seed=8, choose="best")
    follow([one], after=lambda now: now == Position(1, 2))
    follow([other])
    other.restore(restored(packed(one.state())))
    assert photograph(other) == photograph(one)


# What happens


def test_the_loop_tells_what_happened() -> None:
    one = learner()
    events = []
    for event in train([one], {"teacher": teacher()}, train_split(), PLANNER):
        events.append((type(event), event.position))
        if isinstance(event, EpochEnded):
            assert set(event.rows) == {"student"}
            assert one.epochs_done == event.position.epoch
    expected = []
    for epoch in range(EPOCHS):
        expected += [(StepDone, Position(epoch, step + 1)) for step in range(STEPS)]
        expected += [(EpochEnded, Position(epoch + 1, 0))]
    assert events == expected


def test_learners_of_one_cohort_may_have_different_numbers_of_epochs() -> None:
    short, long = learner("short", epochs=1), learner("long", epochs=3)
    rows = follow([short, long])
    assert [name for name, _ in rows] == ["short", "long", "long", "long"]
    alone = learner("short", epochs=1)
    follow([alone])
    assert photograph(alone) == photograph(short)


def test_one_pass_of_the_teacher_for_all_students() -> None:
    heard = teacher()
    passes = []
    heard.frozen.register_forward_hook(lambda module, inputs, output: passes.append(inputs[0].shape[0]))
    follow([learner("a"), learner("b", seed=1), learner("c", terms=[CROSS_ENTROPY], teachers=())], heard=heard)
    assert passes == [BATCH] * STEPS * EPOCHS


def test_a_teacher_that_nobody_hears_is_not_asked() -> None:
    heard = teacher()
    passes = []
    heard.frozen.register_forward_hook(lambda *_: passes.append(1))
    follow([learner(terms=[CROSS_ENTROPY], teachers=())], heard=heard)
    assert passes == []


def test_all_see_the_same_view_each_in_its_own_format() -> None:
    seen: dict[str, list[Tensor]] = {"teacher": [], "a": [], "b": [], "small": []}

    def watch(model: nn.Module, name: str) -> None:
        model.register_forward_hook(lambda module, inputs, output: seen[name].append(inputs[0].clone()))

    cohort = [learner("a"), learner("b", seed=1), learner("small")]
    cohort[2].input_format = InputFormat(INPUT_FORMAT.normalisation, 8)
    heard = teacher()
    watch(heard.frozen, "teacher")
    for one in cohort:
        watch(one.model, one.name)
    for event in train(cohort, {"teacher": heard}, train_split(), PLANNER):
        if isinstance(event, EpochEnded) and event.position.epoch == 2:
            break
    for number in range(2 * STEPS):
        view = make_view(train_split(), PLANNER.plan(number // STEPS, number % STEPS), PLANNER.views)
        for name in ("teacher", "a", "b"):
            assert torch.equal(seen[name][number], prepare(view.images, INPUT_FORMAT))
        assert torch.equal(seen["small"][number], prepare(view.images, cohort[2].input_format))


def test_a_student_learns_from_its_teacher() -> None:
    """A real training, small: the student of a teacher that knows digits ends far above chance, on labels unseen."""
    planner = ViewPlanner("digits", 200, Views(batch_size=25), seed=0)
    quick: dict[str, Any] = {
        "optimizer": Muon(lr=0.05, adam_lr=0.01),
        "schedule": OneCycle(),
        "epochs": 5,
    }
    grown = learner("grown", terms=[CROSS_ENTROPY], teachers=(), **quick)
    first = [row for _, row in follow([grown], planner=planner)]
    assert first[-1]["train_loss"] < 0.6 * first[0]["train_loss"]
    knows = Teacher("teacher", grown.chosen()[0], INPUT_FORMAT, device=CPU)
    only_teacher = learner("pupil", seed=3, terms=learner().objective.losses[:1], **quick)
    follow([only_teacher], planner=planner, heard=knows)
    held_out = digits(300, 200)
    model, _ = only_teacher.chosen()
    with torch.inference_mode():
        answers = model(prepare(held_out.images, INPUT_FORMAT)).logits.argmax(1)
    assert (answers == held_out.labels).float().mean() > 0.5


def test_models_may_answer_with_bare_logits() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Linear(3 * 16 * 16, 10)

        def forward(self, pixels: Tensor) -> Tensor:
            return self.layer(pixels.flatten(1))

    one = learner(model=Bare())
    assert not isinstance(one.model(torch.zeros(1, 3, 16, 16)), Outputs)
    follow([one])
    assert one.ended == "finished"


def test_the_models_are_unlike_before() -> None:
    before = used_model(0).state_dict()
    one = learner()
    follow([one])
    after = one.model.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in before if "weight" in name)
