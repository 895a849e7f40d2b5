"""Which parameters share a learning rate and weight decay."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from torch import nn

from limbeck.errors import LimbeckError, nearest
from limbeck.recipes.optimization import Muon, Optimizer

NamedParameters = Sequence[tuple[str, nn.Parameter]]


class ParameterGroup(NamedTuple):
    """Parameters with one learning rate (`lr_scale` times the optimizer's) and with or without weight decay."""

    parameters: list[nn.Parameter]
    lr_scale: float = 1.0
    decays: bool = True


def parameter_groups(
    options: Optimizer, of_model: NamedParameters, others: NamedParameters = (), no_weight_decay: Collection[str] = ()
) -> list[ParameterGroup]:
    """Groups in the order of their first parameter; a single group with default options.

    of_model: trainable parameters in the order of the model. others: those of losses, with the full learning rate.
    no_weight_decay: names from the model's own `no_weight_decay()`; used only if norms and biases have no weight decay.

    Raises LimbeckError for a pattern that matches no parameter of the model.
    """
    for pattern in options.no_weight_decay:
        if not any(fnmatchcase(name, pattern) for name, _ in of_model):
            names = [name for name, _ in of_model]
            hint = "".join(f"; did you mean {name!r}?" for name in nearest(pattern, names))
            known = f"; its parameters are {names[0]}, …, {names[-1]}" if names and not hint else hint
            raise LimbeckError(f"optimizer.no_weight_decay: no parameter of the model matches {pattern!r}{known}")
    base = 1.0 if options.layer_decay is None else options.layer_decay
    layers = layer_numbers([(name, parameter.dim()) for name, parameter in of_model])
    scales = [base ** (layers[-1] - layer) for layer in layers] + [1.0] * len(others)
    only_matrices = not isinstance(options, Muon) and not options.decay_norms_and_biases
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for (name, parameter), scale in zip([*of_model, *others], scales, strict=True):
        left_out = any(fnmatchcase(name, pattern) for pattern in options.no_weight_decay)
        left_out |= only_matrices and (parameter.dim() <= 1 or name in no_weight_decay)
        groups.setdefault((scale, not left_out or not options.weight_decay), []).append(parameter)
    return [ParameterGroup(parameters, *key) for key, parameters in groups.items()]


def layer_numbers(parameters: Iterable[tuple[str, int]]) -> list[int]:
    """The layer of each parameter, counted from the input. parameters: names and numbers of dimensions, in order.

    Leading words common to all names are ignored. A layer is a run of parameters whose names agree up to and including
    their first number (`layer2.0`, `blocks.3`), or in their first word if they have no number (`head`). A layer without
    a matrix, such as a norm, belongs to the layer before it.
    """
    names, dims = zip(*parameters, strict=True) if (parameters := list(parameters)) else ((), ())
    paths = [name.split(".") for name in names]
    while paths and all(len(path) > 2 and path[0] == paths[0][0] and not path[0].isdigit() for path in paths):
        paths = [path[1:] for path in paths]
    keys = [_layer_name(path) for path in paths]
    numbers: list[int] = []
    layer, has_matrix = 0, False
    for index, (key, dim) in enumerate(zip(keys, dims, strict=True)):
        if index and key != keys[index - 1] and has_matrix and _run_has_matrix(keys, dims, index):
            layer, has_matrix = layer + 1, False
        has_matrix |= dim > 1
        numbers.append(layer)
    return numbers


def _layer_name(path: Sequence[str]) -> tuple[str, ...]:
    first_number = next((place for place, word in enumerate(path) if word.isdigit()), 0)
    return tuple(path[: first_number + 1]) if len(path) > 1 else ()


def _run_has_matrix(keys: Sequence[tuple[str, ...]], dims: Sequence[int], start: int) -> bool:
    for key, dim in zip(keys[start:], dims[start:], strict=True):
        if key != keys[start]:
            return False
        if dim > 1:
            return True
    return False


def names_without_weight_decay(model: nn.Module) -> set[str]:
    """The parameters named by `no_weight_decay()` of a model or its submodules, as in timm's models."""
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if hasattr(module, "no_weight_decay")
        for name in module.no_weight_decay()  # pyright: ignore[reportCallIssue, reportGeneralTypeIssues]
    }
