"""Weights from a safetensors file into a model, with mismatches explained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from limbeck.runs.errors import LimbeckError

PREFIXES = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before every name


def load_weights(model: nn.Module, path: str | Path, *, new_head: bool = False) -> tuple[str, ...]:
    """Fill `model` from a safetensors file; says which tensors keep their fresh start (none, or the head's).

    Names may carry `module.` or `_orig_mod.`, and may lack the name of the only child of an adapter (a file
    saved by timm itself fits `timm:…`). Numbers are converted to the model's own precision.

    new_head: a head that differs only in its number of classes keeps its fresh start.

    Raises LimbeckError, with the model unchanged, for a file that cannot be read or does not fit.
    """
    path = Path(path)
    stored = _named_as_in(model, read_tensors(path))
    own = model.state_dict()
    missing = [name for name in own if name not in stored and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in stored if name not in own and not name.endswith("num_batches_tracked")]
    shapes = [name for name in own if name in stored and own[name].shape != stored[name].shape]
    if shapes and not missing and not unexpected:
        head = _head(own, stored, shapes)
        if head is not None:
            asked, found = own[head].shape[0], stored[head].shape[0]
            if not new_head:
                raise LimbeckError(
                    f"{path}: its head ({head}) answers for {found} classes, the model is asked for {asked}"
                )
            kept = {name: tensor for name, tensor in stored.items() if name not in shapes}
            model.load_state_dict(kept, strict=False)
            return tuple(shapes)
    if missing or unexpected or shapes:
        raise LimbeckError(f"{path}: does not fit the model: {_explain(own, stored, missing, unexpected, shapes)}")
    model.load_state_dict(stored, strict=False)  # a file without counts of batches leaves them as they are
    return ()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file, on the CPU. Raises LimbeckError where it is not one."""
    if path.is_dir():
        raise LimbeckError(f"{path}: is a folder, not a safetensors file")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError:
        raise LimbeckError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise LimbeckError(
            f"{path}: not a readable safetensors file ({' '.join(str(error).split())[:120]}); "
            "`limbeck import` turns a .pth file into one"
        ) from None


def without_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors without the wrappers' prefixes that all their names share."""
    names = dict(tensors)
    while prefix := next((p for p in PREFIXES if names and all(name.startswith(p) for name in names)), None):
        names = {name.removeprefix(prefix): tensor for name, tensor in names.items()}
    return names


def _named_as_in(model: nn.Module, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    plain = without_prefixes(stored)
    children = [name for name, _ in model.named_children()]
    own = set(model.state_dict())
    if len(children) == 1 and not own & set(plain):
        inside = {f"{children[0]}.{name}": tensor for name, tensor in plain.items()}
        if own & set(inside):
            return inside
    return plain


def _head(own: Mapping[str, Tensor], stored: Mapping[str, Tensor], shapes: list[str]) -> str | None:
    """The weight of the last layer, where only its number of classes differs."""
    module = shapes[0].rpartition(".")[0]
    last = next((name for name in reversed(list(own)) if name.endswith(".weight") or name == "weight"), "")
    same_layer = all(name.rpartition(".")[0] == module for name in shapes) and last.rpartition(".")[0] == module
    same_inputs = all(own[name].shape[1:] == stored[name].shape[1:] for name in shapes)
    return shapes[0] if same_layer and same_inputs else None


def _explain(
    own: Mapping[str, Tensor],
    stored: Mapping[str, Tensor],
    missing: list[str],
    unexpected: list[str],
    shapes: list[str],
) -> str:
    differing = [f"{name} {_shape(stored[name])} instead of {_shape(own[name])}" for name in shapes]
    said = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", differing))
        if names
    ]
    return "; ".join(said)


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "scalar"
