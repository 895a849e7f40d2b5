"""Feature maps on which losses on features were worked out, and what all of these losses must keep."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import limbeck.losses
from limbeck.recipes import registry
from limbeck.training.objective import WeightedLoss
from limbeck.types import Outputs, Shapes


def sines(a: float, d: float, *shape: int) -> Tensor:
    """x_n = sin(a · n + d), n = 1, 2, …, float64: maps that anyone can write down."""
    count = torch.Size(shape).numel()
    return torch.sin(a * torch.arange(1, count + 1, dtype=torch.float64) + d).view(shape)


STUDENT_MAP, TEACHER_MAP = sines(0.37, 0.2, 4, 3, 4, 4), sines(0.53, 0.9, 4, 6, 4, 4)


def of(*maps: Tensor, classes: int = 5) -> Outputs:
    return Outputs(maps[0].new_zeros(maps[0].shape[0], classes), maps)


def random_maps(seed: int, *shapes: tuple[int, ...]) -> Outputs:
    """float64 maps `[B, C, H, W]`."""
    g = torch.Generator().manual_seed(seed)
    return of(*(torch.randn(*shape, generator=g, dtype=torch.float64) for shape in shapes))


def new_state(name: str, student: Outputs, teacher: Outputs, *, seed: int = 0, **options: Any) -> Any:
    """The state of a loss for these outputs, in float64."""
    entry = registry.find("losses", name)
    term = WeightedLoss(
        name, registry.load(entry), options=options, needs_features=True, make_state=registry.load_state(entry)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = term.build_state(Shapes.of(student), [Shapes.of(teacher)])
    return None if state is None else state.double()


def loss_of(name: str, student: Outputs, teacher: Outputs, **options: Any) -> Callable[..., Tensor]:
    """The loss with a new state, as a function of outputs; states do not change between calls."""
    state = new_state(name, student, teacher, **options)
    words = options if state is None else {**options, "state": state}
    return lambda s, t: getattr(limbeck.losses, name)(s, t, None, **words)


def check_gradient(name: str, **options: Any) -> None:
    """gradcheck of the student's maps and of every parameter of the state, at maps of different sizes."""
    student, teacher = random_maps(1, (3, 2, 4, 4), (3, 3, 2, 2)), random_maps(2, (3, 3, 4, 4), (3, 4, 2, 2))
    call = loss_of(name, student, teacher, **options)
    leaves = [x.requires_grad_() for x in student.features]
    assert torch.autograd.gradcheck(lambda *maps: call(Outputs(student.logits, maps), teacher), leaves)


def check_extremes(name: str, **options: Any) -> None:
    """Maps that are zero, equal, huge or tiny, in every precision, have finite values and gradients."""
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        smallest = 1e-3 if dtype == torch.float16 else 1e-7  # a gradient of 1 / size must be a number of float16
        for size in (0.0, smallest, 1.0, 1e4):
            for constant in (True, False):
                student, teacher = (
                    random_maps(3, (3, 2, 4, 4), (3, 3, 2, 2)),
                    random_maps(4, (3, 3, 4, 4), (3, 4, 2, 2)),
                )
                maps = [
                    [((torch.ones_like(x) if constant else x) * size).to(dtype) for x in one.features]
                    for one in (student, teacher)
                ]
                logits = torch.zeros(3, 5, dtype=dtype)
                leaves = [x.requires_grad_() for x in maps[0]]
                state = new_state(name, student, teacher, **options)
                words = options if state is None else {**options, "state": state.float()}
                loss = getattr(limbeck.losses, name)
                value = loss(Outputs(logits, tuple(leaves)), Outputs(logits, tuple(maps[1])), None, **words)
                value.sum().backward()
                assert value.isfinite().all(), (dtype, size, constant)
                assert all(x.grad is None or x.grad.isfinite().all() for x in leaves), (dtype, size, constant)


def check_scales(name: str, rtol: float = 1e-8, **options: Any) -> None:
    """A positive factor on all maps of one model changes nothing."""
    student, teacher = random_maps(5, (4, 2, 4, 4), (4, 3, 2, 2)), random_maps(6, (4, 3, 4, 4), (4, 4, 2, 2))
    call = loss_of(name, student, teacher, **options)
    expected = call(student, teacher)
    for mine, theirs in ((3.0, 1.0), (1.0, 0.2), (1e-3, 1e3)):
        scaled = (of(*(x * f for x in one.features)) for one, f in ((student, mine), (teacher, theirs)))
        torch.testing.assert_close(call(*scaled), expected, rtol=rtol, atol=1e-12)


def check_orders(name: str, **options: Any) -> None:
    """The order of the images in the batch does not matter: values of examples move with them."""
    student, teacher = random_maps(7, (5, 2, 4, 4), (5, 3, 2, 2)), random_maps(8, (5, 3, 4, 4), (5, 4, 2, 2))
    call = loss_of(name, student, teacher, **options)
    order = torch.tensor([3, 0, 4, 1, 2])
    value = call(student, teacher)
    moved = call(*(of(*(x[order] for x in one.features)) for one in (student, teacher)))
    torch.testing.assert_close(moved, value[order] if value.dim() else value, rtol=1e-10, atol=1e-12)


def module_of(name: str) -> Any:
    return importlib.import_module(f"limbeck.losses.{name}")


def train_state(name: str, student: Outputs, teacher: Outputs, state: nn.Module, **options: Any) -> float:
    """The lowest value that training the state alone reaches."""
    optimizer = torch.optim.LBFGS(state.parameters(), max_iter=300, tolerance_grad=1e-14, tolerance_change=0)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = getattr(limbeck.losses, name)(student, teacher, None, state=state, **options).mean()
        value.backward()
        return value

    optimizer.step(closure)
    return closure().item()
