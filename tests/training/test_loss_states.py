"""A loss with a state: a module that it trains beside the student (FitNets' regressor and its like)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from digit_cohorts import CPU, INPUT_FORMAT, PLANNER, STEPS, TRAINING, student, teacher, train_split
from torch import Tensor, nn

from feature_losses import LOSSES, hint, hint_state, mapped_logits, overhaul, overhaul_state
from limbeck.building.data import Images
from limbeck.building.loss_states import make_losses, make_states, output_shapes, teacher_output_shapes
from limbeck.errors import LimbeckError
from limbeck.losses import cross_entropy
from limbeck.recipes import registry
from limbeck.recipes.recipe import LossTerm
from limbeck.training.learner import Learner
from limbeck.training.loop import take_step
from limbeck.training.objective import Objective, WeightedLoss
from limbeck.types import Outputs, Shapes, Targets
from limbeck.views.apply import make_view

HINT = WeightedLoss("hint", hint, options={"stage": 1}, needs_features=True, make_state=hint_state)
OVERHAUL = WeightedLoss("overhaul", overhaul, needs_features=True, make_state=overhaul_state)
LABELS = torch.zeros(8, dtype=torch.int64)
TARGETS = Targets(LABELS, LABELS, torch.ones(8))
PAIR = (Shapes((2, 10), ((2, 16, 16, 16), (2, 32, 8, 8))), [Shapes((2, 10), ((2, 24, 16, 16), (2, 48, 8, 8)))])


def images() -> Images:
    split = train_split()
    names = tuple(map(str, range(10)))
    return Images("digits", names, split, split, split, "print", INPUT_FORMAT.normalisation)


def objective(*terms: WeightedLoss, seed: int = 0, teachers: int = 1) -> Objective:
    """Of the published student and a teacher of its architecture."""
    frozen = teacher()
    states = make_states(
        terms,
        lambda: output_shapes(student(), images(), INPUT_FORMAT),
        lambda: [teacher_output_shapes(frozen, images())] * teachers,
        seed,
    )
    return Objective(terms, teacher_weights=[1.0] * teachers, states=states)


def one_step(of: Learner, steps: int = 1) -> None:
    for step in range(steps):
        view = make_view(train_split(), PLANNER.plan(0, step), PLANNER.views)
        take_step([of], {"teacher": teacher()}, view, epoch=0, step=step, steps=STEPS)


def learner(*terms: WeightedLoss, dtype: torch.dtype = torch.float32, seed: int = 0) -> Learner:
    return Learner(
        "student",
        student(seed),
        objective(*terms, seed=seed),
        TRAINING,
        input_format=INPUT_FORMAT,
        device=CPU,
        dtype=dtype,
        seed=seed,
    )


def test_a_linear_relation_is_learned_by_the_state_alone() -> None:
    """FitNets, equation 3: the regressor takes the student's map to the teacher's, and the error falls to 0."""
    g = torch.Generator().manual_seed(0)
    truth = torch.randn(6, 4, 1, 1, generator=g, dtype=torch.float64)
    s = torch.randn(8, 4, 5, 5, generator=g, dtype=torch.float64)
    given = Outputs(torch.zeros(8, 10), (s,)), [Outputs(torch.zeros(8, 10), (nn.functional.conv2d(s, truth),))]
    term = WeightedLoss("hint", hint, needs_features=True, make_state=hint_state)
    state = term.build_state(Shapes.of(given[0]), [Shapes.of(given[1][0])])
    assert isinstance(state, nn.Conv2d)
    whole = Objective([term], teacher_weights=[1.0], states={"hint": state.double()})
    optimizer = torch.optim.LBFGS(whole.parameters(), max_iter=200, tolerance_grad=1e-12, tolerance_change=0)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = whole(*given, TARGETS).sum()
        value.backward()
        return value

    assert closure().item() > 0.1
    optimizer.step(closure)
    assert closure().item() < 1e-12
    torch.testing.assert_close(state.weight, truth, atol=1e-5, rtol=1e-5)
    assert state.bias is not None and state.bias.abs().max() < 1e-5


def test_the_partial_distance_pulls_nothing_up_where_the_teacher_is_silent() -> None:
    s, t = torch.tensor([-2.0, 1.0, -2.0, 1.0]), torch.tensor([-1.0, -1.0, 1.0, 3.0])
    state = nn.ModuleList([nn.Identity()])
    given = (Outputs(torch.zeros(1, 3), (x.view(1, 1, 2, 2),)) for x in (s, t))
    assert overhaul(*given, TARGETS, state=state).item() == (0 + 4 + 9 + 4) / 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("term", [HINT, OVERHAUL], ids=["hint", "overhaul"])
def test_the_gradient_reaches_the_student_and_the_state(term: WeightedLoss, dtype: torch.dtype) -> None:
    of = learner(term, dtype=dtype)
    before = {name: p.detach().clone() for name, p in [*of.model.named_parameters(), *of.objective.named_parameters()]}
    one_step(of, 3)
    after = dict([*of.model.named_parameters(), *of.objective.named_parameters()])
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    adapters = {name for name in before if name.startswith("states.")}
    assert adapters and adapters <= moved
    assert any(name.startswith("stages.1.") for name in moved)
    assert not any(name.startswith("head.") for name in moved), "no feature depends on it"
    assert all(torch.isfinite(value).all() for value in after.values())


def test_the_optimizer_gets_states_after_the_model_and_clips_both() -> None:
    of = learner(HINT)
    parameters = [p for group in of.optimizer.param_groups for p in group["params"]]
    expected = [*of.model.parameters(), *of.objective.parameters()]
    assert [id(p) for p in parameters] == [id(p) for p in expected]
    one_step(of)
    norm = torch.stack([p.grad.norm() for p in expected if p.grad is not None]).norm().item()
    assert norm <= 1.0 + 1e-5 and of.training.clip_norm == 1.0
    of.objective.eval()
    of.begin_epoch()
    assert all(module.training for module in of.objective.modules())


def test_a_state_is_built_from_the_shapes_of_both_and_the_options_of_its_loss() -> None:
    seen: list[Any] = []

    def note(student_shapes: Any, teacher_shapes: Any, **options: Any) -> nn.Module:
        seen.append((student_shapes, teacher_shapes, options))
        return nn.Identity()

    def loss(student: Any, teacher: Any, targets: Any, *, stage: int = 3, power: float = 2.0, state: Any) -> Tensor:
        return student.logits.mean(1)

    objective(WeightedLoss("noted", loss, options={"power": 1.0}, needs_features=True, make_state=note))
    features = tuple((2, width, side, side) for width, side in ((16, 16), (32, 8), (64, 4), (128, 2)))
    assert seen == [(Shapes((2, 10), features), Shapes((2, 10), features), {"stage": 3, "power": 1.0})]
    seen.clear()
    objective(WeightedLoss("noted", loss, needs_features=True, make_state=note), teachers=0)
    assert seen[0][1] is None


def test_nothing_is_disturbed_by_asking_for_shapes() -> None:
    model = student().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    make_states([HINT], lambda: output_shapes(model, images(), INPUT_FORMAT), lambda: [PAIR[0]], 0)
    assert torch.equal(torch.rand(3), expected), "torch's generator goes on as if nothing had been drawn"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training and all(p.grad is None for p in model.parameters())


def test_the_seed_decides_how_a_state_begins() -> None:
    def begins(seed: int, *terms: WeightedLoss) -> list[Tensor]:
        return list(make_states(terms, lambda: PAIR[0], lambda: PAIR[1], seed)["hint"].parameters())

    assert all(map(torch.equal, begins(0, HINT), begins(0, HINT)))
    assert all(map(torch.equal, begins(0, HINT), begins(0, OVERHAUL, HINT))), "whatever other losses draw"
    assert not any(map(torch.equal, begins(0, HINT), begins(1, HINT)))


def test_an_average_of_weights_leaves_states_out() -> None:
    of = learner(HINT)
    one_step(of)
    assert of.average is not None
    assert set(of.average.model.state_dict()) == set(student().state_dict())
    chosen, _ = of.chosen()
    assert set(chosen.state_dict()) == set(student().state_dict())


def test_a_checkpoint_holds_states_and_one_without_is_still_read() -> None:
    of, other = learner(OVERHAUL), learner(OVERHAUL, seed=1)
    one_step(of)
    saved = of.state()
    assert {"states.overhaul.0.0.weight", "states.overhaul.0.1.running_mean"} <= set(saved["objective"])
    other.restore(saved)
    for name, value in other.objective.state_dict().items():
        assert torch.equal(value, of.objective.state_dict()[name]), name
    plain = learner(WeightedLoss("cross_entropy", cross_entropy))
    assert plain.state()["objective"] == {}
    plain.restore(plain.state())


def test_of_several_teachers_a_state_sees_what_its_loss_sees() -> None:
    two = objective(WeightedLoss("mapped", mapped_logits, make_state=mapped_logits.state), teachers=2)
    logits = torch.randn(8, 10, generator=torch.Generator().manual_seed(0))
    values = two(Outputs(logits.clone().requires_grad_()), [Outputs(logits), Outputs(logits)], TARGETS)
    expected = (two.states["mapped"](logits) - logits.log_softmax(1)).square().mean()
    torch.testing.assert_close(values[0], expected)
    with pytest.raises(LimbeckError, match=r"^loss 'hint' compares features, and 2 teachers have none in common; give"):
        objective(HINT, teachers=2)


def test_a_state_that_reads_features_must_say_so() -> None:
    with pytest.raises(LimbeckError, match=r"^loss 'hint' reads features; say so in its file or on the function"):
        objective(WeightedLoss("hint", hint, make_state=hint_state))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda s, t: nn.Conv2d(s.features[7][1], 3, 1),
            r"its state raised IndexError at \S+test_loss_states.py:\d+: ",
        ),
        (lambda s, t: 3, r"its state function must return a torch.nn.Module; it returned int"),
        (lambda s: nn.Identity(), r"its state raised TypeError: "),
        (lambda s, t: nn.LazyLinear(3), r"its state has lazy layers; give them their sizes"),
    ],
)
def test_a_state_that_cannot_be_built_is_one_line(make: Any, message: str) -> None:
    term = WeightedLoss("mine", hint, needs_features=True, make_state=make)
    with pytest.raises(LimbeckError, match=message) as caught:
        term.build_state(*PAIR)
    said = str(caught.value)
    assert said.startswith("loss 'mine': ") and "\n" not in said
    assert "(student logits [2, 10], features [2, 16, 16, 16], [2, 32, 8, 8], teacher logits [2, 10], feat" in said


def test_a_state_that_fails_in_training_is_one_line_with_the_features() -> None:
    term = WeightedLoss("hint", hint, needs_features=True, make_state=lambda s, t, *, stage: nn.Conv2d(5, 5, 1))
    of = learner(term)
    with pytest.raises(LimbeckError, match=r"^loss 'hint' raised RuntimeError.*features \[16, 16, 16, 16\]") as caught:
        one_step(of)
    assert "\n" not in str(caught.value)


def test_the_registry_takes_the_state_for_no_option() -> None:
    entry = registry.find("losses", "hint", LOSSES)
    assert dict(entry.options) == {"stage": "-1"}
    wrong = registry.check_options(entry, {"state": 3})
    assert [name for name, _ in wrong] == ["state"]


def test_losses_and_state_functions_that_do_not_fit_are_refused() -> None:
    def forgetful(student: Any, teacher: Any, targets: Any) -> Tensor:
        return student.logits.mean(1)

    def demanding(student: Any, teacher: Any, targets: Any, *, state: Any) -> Tensor:
        return student.logits.mean(1)

    forgetful.state = hint_state  # type: ignore[attr-defined]
    with pytest.raises(LimbeckError, match=r"^loss 'mine' has a state function; its own must take the module"):
        make_losses([LossTerm(name="mine")], {"mine": forgetful})
    with pytest.raises(LimbeckError, match=r"^loss 'mine' takes a `state`; define state\(student_shapes, teacher_sh"):
        make_losses([LossTerm(name="mine")], {"mine": demanding})


@pytest.mark.parametrize("name", ["my.loss", "keys", "training", "hint"])
def test_any_name_can_have_a_state(name: str) -> None:
    of = objective(WeightedLoss(name, mapped_logits, make_state=mapped_logits.state))
    logits = torch.zeros(8, 10)
    assert math.isfinite(of(Outputs(logits), [Outputs(logits)], TARGETS).item())
    assert len(list(of.parameters())) == 2


def test_dropout_in_a_state_is_drawn_by_the_step_and_not_by_what_came_before() -> None:
    def dropped(s: Shapes, t: Shapes) -> nn.Module:
        return nn.Sequential(nn.Dropout(0.5), nn.Linear(s.logits[1], t.logits[1]))

    term = WeightedLoss("mapped", mapped_logits, make_state=dropped)
    one, other = learner(term), learner(term)
    one_step(one)
    torch.rand(100)
    one_step(other)
    assert all(map(torch.equal, one.objective.parameters(), other.objective.parameters()))
