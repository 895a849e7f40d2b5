"""`limbeck fit`: models of a family that meet a budget, without training.

All candidates are built without storage and counted. Only those that meet the counted limits are built in memory and
timed, from the largest down, until enough are found.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from limbeck.errors import LimbeckError, did_you_mean, short_repr
from limbeck.evaluation.budget import judge
from limbeck.evaluation.efficiency import count_parameters, image_latency, is_disturbed, megabytes, multiply_adds
from limbeck.recipes import registry
from limbeck.recipes.budget import Budget
from limbeck.recipes.checks.messages import message_of, place_of
from limbeck.recipes.recipe import Recipe
from limbeck.report.budget import allowed_in_words, in_words
from limbeck.training.device import choose_device
from limbeck.training.model_errors import explain_model_errors, explain_out_of_memory

from .models import check_forward

MOST = {"image_size": 4096, "classes": 1_000_000, "channels": 1_000, "top": 1_000_000}
"""The largest number that each argument takes."""
FIRST_CALLS = 5
"""After so many calls a model is given up if even the fastest of them took too long on a quiet machine."""
TOO_SLOW = 4.0
"""A model is given up on a busy machine too if the fastest of these calls took so many times what is allowed."""
Options = tuple[tuple[str, Any], ...]
"""Options of a model as pairs, which can be a key."""


@dataclass(frozen=True)
class Proposal:
    """A model that meets a budget, and what it costs.

    model: its name and options, as under `model` in a recipe. megabytes: of the float32 parameters and buffers, in
    units of 2^20 bytes. multiply_adds: of one image. milliseconds: median latency of one image; None if the budget has
    no limit on it. disturbed: whether the machine was busy during that measurement, so that the time is too long.
    """

    model: Mapping[str, Any]
    parameters: int
    megabytes: float
    multiply_adds: int
    milliseconds: float | None = None
    disturbed: bool = False


def fit(
    family: str,
    *,
    megabytes: float | None = None,
    milliseconds: float | None = None,
    multiply_adds: float | None = None,
    image_size: int = 32,
    classes: int = 10,
    channels: int = 3,
    top: int = 5,
    device: str = "auto",
    say: Callable[[str], None] | None = None,
) -> list[Proposal]:
    """The largest models of a family that meet a budget, by number of parameters, largest first; nothing is trained.

    family: as in `limbeck list models`, such as `resnet`; its file says which depths and widths are tried.
    megabytes, milliseconds, multiply_adds: the limits, as under `budget` in a recipe; at least one of them.
    image_size, channels, classes: side in pixels and channels of the images, number of classes.
    top: the number of models to find at most. device: where to measure latency, as in a recipe.
    say: is told what each timed model took.

    Raises LimbeckError for a family without candidates, a wrong limit, images that the family does not take, and if no
    candidate meets the budget, with the cost of the smallest.
    """
    budget = _budget(megabytes=megabytes, milliseconds=milliseconds, multiply_adds=multiply_adds)
    entry = _family(family)
    given = {"image_size": image_size, "classes": classes, "channels": channels, "top": top}
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST[name]:
            raise LimbeckError(f"fit: {name}: expected an integer from 1 to {MOST[name]:,}; got {short_repr(value)}")
    where = choose_device(device)
    candidates = _Candidates(entry, (channels, image_size, image_size), classes, where, say or (lambda line: None))
    _check_images(entry.name, classes, candidates.image_shape)
    found: list[Proposal] = []
    for proposal in candidates.that_meet(budget):
        found.append(proposal)
        if len(found) == top:
            break
    if not found:
        raise LimbeckError(candidates.none_meets(budget))
    return found


def families() -> list[str]:
    """The model families that `fit` can choose sizes of."""
    known = registry.entries("models").values()
    return [entry.name for entry in known if entry.name == entry.file and registry.load_candidates(entry)]


@dataclass(frozen=True)
class _Candidates:
    """The sizes of one family, for images `[C, H, W]` and a number of classes."""

    entry: registry.Entry
    image_shape: tuple[int, int, int]
    classes: int
    device: torch.device
    say: Callable[[str], None]

    def that_meet(self, budget: Budget) -> Iterator[Proposal]:
        """The sizes that meet a budget, largest first, each measured only when it is asked for."""
        for options, parameters, size in _sizes(self.entry.name, self.classes):
            if budget.megabytes is not None and size > budget.megabytes:
                continue  # not worth counting its multiply-adds
            proposal = self._counted(options, parameters, size)
            if _meets(budget.model_copy(update={"milliseconds": None}), proposal):
                if budget.milliseconds is not None:
                    proposal = self._timed(proposal, budget.milliseconds)
                if _meets(budget, proposal):
                    yield proposal

    def none_meets(self, budget: Budget) -> str:
        """What to say if no size meets the budget: the cost of the smallest."""
        sizes = _sizes(self.entry.name, self.classes)
        proposal = self._counted(*sizes[-1])
        if budget.milliseconds is not None:
            proposal = self._timed(proposal, budget.milliseconds)
        limits = judge(budget, _cost(proposal))["limits"]
        return (
            f"fit: none of {len(sizes)} sizes of {self.entry.name} costs {allowed_in_words(budget.limits())}; "
            f"the smallest ({described(proposal)}): {in_words({name: [limit] for name, limit in limits.items()})}"
        )

    def _counted(self, options: Options, parameters: int, size: float) -> Proposal:
        macs = _multiply_adds(self.entry.name, options, self.classes, self.image_shape)
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in options}
        return Proposal({"name": self.entry.name, **plain}, parameters, size, macs)

    def _timed(self, proposal: Proposal, allowed: float) -> Proposal:
        """The proposal with its latency: of a few calls if they show that it takes longer than allowed."""
        options = {name: value for name, value in proposal.model.items() if name != "name"}
        name = f"{self.entry.name} ({described(proposal)})"
        with explain_out_of_memory(name, 1), explain_model_errors(name, (1, *self.image_shape), "timing"):
            with torch.random.fork_rng(devices=[]):
                model = registry.load(self.entry)(self.classes, **options)
            model = model.to(self.device, memory_format=torch.channels_last)
            found = image_latency(model, self.image_shape, repeats=FIRST_CALLS, seconds=0.5)
            most = allowed * (TOO_SLOW if is_disturbed(found, self.device.type) else 1)
            if found.min_ms <= most:
                found = image_latency(model, self.image_shape)
        timed = Proposal(
            proposal.model,
            proposal.parameters,
            proposal.megabytes,
            proposal.multiply_adds,
            found.median_ms,
            is_disturbed(found, self.device.type),
        )
        limits = judge(Budget(milliseconds=allowed), _cost(timed))["limits"]
        self.say(f"{described(timed)}: {in_words({name: [limit] for name, limit in limits.items()})}")
        return timed


def described(proposal: Proposal) -> str:
    """The options of a proposal in words: `depth 20, widths [16, 32, 64]`."""
    return ", ".join(f"{name} {value}" for name, value in proposal.model.items() if name != "name")


def _cost(proposal: Proposal) -> dict[str, Any]:
    """A proposal's costs by the names of `Efficiency`."""
    counted = {"megabytes": proposal.megabytes, "multiply_adds": proposal.multiply_adds}
    return counted | {"image_ms_median": proposal.milliseconds, "disturbed": proposal.disturbed}


def _meets(budget: Budget, proposal: Proposal) -> bool:
    return judge(budget, _cost(proposal))["met"] is True


def _budget(**limits: float | None) -> Budget:
    try:
        budget = Budget(**limits)
    except ValidationError as error:
        item = error.errors(include_url=False)[0]
        name = item["loc"][0]
        raise LimbeckError(f"fit: {name}: {message_of(item, place_of(('budget', str(name)), Recipe))}") from error
    if not budget.limits():
        raise LimbeckError(f"fit: no limit given; expected at least one of {', '.join(Budget.model_fields)}")
    return budget


def _family(name: Any) -> registry.Entry:
    """The entry of a family. Raises LimbeckError with the nearest family, or with those that have candidates."""
    known = registry.entries("models")
    if not isinstance(name, str):
        raise LimbeckError(f"fit: expected the name of a model family, such as resnet; got {short_repr(name)}")
    head, _ = registry.split_name(name)
    if head not in known:
        raise LimbeckError(f"fit: no model family named {short_repr(name)}{did_you_mean(name, families())}")
    entry = known[head]
    if entry.name != entry.file:
        raise LimbeckError(f"fit: {name!r} is one size of a family; expected the family, {entry.file!r}")
    if registry.load_candidates(entry) is None:
        raise LimbeckError(f"fit: {name!r} has no widths or depths to choose; expected one of {', '.join(families())}")
    return entry


@functools.cache
def _sizes(family: str, classes: int) -> list[tuple[Options, int, float]]:
    """Options, parameters and megabytes of every candidate, most parameters first."""
    candidates = registry.load_candidates(registry.entries("models")[family])
    assert candidates is not None
    counted: list[tuple[Options, int, float]] = []
    for candidate in candidates():
        options = tuple(candidate.items())
        model = _without_storage(family, options, classes)
        counted.append((options, count_parameters(model), megabytes(model)))
    return sorted(counted, key=lambda size: size[1:], reverse=True)


@functools.cache
def _check_images(family: str, classes: int, image_shape: tuple[int, int, int]) -> None:
    """Raises LimbeckError where the smallest size of a family does not take images `[C, H, W]`."""
    options, *_ = _sizes(family, classes)[-1]
    model = _without_storage(family, options, classes).eval()
    check_forward(family, model, torch.empty(1, *image_shape, device="meta"), ["class"] * classes)


@functools.cache
def _multiply_adds(family: str, options: Options, classes: int, image_shape: tuple[int, int, int]) -> int:
    model = _without_storage(family, options, classes)
    for module in [*model.modules()]:
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:  # counts for nothing and takes most of the time without storage
                setattr(module, name, nn.Identity())
    return multiply_adds(model, image_shape)


def _without_storage(family: str, options: Options, classes: int) -> nn.Module:
    """A model on the meta device: shapes without numbers."""
    build = registry.load(registry.entries("models")[family])
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return build(classes, **dict(options))
