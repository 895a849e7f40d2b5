"""What is a learner's own: failure, patience, choice, clipping, averaging, rates."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from digit_cohorts import BATCH, CROSS_ENTROPY, STEPS, follow, learner, photograph, teacher, train_split
from hypothesis import given
from hypothesis import strategies as st
from packed_state import packed, restored
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from limbeck.losses import cross_entropy
from limbeck.recipes.optimization import Constant, Cosine, Sgd
from limbeck.recipes.views import Crop, Views
from limbeck.training.learner import Failure, Learner
from limbeck.training.loop import STEPS_BETWEEN_CHECKS, EpochEnded, Position, StepDone, train
from limbeck.training.objective import WeightedLoss
from limbeck.training.schedules import rate_factor
from limbeck.types import Outputs, Targets
from limbeck.views.plan import ViewPlanner
from limbeck.views.preprocess import prepare

plain_sgd = Sgd(lr=0.1, momentum=0.0)


class Fuse(nn.Module):
    """Counts the calls of its loss, which gives `value` at one of them."""

    count: Tensor

    def __init__(self, at: int, value: float) -> None:
        super().__init__()
        self.at, self.value = at, value
        self.register_buffer("count", torch.tensor(0))


def fused(student: Outputs, teacher: Outputs | None, targets: Targets, *, state: Fuse) -> Tensor:
    state.count += 1
    per_example = cross_entropy(student, None, targets)
    return torch.where(state.count == state.at + 1, state.value, per_example)


def failing(at: int, value: float = math.nan, name: str = "failing") -> Learner:
    terms = [CROSS_ENTROPY, WeightedLoss("fuse", fused, 0.5)]
    return learner(name, terms=terms, states={"fuse": Fuse(at, value)}, teachers=(), ema_decay=None)


@pytest.mark.parametrize(("value", "word"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
@pytest.mark.parametrize("at", [0, STEPS - 1, STEPS + 1])
def test_a_loss_that_is_not_finite_ends_that_learner_and_names_it(at: int, value: float, word: str) -> None:
    one = failing(at, value)
    rows = follow([one])
    assert one.ended == "failed"
    assert one.failure == Failure(epoch=at // STEPS + 1, step=at % STEPS + 1, term="fuse", value=word)
    assert one.epochs_done == at // STEPS
    assert len(rows) == at // STEPS + 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_others_of_its_cohort_go_on_as_if_it_had_not_been_there(dtype: torch.dtype) -> None:
    def others() -> list[Learner]:
        return [learner("a", epochs=3, dtype=dtype), learner("b", seed=1, epochs=3, dtype=dtype)]

    heard = teacher()
    without, beside = others(), others()
    bad = failing(STEPS + 1)
    follow(without, heard=heard)
    rows = follow([beside[0], bad, beside[1]], heard=heard)
    assert bad.ended == "failed"
    assert [one.ended for one in beside] == ["finished"] * 2
    assert [photograph(one) for one in beside] == [photograph(one) for one in without]
    assert [name for name, _ in rows] == ["a", "failing", "b"] * 2 + ["a", "b"]


def test_a_loss_that_really_explodes() -> None:
    one = learner(optimizer=Sgd(lr=1e18), clip_norm=None, terms=[CROSS_ENTROPY])
    follow([one])
    assert one.ended == "failed"
    assert one.failure is not None
    assert one.failure.term == "cross_entropy"
    assert (one.failure.epoch, one.failure.step) > (1, 1)


def test_a_long_epoch_is_not_waited_for() -> None:
    """And after a resume the step is still counted from the epoch's beginning."""
    long = STEPS_BETWEEN_CHECKS + 10
    planner = ViewPlanner("digits", 2 * long, Views(batch_size=2), seed=0)
    one = failing(7)
    steps: list[Position] = []
    follow([one], planner=planner, after=lambda now: steps.append(now) or False)  # pyright: ignore[reportArgumentType]
    assert steps[-1] == Position(0, STEPS_BETWEEN_CHECKS), "nobody is left: no row, no end of the epoch"
    assert one.failure == Failure(1, 8, "fuse", "nan")

    first, second = failing(7), failing(7)
    follow([first], planner=planner, after=lambda now: now == Position(0, 20))
    second.restore(restored(packed(first.state())))
    follow([second], Position(0, 20), planner=planner)
    assert photograph(second) == photograph(one)


class CountStacked(TorchFunctionMode):
    """Counts the tensors that are stacked."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.stack:
            self.count += len(args[0])
        return function(*args, **(kwargs or {}))


@given(st.lists(st.integers(1, 60), max_size=6), st.data())
def test_checks_read_every_value_once_and_find_the_first_that_is_not_finite(parts: list[int], data: Any) -> None:
    total = sum(parts)
    bad = data.draw(st.none() | st.integers(0, total - 1)) if total else None
    term = data.draw(st.integers(0, 1))
    values = [torch.tensor([1.0, 2.0, 0.5]) for _ in range(total)]
    if bad is not None:
        values[bad][term] = math.inf
        values[-1][1 - term] = math.nan
    one = learner(terms=[CROSS_ENTROPY, replace(CROSS_ENTROPY, name="again")], teachers=())
    one.begin_epoch()
    done = 0
    with CountStacked() as stacked:
        for count in parts:
            one.trace += values[done : done + count]
            done += count
            one.check(4)
            one.check(4)
    assert stacked.count <= total, "the whole epoch was read again at each check"
    if bad is None:
        assert one.ended is None and one.failure is None
    else:
        name = one.loss_names[term if bad < total - 1 or term == 0 else 0]
        assert one.failure == Failure(5, bad + 1, name, "nan" if name != one.loss_names[term] else "inf")


@pytest.mark.parametrize("fails_at", [None, 2 * STEPS + 1])
def test_learners_that_ended_apart_are_given_more_epochs(fails_at: int | None) -> None:
    """Each goes on from its own last epoch; one that is further on waits, also where the first fails meanwhile."""

    def cohort(*epochs: int) -> list[Learner]:
        first = learner("first", epochs=epochs[0], schedule=Constant())
        if fails_at is not None:
            first = learner(
                "first", epochs=epochs[0], schedule=Constant(), teachers=(),
                terms=[CROSS_ENTROPY, WeightedLoss("fuse", fused, 0.5)], states={"fuse": Fuse(fails_at, math.nan)},
            )  # fmt: skip
        return [first, learner("second", seed=1, epochs=epochs[1], schedule=Constant())]

    whole, short, longer = cohort(5, 5), cohort(2, 4), cohort(5, 5)
    follow(whole)
    follow(short)
    assert [one.epochs_done for one in short] == [2, 4]
    for one, before in zip(longer, short, strict=True):
        one.restore(restored(packed(before.state())))
        assert one.ended is None
    follow(longer, Position(2, 0))
    assert [photograph(one) for one in longer] == [photograph(one) for one in whole]
    assert whole[0].ended == ("finished" if fails_at is None else "failed") and whole[1].ended == "finished"


def test_one_that_had_run_out_of_patience_stays_ended() -> None:
    """At once it would have ended there too."""
    for lowest, ended in ((3, None), (2, "patience")):
        short, longer = learner(epochs=2, patience=2), learner(epochs=5, patience=2)
        short.ended, short.epochs_done, short.epochs_since_lowest = "finished", 2, 4 - lowest
        longer.restore(restored(packed(short.state())))
        assert longer.ended == ended
        again = learner(epochs=2, patience=2)
        again.restore(restored(packed(short.state())))
        assert again.ended == "finished"


def test_a_failure_survives_a_resume() -> None:
    one, again = failing(1), failing(1)
    follow([one])
    again.restore(restored(packed(one.state())))
    assert (again.ended, again.failure) == ("failed", one.failure)
    assert follow([again], Position(1, 0)) == []


losses = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, math.nan]), min_size=1, max_size=12)


@given(losses, st.integers(1, 4))
def test_patience(history: list[float], patience: int) -> None:
    """It runs out when the lowest loss has not been undercut for `patience` epochs."""
    one = _quiet_learner(patience)
    for epoch, loss in enumerate(history, 1):
        one.epochs_done = epoch
        one.record_validation(loss, 0.5)
        so_far = [math.inf if math.isnan(value) else value for value in history[:epoch]]
        best = so_far.index(min(so_far)) + 1 if min(so_far) < math.inf else 0
        assert one.epochs_since_lowest == epoch - best
        if epoch - best >= patience:
            assert one.ended == "patience"
            return
        assert one.ended is None


def _quiet_learner(patience: int | None, model: nn.Module | None = None) -> Learner:
    return learner(model=model or nn.Linear(1, 1), patience=patience, epochs=99, optimizer=plain_sgd)


def test_a_learner_without_patience_is_judged_to_the_end() -> None:
    one = _quiet_learner(None)
    for epoch in range(1, 100):
        assert one.ended is None
        one.epochs_done = epoch
        one.record_validation(1.0 + epoch, 0.0)
    assert one.ended == "finished"


def test_patience_ends_a_learner_and_not_its_cohort() -> None:
    impatient = learner("impatient", patience=1, epochs=6, optimizer=Sgd(lr=1e-300))  # too low to move a weight
    other = learner("other", epochs=6)
    rows = follow([impatient, other])
    assert impatient.ended == "patience"
    assert impatient.epochs_done < 6
    assert other.ended == "finished"
    assert [name for name, _ in rows].count("impatient") == impatient.epochs_done


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=1, max_size=8), st.sampled_from(["best", "last"]))
def test_the_weights_that_are_kept(accuracies: list[float], choose: str) -> None:
    """The best is the first epoch of the highest validation accuracy."""
    model = nn.Linear(1, 1, bias=False)
    one = learner(model=model, choose=choose, ema_decay=None, epochs=len(accuracies), optimizer=plain_sgd)
    for epoch, accuracy in enumerate(accuracies, 1):
        with torch.no_grad():
            model.weight.fill_(epoch)
        one.epochs_done = epoch
        one.record_validation(1.0, accuracy)
    expected = accuracies.index(max(accuracies)) + 1 if choose == "best" else len(accuracies)
    chosen, epoch = one.chosen()
    assert epoch == expected
    assert chosen.get_parameter("weight").item() == expected
    assert not chosen.training
    assert one.best_epoch == accuracies.index(max(accuracies)) + 1


def test_a_better_epoch_takes_the_memory_of_the_best_before_it() -> None:
    """The weights are not held twice for a moment, and a long run's heap is left as it is."""
    one = learner(choose="best")
    places = []
    for accuracy in (0.1, 0.2, 0.3):
        one.record_validation(1.0, accuracy)
        assert one.best_weights is not None
        places.append([weights.data_ptr() for weights in one.best_weights.values()])
    assert places[0] == places[1] == places[2]
    own = {weights.data_ptr() for weights in one.evaluated_model.state_dict().values()}
    assert not own & set(places[0]), "a copy, which training leaves alone"


def test_the_average_is_what_is_evaluated_and_kept() -> None:
    averaged, plain = learner(ema_decay=0.9), learner(ema_decay=None)
    follow([averaged, plain])
    assert averaged.average is not None
    assert averaged.evaluated_model is averaged.average.model is averaged.chosen()[0]
    assert plain.evaluated_model is plain.model
    for name, value in averaged.model.state_dict().items():
        assert torch.equal(value, plain.model.state_dict()[name]), "averaging watches, it does not steer"
        if value.is_floating_point():
            assert not torch.equal(value, averaged.evaluated_model.state_dict()[name])
    counters = [v for k, v in averaged.evaluated_model.state_dict().items() if "num_batches" in k]
    assert [int(c) for c in counters] == [averaged.average.updates] * len(counters)


def steps_of(one: Learner, number: int) -> list[tuple[float, dict[str, Tensor]]]:
    """The rate and the weights after each of some steps."""
    found = []
    for event in train([one], {"teacher": teacher()}, train_split(), VIEWS):
        if isinstance(event, StepDone):
            found.append((one.rate, {name: p.detach().clone() for name, p in one.model.named_parameters()}))
            if len(found) == number:
                break
    return found


VIEWS = ViewPlanner("digits", 48, Views(batch_size=BATCH, crop=Crop(padding=2)), seed=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("clip_norm", [0.01, 0.05])
def test_clipping_bounds_the_step_and_keeps_its_direction(clip_norm: float, dtype: torch.dtype) -> None:
    """Of the gradients themselves, not of what float16's scaler makes of them."""
    start = {name: p.detach().clone() for name, p in learner().model.named_parameters()}

    def moved(clip: float | None) -> Tensor:
        one = learner(optimizer=plain_sgd, schedule=Constant(), clip_norm=clip, dtype=dtype)
        ((_, after),) = steps_of(one, 1)
        return torch.cat([(after[name] - before).flatten().double() for name, before in start.items()]) / 0.1

    free, clipped = moved(None), moved(clip_norm)
    assert free.norm() > clip_norm
    assert clipped.norm().item() == pytest.approx(clip_norm, rel=1e-2)
    assert torch.nn.functional.cosine_similarity(free, clipped, dim=0) > 0.999


def test_a_generous_clip_changes_no_bit() -> None:
    one, other = learner(clip_norm=None), learner(clip_norm=1e6)
    follow([one, other])
    assert photograph(one) == photograph(other)


def test_rates_follow_the_schedule_by_the_step_of_the_whole_training() -> None:
    schedule = Cosine(warmup_epochs=1)
    one = learner(schedule=schedule, epochs=3)
    rates = [rate for rate, _ in steps_of(one, 9)]
    assert rates == [3e-3 * rate_factor(schedule, step, STEPS, 3) for step in range(9)]


def test_a_row_is_the_mean_of_its_epoch() -> None:
    schedule = Cosine(warmup_epochs=0.5)
    one = learner(optimizer=Sgd(lr=1e-300), schedule=schedule, ema_decay=None)
    before = [parameter.detach().clone() for parameter in one.model.parameters()]
    for event in train([one], {"teacher": teacher()}, train_split(), VIEWS):
        if isinstance(event, EpochEnded):
            row = event.rows["student"]
            break
    else:
        pytest.fail("no epoch ended")
    trace = torch.stack(one.trace).double()
    assert trace.shape == (STEPS, 3)
    assert set(row) == {"train_loss", "train_soft_targets", "train_cross_entropy", "train_accuracy", "lr"}
    means = trace.mean(0).tolist()
    assert [row["train_soft_targets"], row["train_cross_entropy"], row["train_accuracy"]] == pytest.approx(means)
    assert row["train_loss"] == pytest.approx(means[0] + means[1])
    assert row["lr"] == 1e-300 * rate_factor(schedule, STEPS - 1, STEPS, one.training.epochs), "that of the last step"
    after = one.model.parameters()
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True)), "so low a rate moves nothing"


def test_a_mixed_image_is_right_by_its_shares() -> None:
    one = learner(terms=[CROSS_ENTROPY], teachers=(), optimizer=plain_sgd)
    pixels = prepare(train_split().images[:BATCH], one.input_format)
    labels = torch.arange(BATCH) % 10
    share = torch.linspace(0, 1, BATCH)
    targets = Targets(labels, labels.roll(1), share)
    answers: list[Tensor] = []
    one.model.register_forward_hook(lambda module, inputs, output: answers.append(output.logits.argmax(1)))
    one.step(pixels, targets, [], epoch=0, step=0, steps=1)
    expected = 0.0
    for i, answer in enumerate(answers[0].tolist()):
        right = (answer == i % 10, answer == labels.roll(1)[i].item())
        expected += (share[i].item() * right[0] + (1 - share[i].item()) * right[1]) / BATCH
    assert one.trace[0][-1].item() == pytest.approx(expected, abs=1e-6)


def test_what_a_loss_learns_itself_is_trained_and_saved_with_the_learner_and_not_in_the_student() -> None:
    def adapted(student: Outputs, teacher: Outputs, targets: Targets, *, state: nn.Module) -> Tensor:
        return (state(student.logits) - teacher.logits).square().mean(-1)

    torch.manual_seed(4)
    adapter = nn.Linear(10, 10)
    before = adapter.weight.detach().clone()
    one = learner(terms=[CROSS_ENTROPY, WeightedLoss("adapted", adapted)], states={"adapted": adapter})
    follow([one])
    assert not torch.equal(adapter.weight, before)
    assert torch.equal(one.state()["objective"]["states.adapted.weight"], adapter.weight)
    assert not any("adapted" in name for name in one.model.state_dict())
    assert set(one.model.state_dict()) == set(learner().model.state_dict())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_low_precision_learns_nearly_the_same(dtype: torch.dtype) -> None:
    wide, low = learner("wide"), learner("low", dtype=dtype)
    rows = dict(follow([wide, low]))
    assert low.ended == "finished"
    assert rows["low"]["train_loss"] == pytest.approx(rows["wide"]["train_loss"], rel=0.05)
    assert all(p.dtype == torch.float32 for p in low.model.parameters()), "the weights themselves stay float32"
    assert (low.scaler is None) == (dtype != torch.float16)
