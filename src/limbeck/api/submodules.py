"""Losses on features of any module: the submodules whose outputs they compare, by name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from limbeck.errors import LimbeckError, did_you_mean, nearest
from limbeck.recipes import registry
from limbeck.recipes.recipe import CustomFunctions, LossTerm
from limbeck.training.teacher import as_outputs
from limbeck.types import Outputs

OPTIONS = ("layers", "teacher_layers")
MOST_LISTED = 40
"""Names of submodules that an error lists where none is near; a model may have hundreds."""


def named_layers(
    terms: Sequence[LossTerm], losses: CustomFunctions, student: nn.Module, teachers: Sequence[nn.Module]
) -> tuple[list[LossTerm], list[str], list[str]]:
    """Losses with numbers in place of names of submodules, and these submodules of the student and of the teacher.

    Numbers then count the named submodules, in the order in which the model defines them.
    Raises LimbeckError for a name that a model does not have.
    """
    readers = [term for term in terms if registry.find("losses", term.name, losses).needs_features]
    names: dict[str, list[str]] = {option: [] for option in OPTIONS}
    for term in readers:
        for option in OPTIONS:
            given = term.options.get(option)
            names[option] += [x for x in given if isinstance(x, str)] if isinstance(given, list | tuple) else []
    ordered = {
        option: _ordered(option, names[option], model)
        for option, model in zip(OPTIONS, (student, teachers[0] if teachers else None), strict=True)
    }
    if not any(ordered.values()):
        return list(terms), [], []
    numbered = [_numbered(term, ordered) if term in readers else term for term in terms]
    return numbered, ordered["layers"], ordered["teacher_layers"]


def _ordered(option: str, names: Sequence[str], model: nn.Module | None) -> list[str]:
    if not names:
        return []
    if model is None:
        raise LimbeckError(f"{option}: names a submodule, but there is no teacher")
    known = [name for name, _ in model.named_modules() if name]
    for name in names:
        if name not in known:
            who = "student" if option == "layers" else "teacher"
            hint = did_you_mean(name, known) if len(known) <= MOST_LISTED or nearest(name, known) else ""
            raise LimbeckError(f"{option}: the {who} has no submodule {name!r}{hint}")
    return [name for name in known if name in names]


def _numbered(term: LossTerm, ordered: dict[str, list[str]]) -> LossTerm:
    changed: dict[str, Any] = {}
    for option, names in ordered.items():
        given = term.options.get(option)
        if isinstance(given, list | tuple):
            changed[option] = [names.index(x) + 1 if isinstance(x, str) else x for x in given]
    return LossTerm.model_validate(
        {"name": term.name, "weight": term.weight, "warmup_epochs": term.warmup_epochs, **term.options, **changed}
    )


class WithSubmodules(nn.Module):
    """A frozen model whose features are the outputs of its submodules."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, tuple(names)

    def forward(self, pixels: Tensor) -> Any:
        """`Outputs` of the model, with these features."""
        with features_of_submodules(self.model, self.names):
            return self.model(pixels)


@contextlib.contextmanager
def features_of_submodules(model: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """While this lasts, a model returns `Outputs` whose features are the outputs of its submodules, in this order.

    They are copied as they are returned, so a later operation in place, such as a ReLU, does not change them. Of a
    submodule that runs several times, the last output counts. With no names, nothing changes.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                raise LimbeckError(f"submodule {name!r} returns {type(output).__name__}, not a tensor of features")
            found[name] = output.clone()

        return hook

    def collect(module: nn.Module, args: Any, output: Any) -> Outputs:
        missing = [name for name in names if name not in found]
        if missing:
            raise LimbeckError(f"submodule {missing[0]!r} is not called by the model's forward")
        features = tuple(found[name] for name in names)
        found.clear()
        return Outputs(as_outputs(output).logits, features)

    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    if names:
        handles.append(model.register_forward_hook(collect))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
