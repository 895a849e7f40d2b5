"""The optimizers of recipes against torch's plainest ones, and Muon against what it says of itself."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from packed_state import packed, restored
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from limbeck.recipes import optimization as recipe
from limbeck.training import optimizers
from limbeck.training.muon import Muon, orthogonalise
from limbeck.training.parameter_groups import ParameterGroup


def optimizer_of(kind: type[Any], of: list[nn.Parameter], **options: Any) -> Optimizer:
    return optimizers.make_optimizer(kind(**options), [(f"{n}.weight", p) for n, p in enumerate(of)])


MAKERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": lambda of: optimizer_of(recipe.Sgd, of, lr=0.05, weight_decay=5e-4),
    "adam": lambda of: optimizer_of(recipe.Adam, of, lr=1e-2, weight_decay=1e-3),
    "adamw": lambda of: optimizer_of(recipe.AdamW, of, lr=1e-2, weight_decay=0.05),
    "muon": lambda of: optimizer_of(recipe.Muon, of, lr=0.05, weight_decay=0.01),
}


KINDS = {"sgd": recipe.Sgd, "adam": recipe.Adam, "adamw": recipe.AdamW, "muon": recipe.Muon}


def parameters(seed: int = 0) -> list[nn.Parameter]:
    g = torch.Generator().manual_seed(seed)
    shapes = [(8, 3, 3, 3), (8,), (5, 8), (16, 8, 1, 1), ()]
    made = [torch.randn(shape, generator=g) for shape in shapes]
    made[0] = made[0].contiguous(memory_format=torch.channels_last)
    made.append(torch.randn(7, 4, generator=g).T)  # what somebody's own model may hold
    return [nn.Parameter(t) for t in made]


def give_gradients(to: list[nn.Parameter], step: int) -> None:
    g = torch.Generator().manual_seed(1000 + step)
    for p in to:
        # In the layout of the parameter, as autograd hands gradients over.
        p.grad = torch.empty_like(p).copy_(torch.randn(p.shape, generator=g).add_(0.1 * p.detach()))


def walk(of: list[nn.Parameter], optimizer: Optimizer, steps: range) -> list[Tensor]:
    for step in steps:
        give_gradients(of, step)
        optimizers.scale_rates(optimizer, 1 / (1 + step % 5))
        optimizer.step()
    return [p.detach().clone() for p in of]


PLAIN: dict[str, tuple[Callable[..., Optimizer], Callable[..., Optimizer]]] = {
    "sgd": (MAKERS["sgd"], partial(SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)),
    "sgd without momentum": (lambda of: optimizer_of(recipe.Sgd, of, lr=0.05, momentum=0.0), partial(SGD, lr=0.05)),
    "sgd without nesterov": (
        lambda of: optimizer_of(recipe.Sgd, of, lr=0.05, momentum=0.8, nesterov=False),
        partial(SGD, lr=0.05, momentum=0.8),
    ),
    "adam": (MAKERS["adam"], partial(Adam, lr=1e-2, weight_decay=1e-3)),
    "adam with betas": (
        lambda of: optimizer_of(recipe.Adam, of, lr=1e-2, betas=(0.8, 0.95)),
        partial(Adam, lr=1e-2, betas=(0.8, 0.95)),
    ),
    "adamw": (MAKERS["adamw"], partial(AdamW, lr=1e-2, weight_decay=0.05)),
}


@pytest.mark.parametrize("name", PLAIN)
def test_twenty_steps_equal_torchs_plain_ones(name: str) -> None:
    mine, theirs = parameters(), parameters()
    make, plain = PLAIN[name]
    reached = walk(mine, make(mine), range(20))
    expected = walk(theirs, plain(theirs, foreach=False, fused=False), range(20))
    for a, b in zip(reached, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


FUSED = {"sgd": partial(SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True),
         "adam": partial(Adam, lr=1e-2, weight_decay=1e-3, fused=True),
         "adamw": partial(AdamW, lr=1e-2, weight_decay=0.05, fused=True)}  # fmt: skip


@pytest.mark.parametrize("name", FUSED)
def test_without_the_compiler_the_steps_are_torchs_bit_for_bit(name: str) -> None:
    mine, theirs = parameters(), parameters()
    reached, expected = walk(mine, MAKERS[name](mine), range(20)), walk(theirs, FUSED[name](theirs), range(20))
    assert all(torch.equal(a, b) for a, b in zip(reached, expected, strict=True))


@pytest.mark.parametrize("name", MAKERS)
def test_no_optimizer_brings_torchs_compiler_along(name: str) -> None:
    """It would add seconds to the start of every run."""
    code = (
        "import sys, torch\nfrom limbeck.recipes import optimization\nfrom limbeck.training import optimizers\n"
        "weights = [torch.nn.Parameter(torch.ones(2, 3, 1, 1)), torch.nn.Parameter(torch.ones(3))]\n"
        f"options = optimization.{KINDS[name].__name__}(lr=0.1)\n"
        "optimizer = optimizers.make_optimizer(options, [('a', weights[0]), ('b', weights[1])])\n"
        "(weights[0].sum() + weights[1].sum()).backward()\n"
        "optimizer.step()\noptimizer.zero_grad()\noptimizers.restore(optimizer, optimizer.state_dict())\n"
        "assert not {'torch._dynamo', 'sympy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", MAKERS)
def test_a_first_step_that_a_scaler_skips_leaves_no_trace(name: str) -> None:
    """A fused SGD of torch's own then goes on with momenta that nobody ever wrote."""
    skipping, straight = parameters(), parameters()
    optimizer, scaler = MAKERS[name](skipping), torch.amp.GradScaler("cpu", init_scale=1.0, growth_interval=1000)
    scaler.scale(torch.ones(()))  # the scaler makes its scale when it is first asked
    for p in skipping:
        p.grad = torch.full_like(p, float("inf"))
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update(1.0)
    for step in range(3):
        give_gradients(skipping, step)
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update(1.0)
    plain = MAKERS[name](straight)
    for step in range(3):
        give_gradients(straight, step)
        plain.step()
    for a, b in zip(skipping, straight, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MAKERS)
def test_a_saved_optimizer_goes_on_bit_for_bit(name: str) -> None:
    whole = parameters()
    expected = walk(whole, MAKERS[name](whole), range(12))
    first = parameters()
    optimizer = MAKERS[name](first)
    walk(first, optimizer, range(5))
    saved = restored(packed({"optimizer": optimizer.state_dict(), "weights": [p.detach() for p in first]}))

    second = parameters(seed=9)
    again = MAKERS[name](second)
    optimizers.restore(again, saved["optimizer"])
    with torch.no_grad():
        for p, weight in zip(second, saved["weights"], strict=True):
            p.copy_(weight)
    reached = walk(second, again, range(5, 12))
    assert all(torch.equal(a, b) for a, b in zip(reached, expected, strict=True))

    forgetful = copy.deepcopy(first)
    reached = walk(forgetful, MAKERS[name](forgetful), range(5, 12))
    assert not any(torch.equal(a, b) for a, b in zip(reached, expected, strict=True)), "without its state it differs"


def test_rates_are_scaled_from_the_base_and_not_from_each_other() -> None:
    made = parameters()
    optimizer = optimizer_of(recipe.Muon, made, lr=0.1, adam_lr=0.02)
    for factor in (0.5, 0.1, 0.0, 1.0):
        assert optimizers.scale_rates(optimizer, factor) == pytest.approx(0.1 * factor)
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.1 * factor, 0.02 * factor])


@given(st.floats(0.01, 100.0), st.integers(0, 50))
def test_clipping(largest: float, seed: int) -> None:
    made = parameters()
    optimizer = optimizer_of(recipe.Sgd, made, lr=1.0)
    give_gradients(made, seed)
    before = torch.cat([p.grad.flatten().double() for p in made if p.grad is not None])
    returned = optimizers.clip(optimizer, largest)
    after = torch.cat([p.grad.flatten().double() for p in made if p.grad is not None])
    norm = before.norm()
    assert returned.item() == pytest.approx(norm.item(), rel=1e-5)
    torch.testing.assert_close(after, before * min(1.0, largest / norm.item()), rtol=1e-4, atol=1e-6)


def conditioned(rows: int, columns: int, seed: int) -> Tensor:
    """A matrix whose singular values lie between 0.05 and 1: a gradient has worse, but then nothing is promised."""
    random = np.random.default_rng(seed)
    u, _, v = np.linalg.svd(random.normal(size=(rows, columns)), full_matrices=False)
    s = random.uniform(0.05, 1.0, size=min(rows, columns))
    return torch.from_numpy((u * s) @ v).float()


@given(st.integers(1, 24), st.integers(1, 24), st.integers(0, 999), st.floats(1e-3, 1e3))
def test_orthogonalise_drives_singular_values_to_one(rows: int, columns: int, seed: int, scale: float) -> None:
    matrix = conditioned(rows, columns, seed) * scale
    made = orthogonalise(matrix)
    assert made.shape == matrix.shape
    assert made.dtype == matrix.dtype
    values = torch.linalg.svdvals(made.double())
    assert values.min() > 0.6
    assert values.max() < 1.3


@pytest.mark.parametrize(("rows", "columns"), [(16, 27), (128, 64), (32, 32)])
def test_orthogonalise_keeps_the_directions(rows: int, columns: int) -> None:
    """Near U Vᵀ: the angle to the polar factor is small."""
    matrix = conditioned(rows, columns, 1)
    u, _, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    made = orthogonalise(matrix).double()
    assert torch.nn.functional.cosine_similarity(made.flatten(), (u @ v).flatten(), dim=0) > 0.97


def test_orthogonalise_of_nothing_is_nothing() -> None:
    assert torch.equal(orthogonalise(torch.zeros(3, 5)), torch.zeros(3, 5))


def test_muon_is_adam_for_all_but_convolutions() -> None:
    mine, theirs = parameters(), parameters()
    reached = walk(mine, optimizer_of(recipe.Muon, mine, lr=0.05, adam_lr=0.004, weight_decay=0.1), range(20))
    expected = walk(theirs, Adam(theirs, lr=0.004, betas=(0.9, 0.99), foreach=False), range(20))
    for a, b in zip(reached, expected, strict=True):
        if a.dim() == 4:
            assert (a - b).abs().max() > 1e-2
        else:
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 3, 3, 3), (64, 2, 2, 2)])
def test_muons_step_for_a_convolution(shape: tuple[int, ...]) -> None:
    """w ← w (1 − lr·decay) − lr · √max(1, out/in) · orthogonalise(g + μ m), m ← μ m + g."""
    g = torch.Generator().manual_seed(3)
    start, first, second = torch.randn(3, *shape, generator=g)
    weight = nn.Parameter(start.clone())
    optimizer = Muon([ParameterGroup([weight])], lr=0.1, momentum=0.9, weight_decay=0.02, adam_lr=1.0)
    expected, momentum = start.double(), torch.zeros(shape, dtype=torch.float64)
    for gradient in (first, second):
        weight.grad = gradient.clone()
        optimizer.step()
        momentum = 0.9 * momentum + gradient.double()
        ahead = (gradient.double() + 0.9 * momentum).reshape(shape[0], -1)
        factor = max(1.0, shape[0] / ahead.shape[1]) ** 0.5
        update = orthogonalise(ahead.float()).double().reshape(shape)
        expected = expected * (1 - 0.1 * 0.02) - 0.1 * factor * update
    # bfloat16 inside: a gradient that differs in its last bit may differ by a unit of bfloat16 afterwards.
    torch.testing.assert_close(weight.detach().double(), expected, rtol=0, atol=5e-3)


def test_muon_does_without_convolutions_and_without_gradients() -> None:
    alone = nn.Parameter(torch.ones(3))
    silent = nn.Parameter(torch.ones(2, 2, 1, 1))
    optimizer = Muon([ParameterGroup([alone, silent])], lr=0.1, momentum=0.9, weight_decay=0.1, adam_lr=0.01)
    alone.grad = torch.ones(3)
    optimizer.step()
    assert torch.equal(silent, torch.ones(2, 2, 1, 1))
    torch.testing.assert_close(alone.detach(), torch.full((3,), 0.99))
    assert len(Muon([ParameterGroup([alone])], lr=0.1, momentum=0.9, weight_decay=0.0, adam_lr=0.01).param_groups) == 1
