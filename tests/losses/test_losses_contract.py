"""What must hold for every loss of the folder, old and new."""

from __future__ import annotations

import ast
import functools
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import limbeck.losses
from limbeck.errors import LimbeckError
from limbeck.recipes import registry
from limbeck.training.objective import WeightedLoss
from limbeck.types import Classifier, Outputs, Shapes, Targets

ENTRIES = registry.entries("losses")
HEAR_A_TEACHER = sorted(name for name, entry in ENTRIES.items() if entry.needs_teacher)
BATCH, CLASSES = 12, 7
HALF = (torch.float16, torch.bfloat16)
every_loss = pytest.mark.parametrize("name", sorted(ENTRIES))
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, *HALF, torch.float64], ids=str)


def load(name: str) -> Callable[..., Tensor]:
    """The loss; one with a state gets a new one, built for the outputs of these tests."""
    function, make_state = registry.load(ENTRIES[name]), registry.load_state(ENTRIES[name])
    if make_state is None:
        return function
    shapes = Shapes.of(outputs(0))
    term = WeightedLoss(name, function, needs_features=ENTRIES[name].needs_features, make_state=make_state)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return functools.partial(function, state=term.build_state(shapes, [shapes]))


def ends_at_the_teacher(name: str) -> bool:
    """Unless its own test says `NOT_ZERO_AT_THE_TEACHER`, and why, as its paper does."""
    return "\nNOT_ZERO_AT_THE_TEACHER = " not in (Path(__file__).parent / f"test_{name}.py").read_text()


def usual_weight(name: str) -> float:
    """1, unless the loss's own test names the weight at which it is used: `WEIGHT = 30000.0`."""
    found = re.search(r"^WEIGHT = ([\d.]+)", (Path(__file__).parent / f"test_{name}.py").read_text(), re.MULTILINE)
    return float(found[1]) if found else 1.0


def outputs(seed: int, *, largest: float = 4.0, dtype: torch.dtype = torch.float32, grad: bool = False) -> Outputs:
    """Logits in [-largest, largest], both ends taken, and two stages of features."""
    g = torch.Generator().manual_seed(seed)
    logits = (torch.rand(BATCH, CLASSES, generator=g) * 2 - 1) * largest
    logits[0, 0], logits[0, 1] = largest, -largest
    logits[1] = largest
    logits[2], logits[2, 3] = -largest, largest
    features = (torch.randn(BATCH, 4, 4, 4, generator=g), torch.randn(BATCH, 8, 2, 2, generator=g))
    classifier = (torch.randn(CLASSES, 8, generator=g), torch.randn(CLASSES, generator=g))
    logits, *features = (t.to(dtype).requires_grad_(grad) for t in (logits, *features))
    return Outputs(logits, tuple(features), Classifier(*(t.to(dtype).requires_grad_(grad) for t in classifier)))


def mixed(share: float | Tensor) -> Targets:
    g = torch.Generator().manual_seed(9)
    labels, partners = torch.randint(0, CLASSES, (2, BATCH), generator=g)
    return Targets(labels, partners, torch.as_tensor(share, dtype=torch.float32).expand(BATCH).clone())


def plain() -> Targets:
    labels = mixed(1.0).labels
    return Targets(labels, labels, torch.ones(BATCH))


def test_the_folder_holds_what_the_package_exports() -> None:
    assert {"cross_entropy", "soft_targets"} <= set(ENTRIES)
    assert sorted(limbeck.losses.__all__) == sorted(ENTRIES)
    for name in ENTRIES:
        assert getattr(limbeck.losses, name) is registry.load(ENTRIES[name])


@every_loss
def test_signature(name: str) -> None:
    parameters = inspect.signature(registry.load(ENTRIES[name])).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    options = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "state"]
    assert positional == ["student", "teacher", "targets"]
    assert len(positional) + len(options) == len([p for p in parameters if p.name != "state"])
    for option in options:
        assert option.default is not inspect.Parameter.empty, f"{option.name} needs a default"
        assert ast.literal_eval(ENTRIES[name].options[option.name]) == option.default


@every_loss
def test_the_docstring_names_its_source(name: str) -> None:
    text = inspect.getdoc(registry.load(ENTRIES[name])) or ""
    assert ENTRIES[name].summary
    assert re.search(r"\b[A-Z]\w+ (et al\. |& [A-Z]\w+ )?(19|20)\d\d\b", text), "author and year of the paper"
    assert "Returns" in text


@every_loss
@every_dtype
def test_answer_is_per_example_or_one_number_in_float32_at_least(name: str, dtype: torch.dtype) -> None:
    value = load(name)(outputs(0, dtype=dtype), outputs(1, dtype=dtype), mixed(0.3))
    assert value.shape in [(BATCH,), ()]
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = load(name)(outputs(0, dtype=dtype), outputs(1, dtype=dtype), mixed(0.3))
    assert torch.equal(inside, value), "autocast changes nothing in a loss"


@every_loss
@every_dtype
@pytest.mark.parametrize("largest", [0.0, 50.0, 1e4])
def test_values_and_gradients_are_finite(name: str, dtype: torch.dtype, largest: float) -> None:
    for teacher_largest in {largest, 4.0}:
        student = outputs(0, largest=largest, dtype=dtype, grad=True)
        value = load(name)(student, outputs(1, largest=teacher_largest, dtype=dtype), mixed(0.3))
        assert value.isfinite().all()
        value.sum().backward()
        touched = [t.grad for t in (student.logits, *student.features) if t.grad is not None]
        assert touched
        assert all(g.isfinite().all() for g in touched)


@every_loss
@every_dtype
def test_the_student_learns_and_the_teacher_does_not(name: str, dtype: torch.dtype) -> None:
    student, teacher = outputs(0, dtype=dtype, grad=True), outputs(1, dtype=dtype, grad=True)
    (usual_weight(name) * load(name)(student, teacher, mixed(0.3)).sum()).backward()
    assert any(t.grad is not None and t.grad.abs().max() > 1e-3 for t in (student.logits, *student.features))
    assert all(
        t.grad is None for t in (teacher.logits, *teacher.features, *(teacher.classifier or ())) if t is not None
    )


@pytest.mark.parametrize("name", list(filter(ends_at_the_teacher, HEAR_A_TEACHER)))
@pytest.mark.parametrize("largest", [4.0, 1e4])
def test_a_student_that_answers_as_its_teacher_has_nothing_to_learn(name: str, largest: float) -> None:
    student, teacher = outputs(0, largest=largest, grad=True), outputs(0, largest=largest)
    value = load(name)(student, teacher, mixed(0.3))
    value.sum().backward()
    assert value.abs().max() == 0
    for t in (student.logits, *student.features):
        assert t.grad is None or t.grad.abs().max() < 1e-5


@pytest.mark.parametrize("name", sorted(set(ENTRIES) - set(HEAR_A_TEACHER)))
def test_a_loss_without_a_teacher_does_not_look_at_one(name: str) -> None:
    assert torch.equal(load(name)(outputs(0), None, mixed(0.3)), load(name)(outputs(0), outputs(1), mixed(0.3)))


@every_loss
def test_a_loss_that_does_not_say_that_it_needs_features_does_without_them(name: str) -> None:
    """A bank of a teacher's answers keeps logits alone."""
    student, teacher = outputs(0), outputs(1)
    if not ENTRIES[name].needs_features:
        bare = load(name)(Outputs(student.logits), Outputs(teacher.logits), mixed(0.3))
        assert torch.equal(bare, load(name)(student, teacher, mixed(0.3)))


@every_loss
def test_every_parameter_of_a_state_has_a_gradient(name: str) -> None:
    """A parameter that no step reaches is one that is not learned: two steps, as some start at a gradient of 0."""
    call: Any = load(name)
    state = getattr(call, "keywords", {}).get("state", torch.nn.Module())
    for _ in range(2):
        call(outputs(0, grad=True), outputs(1), mixed(0.3)).sum().backward()
    for parameter in state.parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0


@every_loss
def test_two_calls_agree_and_nothing_is_changed(name: str) -> None:
    student, teacher, targets = outputs(0, grad=True), outputs(1), mixed(0.3)
    before = [t.detach().clone() for t in (*student[1], *teacher[1], student[0], teacher[0], *targets)]
    gradients = []
    values = []
    for _ in range(2):
        student.logits.grad = None
        values.append(load(name)(student, teacher, targets))
        values[-1].sum().backward()
        gradients.append(student.logits.grad)
    assert torch.equal(*values)
    assert gradients[0] is None or torch.equal(*gradients)
    after = (*student[1], *teacher[1], student[0], teacher[0], *targets)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@every_loss
def test_an_image_of_share_one_is_not_mixed(name: str) -> None:
    values = [load(name)(outputs(0), outputs(1), targets) for targets in (mixed(1.0), plain())]
    assert torch.equal(*values)


@every_loss
def test_a_mixed_image_counts_by_its_share(name: str) -> None:
    def value(share: float) -> Tensor:
        return load(name)(outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64), mixed(share))

    own, partner = value(1.0), value(0.0)
    for share in (0.125, 0.5, 0.75):
        torch.testing.assert_close(value(share), share * own + (1 - share) * partner, rtol=1e-12, atol=1e-12)


@every_loss
def test_one_example_does_not_reach_anothers_value(name: str) -> None:
    """Of losses that return one value an example; those that relate examples return one number."""
    student, teacher, targets = outputs(0), outputs(1), mixed(0.3)
    whole = load(name)(student, teacher, targets)
    if whole.dim() == 0:
        return
    order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(2))

    def chosen(o: Outputs) -> Outputs:
        return o._replace(logits=o.logits[order], features=tuple(f[order] for f in o.features))

    turned = load(name)(chosen(student), chosen(teacher), Targets(*(t[order] for t in targets)))
    torch.testing.assert_close(turned, whole[order], rtol=1e-6, atol=1e-6)


# Bare tensors, and what is none of them


@every_loss
@every_dtype
def test_bare_tensors_do_as_well(name: str, dtype: torch.dtype) -> None:
    student, teacher, targets = outputs(0, dtype=dtype), outputs(1, dtype=dtype), plain()
    if not ENTRIES[name].needs_features:
        bare = load(name)(student.logits, teacher.logits, targets.labels)
        assert torch.equal(bare, load(name)(student, teacher, targets))


def test_losses_that_look_at_no_label_take_none() -> None:
    student, teacher = outputs(0).logits, outputs(1).logits
    names = ("soft_targets", "dist", "ttm", "logit_mse", "multi_level", "ctkd")
    for loss in map(load, names):
        assert torch.equal(loss(student, teacher, None), loss(student, teacher, plain()))
    with pytest.raises(LimbeckError, match=r"dkd: targets must be labels \[B\] int64"):
        limbeck.losses.dkd(student, teacher, None)


STRANGE: list[Any] = [
    None, 3, "logits", [[0.1, 0.9]], torch.zeros(BATCH), torch.zeros(BATCH, CLASSES, 1),
    torch.zeros(BATCH, CLASSES).long(),
    torch.zeros(BATCH - 1, CLASSES), torch.zeros(BATCH, CLASSES + 1), Outputs(None), (torch.zeros(BATCH, CLASSES),),  # type: ignore[arg-type]
]  # fmt: skip
STRANGE_TARGETS: list[Any] = [
    3, "labels", [0] * BATCH, torch.zeros(BATCH), torch.zeros(BATCH, dtype=torch.int32), torch.zeros(BATCH + 1).long(),
    torch.zeros(BATCH, CLASSES).long(), Targets(None, None, None),  # type: ignore[arg-type]
    Targets(plain().labels, plain().labels[1:], torch.ones(BATCH)),
]  # fmt: skip


@every_loss
def test_wrong_arguments_are_told_in_one_line(name: str) -> None:
    right = (outputs(0), outputs(1), plain())
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((), {}),
        (right[:2], {}),
        ((*right, 1), {}),
        (right, {"z": 1}),
    ]
    calls += [((strange, *right[1:]), {}) for strange in STRANGE[:7]]
    calls += [((right[0], right[1], strange), {}) for strange in STRANGE_TARGETS]
    if ENTRIES[name].needs_teacher:
        calls += [((right[0], strange, right[2]), {}) for strange in STRANGE]
    for option, default in ENTRIES[name].options.items():
        wrong = [None, "x", [], float("nan"), torch.zeros(2)] + ([0.0, -1.0] if option == "temperature" else [])
        calls += [(right, {option: value}) for value in (wrong[:3] if default in ("True", "False") else wrong)]
    for args, words in calls:
        with pytest.raises(LimbeckError, match=rf"^{name}: [^\n]+$"):
            load(name)(*args, **words)


@pytest.mark.parametrize("name", ["cross_entropy", "dkd", "nkd", "rld", "swapped_logits"])
@pytest.mark.parametrize("label", [-1, CLASSES])
def test_a_label_that_no_class_has_is_named(name: str, label: int) -> None:
    labels = plain().labels.clone()
    labels[3] = label
    with pytest.raises(LimbeckError, match=rf"{name}: label {label} is outside the {CLASSES} classes"):
        load(name)(outputs(0), outputs(1), labels)


def test_the_nearest_option_is_named() -> None:
    with pytest.raises(LimbeckError, match="did you mean 'temperature'"):
        limbeck.losses.soft_targets(outputs(0), outputs(1), plain(), temprature=2.0)  # type: ignore[call-arg]
