"""Turns one pickled checkpoint into safetensors: run alone in a process that may break.

This is the only place of the package that calls `torch.load`. It is a script (`python -I FILE SOURCE TARGET
LIMITS`) and imports nothing of the package, so that the process holds nothing but torch. `weights_only` is
not taken for a wall: the process also gives up memory, time, open files and file size before it reads.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

PLACES = ("state_dict", "model_state_dict", "model", "net", "network", "state_dict_ema", "model_ema", "ema")
PREFIXES = ("module.", "_orig_mod.")
COUNTERS = ("n_averaged",)  # what torch's own averages of weights store beside the weights


class UnfitError(Exception):
    """The file is refused; the text is the reason."""


def give_up_resources(memory: int, seconds: int, file_size: int) -> None:
    """Limit this process: bytes of memory beyond what it holds now, processor seconds, bytes of a file."""
    try:
        import resource
    except ImportError:  # Windows has no such limits: the parent's time limit and weights_only remain
        return
    limits = [
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, file_size),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_CORE, 0),
    ]
    statm = Path("/proc/self/statm")
    if statm.exists():  # elsewhere the space that torch itself maps is not known
        limits.append((resource.RLIMIT_AS, int(statm.read_text().split()[0]) * resource.getpagesize() + memory))
    for kind, value in limits:
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(kind, (value, value))


def read(source: str) -> Any:
    """What the file holds, tensors and plain values only."""
    try:
        return torch.load(source, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a broken file breaks the reader in any way
        raise UnfitError(_reason(" ".join(str(error).split()))) from None


def _reason(text: str) -> str:
    if found := re.search(r"GLOBAL (\S+)", text) or re.search(r"[Uu]nsupported (?:global|class):? (\S+)", text):
        wanted = found.group(1)
        return f"it asks to run {wanted!r}, which weights alone never need; save `model.state_dict()` instead"
    if "TorchScript" in text:
        return "it is a TorchScript program, not a checkpoint"
    if "zip archive" in text:
        return "the archive is damaged or not one of torch's"
    if "memory" in text:
        return "it unpacks to more memory than a file of its size may"
    # torch's own text goes on to recommend `weights_only=False`: only the cause is passed on
    cause = text.rpartition("trusted source.")[2].rpartition("WeightsUnpickler error:")[2]
    cause = cause.partition("Check the documentation")[0].strip()
    return f"it cannot be read as weights: {cause[:120] or 'it breaks off'}"


def state_dict(held: Any, key: str | None) -> Mapping[str, Any]:
    """The mapping from names to tensors within a checkpoint: at `key`, at the top, or in a usual place."""
    if key is not None:
        for part in key.split("."):
            if not isinstance(held, Mapping) or part not in held:
                raise UnfitError(f"it has no {key!r}; {_holds(held)}")
            held = held[part]
        if not _has_tensors(held):
            raise UnfitError(f"its {key!r} holds no tensors")
        return held
    if _has_tensors(held):
        return held
    if isinstance(held, Mapping):
        for place in PLACES:
            if _has_tensors(held.get(place)):
                return held[place]
    raise UnfitError(f"no weights found in it; {_holds(held)}: name the place with a key")


def _has_tensors(held: Any) -> bool:
    return isinstance(held, Mapping) and any(isinstance(value, Tensor) for value in held.values())


def _holds(held: Any) -> str:
    if isinstance(held, Mapping):
        return f"it holds {', '.join(str(name)[:40] for name in list(held)[:8]) or 'nothing'}"
    return f"it holds a {type(held).__name__}"


def plain_tensors(weights: Mapping[str, Any], most_bytes: int) -> tuple[dict[str, Tensor], list[str]]:
    """Contiguous copies under names without wrappers' prefixes, and the names of what is no plain tensor."""
    tensors: dict[str, Tensor] = {}
    left_out: list[str] = []
    for name, value in weights.items():
        if isinstance(value, Tensor) and value.layout is torch.strided and not value.is_quantized:
            if str(name) not in COUNTERS:
                tensors[str(name)] = value.detach()
        else:
            left_out.append(str(name))
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > most_bytes:
        raise UnfitError("its tensors are far larger than the file")  # one number expanded to fill the memory
    while prefix := next((p for p in PREFIXES if tensors and all(name.startswith(p) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}, left_out


def main(source: str, target: str, limits: str) -> dict[str, Any]:
    """Read `source`, write `target`; what is printed is the only word back."""
    asked = json.loads(limits)
    torch.set_num_threads(1)
    give_up_resources(asked["memory"], asked["seconds"], asked["file_size"])
    try:
        weights = state_dict(read(source), asked["key"])
        tensors, left_out = plain_tensors(weights, asked["file_size"])
        save_file(tensors, target, metadata={"format": "pt"})
    except UnfitError as refusal:
        return {"refused": str(refusal)}
    except (MemoryError, RuntimeError) as error:
        return {"refused": _reason("memory" if isinstance(error, MemoryError) else str(error))}
    except OSError as error:
        return {"refused": f"the result cannot be written: {error.strerror or error}"}
    return {"left_out": left_out}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:4])))
