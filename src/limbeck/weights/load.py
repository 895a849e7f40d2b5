"""Load weights from a safetensors file into a model, and explain mismatches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from limbeck.errors import LimbeckError

from .parameter_names import match_names

COUNTER = "num_batches_tracked"  # optional in a file
AVERAGED = "n_averaged"  # stored by torch's AveragedModel; not part of the model


@dataclass(frozen=True)
class Kind:
    """The shape of a tensor, and whether it is floating-point, as the file header says."""

    shape: tuple[int, ...]
    floating: bool


@dataclass(frozen=True)
class Fit:
    """How a file matches a model.

    names: from names in the file to names in the model.
    problem: what does not match, or None.
    new_head: tensors of a head that differs only in its number of classes.
    classes: number of classes of the head in the file.
    """

    names: Mapping[str, str]
    problem: str | None
    new_head: tuple[str, ...] = ()
    classes: int | None = None


def load_weights(model: nn.Module, path: str | Path, *, new_head: bool = False) -> tuple[str, ...]:
    """Load a safetensors file into `model`. Returns the tensors that keep their initial values (none, or the head's).

    Names may have the prefixes of wrappers (`module.`, `model.`, …), may lack the prefix of an adapter (a file saved by
    timm itself fits `timm:…`), and may be those of public checkpoints (see `parameter_names`). Values are converted to
    the precision of the model.

    new_head: a head that differs only in its number of classes keeps its initial values.

    Raises LimbeckError for a file that cannot be read or does not match, and leaves the model unchanged.
    """
    path = Path(path)
    fit = _fit(model, path, new_head)
    if fit.problem:
        raise LimbeckError(f"{path}: {fit.problem}")
    stored = read_tensors(path)
    loaded = {ours: stored[name] for name, ours in fit.names.items() if ours not in fit.new_head}
    model.load_state_dict(loaded, strict=False)  # `num_batches_tracked` may be missing
    return fit.new_head


def mismatch(model: nn.Module, path: str | Path, *, new_head: bool = False) -> str | None:
    """Why `load_weights` would reject a file for `model`, or None if it matches. Reads only the header of the file.

    Raises LimbeckError for a file that cannot be read.
    """
    return _fit(model, Path(path), new_head).problem


def classes_of_head(model: nn.Module, path: str | Path) -> int | None:
    """The number of classes in a matching file, if it differs from the model's. None if it is equal or nothing matches.

    Raises LimbeckError for a file that cannot be read.
    """
    return _fit(model, Path(path), new_head=True).classes


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU. Raises LimbeckError for any other file."""
    return _read(path, lambda file, name: file.get_tensor(name))


def _read(path: Path, get: Any) -> dict[str, Any]:
    if path.is_dir():
        raise LimbeckError(f"{path}: is a folder, not a safetensors file")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: get(file, name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError:
        raise LimbeckError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise LimbeckError(
            f"{path}: not a readable safetensors file ({' '.join(str(error).split())[:120]}); "
            "convert a .pth file with `limbeck import`"
        ) from None


def _kind(file: Any, name: str) -> Kind:
    header = file.get_slice(name)
    return Kind(tuple(header.get_shape()), header.get_dtype().startswith(("F", "BF")))


def _fit(model: nn.Module, path: Path, new_head: bool) -> Fit:
    found = {name: kind for name, kind in _read(path, _kind).items() if name != AVERAGED}
    own = {name: Kind(tuple(value.shape), value.is_floating_point()) for name, value in model.state_dict().items()}
    names = match_names(found, own)
    stored = {names[name]: kind for name, kind in found.items()}
    missing = [name for name in own if name not in stored and not name.endswith(COUNTER)]
    unexpected = [name for name in stored if name not in own and not name.endswith(COUNTER)]
    shapes = [name for name in own if name in stored and own[name].shape != stored[name].shape]
    numbers = [name for name in own if name in stored and own[name].floating and not stored[name].floating]
    if not (missing or unexpected or shapes or numbers):
        return Fit(names, None)
    if shapes and not (missing or unexpected or numbers):
        head = _head(own, stored, shapes)
        if head is not None:
            asked, classes = own[head].shape[0], stored[head].shape[0]
            if new_head:
                return Fit(names, None, tuple(shapes), classes)
            return Fit(names, f"its head ({head}) has {classes} classes, but the model needs {asked}")
    if new_head:  # another number of classes is allowed, so the problem is elsewhere
        own_head = [name for name in shapes if name.rpartition(".")[0] == _last_layer(own)]
        if own_head and _head(own, stored, own_head):
            shapes = [name for name in shapes if name not in own_head]
    return Fit(names, f"does not match the model: {_explain(own, stored, missing, unexpected, shapes, numbers)}")


def _head(own: Mapping[str, Kind], stored: Mapping[str, Kind], shapes: list[str]) -> str | None:
    """The weight of the last layer, if only its number of classes differs."""
    module = _last_layer(own)
    same_layer = all(name.rpartition(".")[0] == module for name in shapes)
    same_inputs = all(own[name].shape[1:] == stored[name].shape[1:] for name in shapes)
    return shapes[0] if same_layer and same_inputs else None


def _last_layer(own: Mapping[str, Kind]) -> str:
    last = next((name for name in reversed(list(own)) if name.endswith(".weight") or name == "weight"), "")
    return last.rpartition(".")[0]


def _explain(
    own: Mapping[str, Kind],
    stored: Mapping[str, Kind],
    missing: list[str],
    unexpected: list[str],
    shapes: list[str],
    numbers: list[str],
) -> str:
    differing = [f"{name} {_shape(stored[name])} instead of {_shape(own[name])}" for name in shapes]
    said = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for what, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("with another shape", differing),
            ("not floating-point", numbers),
        )
        if names
    ]
    return "; ".join(said)


def _shape(kind: Kind) -> str:
    return "×".join(map(str, kind.shape)) or "scalar"
