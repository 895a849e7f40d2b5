"""Find the weights in a checkpoint: either one unambiguous location or an error that lists the candidates.

Checkpoints are nested mappings of weights, moving averages, optimizer state, accuracies and so on. Weights are a
mapping from names such as `layer1.0.conv1.weight` to tensors. Other single tensors are never mistaken for weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .inert_classes import Inert, full_name

PLACES = ("state_dict", "model_state_dict", "model", "net", "network", "state_dict_ema", "model_ema", "ema")
WRAPPERS = ("module.", "_orig_mod.")
PREFIXES = (
    *WRAPPERS, "model.", "net.", "network.", "backbone.", "encoder.", "student.", "teacher.", "ema.", "ema_model.",
    "model_ema.",
)  # fmt: skip
COUNTERS = ("n_averaged",)  # stored by torch's AveragedModel beside the weights
AVERAGE = {"ema", "swa", "averaged", "average", "avg"}
ROLES = {"student", "teacher", "online", "target", "momentum", "generator", "discriminator"} | AVERAGE
MODELS = {"model", "net", "network", "encoder_q", "encoder_k", "model_s", "model_t", "net_s", "net_t"}
TRAINING = {
    "optimizer", "optimizers", "optim", "optims", "opt", "scheduler", "schedulers", "sched", "scaler", "criterion",
    "criteria", "loss", "losses", "metric", "metrics", "callbacks", "loops", "rng", "meters", "history",
}  # fmt: skip
RECORDS = {"epoch", "step", "iter", "iteration", "acc", "acc1", "acc5", "accuracy", "loss", "best", "lr", "rng", "top1"}
LAYER = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
MAX_DEPTH, MAX_VALUES, MAX_LISTED = 6, 200_000, 12


class RejectedError(Exception):
    """The file is rejected; the message is the reason."""


@dataclass(frozen=True)
class Choice:
    """The location of the weights in a checkpoint.

    key: their location (dots separate levels; "" is the top level).
    others: keys of other weights that were not chosen, such as a moving average.
    """

    key: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Candidate:
    key: str
    weights: Mapping[Any, Any]

    @property
    def average(self) -> bool:
        return any(_words(part) & AVERAGE for part in self.key.split("."))

    @property
    def description(self) -> str:
        sizes = [value.numel() for value in self.weights.values() if isinstance(value, Tensor)]
        return f"{self.key or '.'} ({len(sizes)} tensors, {sum(sizes):,} parameters)"

    def same_as(self, other: _Candidate) -> bool:
        return self.weights.keys() == other.weights.keys() and all(
            _same(mine, other.weights[name]) for name, mine in self.weights.items()
        )


def _same(one: Any, two: Any) -> bool:
    if not (isinstance(one, Tensor) and isinstance(two, Tensor)):
        return one is two
    alike = one.layout is two.layout is torch.strided and one.shape == two.shape and one.stride() == two.stride()
    return alike and one.dtype == two.dtype and one.data_ptr() == two.data_ptr() and one.device == two.device


def choose(held: Any) -> Choice:
    """Find the weights in a checkpoint.

    Prefers weights to their moving average. Raises RejectedError if there are no weights, or several candidates, which
    it lists.
    """
    found = list(_candidates(held, "", set(), [MAX_VALUES])) or _plain_candidates(held)
    distinct: list[_Candidate] = []
    for candidate in sorted(found, key=lambda c: c.average):  # stable: otherwise in file order
        if not any(candidate.same_as(other) for other in distinct):
            distinct.append(candidate)
    whole = _whole_model(held)
    if not distinct:
        if whole:
            raise RejectedError(
                f"its {whole[0]!r} is a whole pickled model ({whole[1]}); save `model.state_dict()` instead"
            )
        raise RejectedError(f"it contains no weights; {_contents(held)}")
    weights = [candidate for candidate in distinct if not candidate.average] or distinct
    listed = ", ".join(candidate.description for candidate in distinct[:MAX_LISTED])
    listed += ", …" if len(distinct) > MAX_LISTED else ""
    if len(weights) > 1:
        raise RejectedError(f"it contains several sets of weights; choose one with `--key`: {listed}")
    if whole and weights[0].key.partition(".")[0] not in PLACES[:5]:
        raise RejectedError(
            f"its {whole[0]!r} is a whole pickled model ({whole[1]}), which cannot be read; save `model.state_dict()` "
            f"instead, or choose other weights in it with `--key`: {listed}"
        )
    return Choice(weights[0].key, tuple(candidate.key for candidate in distinct if candidate is not weights[0]))


def at(held: Any, key: str) -> Mapping[Any, Any]:
    """The weights at a location: a key, a path of keys separated by dots, or a common prefix of names.

    "" or "." is the top level. Raises RejectedError if there are no weights.
    """
    here, rest = held, "" if key == "." else key
    while rest:
        step = _step(here, rest)
        if step is None:
            raise RejectedError(f"it has no {key!r}; {_contents(held)}")
        here, rest = step
    if not _has_tensors(here):
        if isinstance(here, Mapping) and here and not any(isinstance(v, Inert) for v in here.values()):
            return at(here, choose(here).key)
        raise RejectedError(f"its {key!r} contains no tensors")
    return here


def _step(here: Any, rest: str) -> tuple[Any, str] | None:
    if isinstance(here, list | tuple):
        number, _, after = rest.partition(".")
        return (here[int(number)], after) if number.isdecimal() and int(number) < len(here) else None
    if not isinstance(here, Mapping):
        return None
    matching = [name for name in here if isinstance(name, str | int) and f"{rest}.".startswith(f"{name}.")]
    if matching:
        name = max(matching, key=lambda name: len(str(name)))
        if isinstance(here[name], Mapping | list | tuple) or str(name) == rest:
            return here[name], rest[len(str(name)) + 1 :]
    first, _, after = rest.partition(".")
    for names in (here, _unwrapped(here)):
        if group := _group(names, first):
            return group, after
    return None


def _candidates(held: Any, key: str, seen: set[int], left: list[int]) -> Iterator[_Candidate]:
    """Every mapping that looks like weights, from the top level down. left: number of values that may still be read."""
    if key.count(".") >= MAX_DEPTH or id(held) in seen:
        return
    seen.add(id(held))
    if isinstance(held, list | tuple):
        items = [(str(number), value) for number, value in enumerate(held[:100])]
    elif isinstance(held, Mapping) and "param_groups" not in held:  # not the state of an optimizer
        items = [(str(name), value) for name, value in held.items()]
        if _looks_like_weights(held, one_layer=not key or key.rpartition(".")[2] in PLACES):
            yield from _by_role(_Candidate(key, held))
    else:
        return
    for name, value in items:
        left[0] -= 1
        if left[0] < 0:
            return
        if isinstance(value, Mapping | list | tuple) and not _words(name) & TRAINING:
            yield from _candidates(value, f"{key}.{name}" if key else name, seen, left)


def _looks_like_weights(held: Mapping[Any, Any], one_layer: bool) -> bool:
    """Whether a mapping contains the weights of layers. one_layer: also accept just the tensors of a single layer."""
    names = [name for name, value in held.items() if isinstance(name, str) and isinstance(value, Tensor)]
    if any("." in name and held[name].ndim and _layer_like(name) and not _is_training_state(name) for name in names):
        return True
    alone = one_layer and len(names) == len(held) and set(names) <= LAYER
    return alone and any(held[name].ndim > 1 for name in names)


def _layer_like(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last in LAYER or "weight" in last or "bias" in last


def _is_training_state(name: str) -> bool:
    """Whether a tensor belongs to the training loop, such as a loss, a metric or a counter."""
    first, dot, _ = name.partition(".")
    words = _words(first)
    if not dot:
        return bool(words & RECORDS) and first not in LAYER
    last = re.split(r"_", first.lower())[-1]
    return bool(words & {"criterion", "criterions", "loss", "losses", "metric", "metrics"}) or (
        last in {"acc", "accuracy", "auroc", "f1"} and len(words) > 1
    )


def _by_role(whole: _Candidate) -> Iterator[_Candidate]:
    """The weights of one location, or of each model if their names have prefixes such as student and teacher."""
    names = _unwrapped(whole.weights)
    weight_names = [str(name) for name in names if "." in str(name) and not _is_training_state(str(name))]
    firsts = dict.fromkeys(name.partition(".")[0] for name in weight_names)
    models = [first for first in firsts if first in MODELS or _words(first) & ROLES]
    parts = [_Candidate(f"{whole.key}.{first}" if whole.key else first, _group(names, first)) for first in models]
    parts = [part for part in parts if _looks_like_weights(part.weights, one_layer=True)]
    if len(parts) < 2:
        yield whole
        return
    yield from parts
    if len(firsts) > len(models):  # some layers belong to none of these models, so the whole may be one model
        yield whole


def _plain_candidates(held: Any) -> list[_Candidate]:
    """Mappings that contain only tensors, with any names. Looks only at the top level and the usual keys."""
    places = {"": held}
    if isinstance(held, Mapping):
        places |= {name: held[name] for name in PLACES if name in held}
    return [
        _Candidate(key, inner)
        for key, inner in places.items()
        if isinstance(inner, Mapping)
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in inner.items())
        and any(
            value.is_floating_point() and value.ndim and not _is_training_state(name) for name, value in inner.items()
        )
    ]


def _whole_model(held: Any) -> tuple[str, str] | None:
    """The usual key of weights whose value is an object of an unknown class, and the name of that class."""
    if isinstance(held, Mapping):
        for place in PLACES:
            if isinstance(held.get(place), Inert):
                return place, full_name(type(held[place]))
    return None


def _words(name: str) -> set[str]:
    return set(re.split(r"[_\-\s]+", name.lower()))


def _group(names: Mapping[Any, Any], first: str) -> dict[str, Any]:
    """The entries whose names begin with `first` and a dot, without this prefix."""
    prefix = f"{first}."
    return {
        name.removeprefix(prefix): value
        for name, value in names.items()
        if isinstance(name, str) and name.startswith(prefix)
    }


def _unwrapped(names: Mapping[Any, Any]) -> dict[Any, Any]:
    return without_prefixes({name: value for name, value in names.items() if name not in COUNTERS}, WRAPPERS)[0]


def without_prefixes(names: Mapping[Any, Any], prefixes: tuple[str, ...] = PREFIXES) -> tuple[dict[Any, Any], str]:
    """The same entries without the prefixes that all their names share, and the removed prefixes."""
    plain, removed = dict(names), ""
    while prefix := next((p for p in prefixes if plain and all(_begins(name, p) for name in plain)), None):
        plain = {name.removeprefix(prefix): value for name, value in plain.items()}
        removed += prefix
    return plain, removed


def _begins(name: Any, prefix: str) -> bool:
    return isinstance(name, str) and name.startswith(prefix) and name != prefix


def _has_tensors(held: Any) -> bool:
    return isinstance(held, Mapping) and any(isinstance(value, Tensor) for value in held.values())


def _contents(held: Any) -> str:
    if isinstance(held, Mapping):
        return f"it contains {', '.join(str(name)[:40] for name in list(held)[:8]) or 'nothing'}"
    return f"it contains a {type(held).__name__}"


def is_not_weight(name: str) -> bool:
    """Whether a tensor of this name is not a weight of the model, but a loss, a metric or a counter."""
    return name in COUNTERS or _is_training_state(name)
