"""Convert one pickled checkpoint to safetensors, in a separate process that may crash safely.

This is the only module of the package that calls `torch.load`. From the package it imports only the search for weights.
`weights_only` is not trusted alone: before reading, the process limits its own memory, time, open files and file size.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from .checkpoint_layout import COUNTERS, PLACES, Choice, RejectedError, at, choose, is_not_weight, without_prefixes
from .inert_classes import CONTAINERS, MAX_UNKNOWN, Inert, full_name, runs_code, stand_in

WEIGHTS = (".pth", ".pt", ".bin", ".ckpt", ".tar", ".safetensors")
__all__ = ["PLACES", "RejectedError", "main", "plain_tensors", "read", "state_dict"]


def limit_resources(memory: int, seconds: int, file_size: int) -> None:
    """Limit this process. memory: further bytes of memory. seconds: CPU time. file_size: largest file in bytes."""
    try:
        import resource
    except ImportError:  # Windows has no such limits; the parent's timeout and weights_only remain
        return
    limits = [
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, file_size),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_CORE, 0),
    ]
    statm = Path("/proc/self/statm")
    if statm.exists():  # without it, the memory that torch itself maps is unknown
        limits.append((resource.RLIMIT_AS, int(statm.read_text().split()[0]) * resource.getpagesize() + memory))
    for kind, value in limits:
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(kind, (value, value))


def read(source: str, dropped: list[str] | None = None) -> Any:
    """The contents of a file: tensors, plain values, and `Inert` objects in place of objects of unknown classes.

    dropped: receives the names of these classes.
    """
    stand_ins: dict[str, type] = {}
    for name in _unknown(source):
        _admit(name, stand_ins)
    for _ in range(2 * MAX_UNKNOWN):
        try:
            with torch.serialization.safe_globals([(stood_in, name) for name, stood_in in stand_ins.items()]):
                held = torch.load(source, map_location="cpu", weights_only=True)
            break
        except MemoryError:
            raise
        except Exception as error:  # a damaged file can raise anything
            text = " ".join(str(error).split())
            if not _add_stand_in(text, stand_ins):
                raise RejectedError(_reason(text, source)) from None
    else:
        raise RejectedError("it refers to too many unknown classes; save `model.state_dict()` instead")
    if isinstance(held, Inert):
        raise RejectedError(
            f"it is a whole pickled object ({full_name(type(held))}); save `model.state_dict()` instead"
        )
    if dropped is not None:
        dropped += stand_ins
    return held


def _unknown(source: str) -> list[str]:
    """The classes in a checkpoint that torch does not know, found without reading tensors; [] if that fails."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(source))
    except MemoryError:
        raise
    except Exception:  # a damaged file, or the legacy format, whose classes become known only while reading
        return []


def _admit(name: str, stand_ins: dict[str, type]) -> None:
    """Replace an unknown class by a stand-in. Raises RejectedError if it may run code, or if there are too many."""
    if not name.isprintable():
        raise RejectedError("it refers to a class with an invalid name; the file may be damaged")
    if runs_code(name):
        raise RejectedError(_asks_to_run(name))
    if len(stand_ins) >= MAX_UNKNOWN:
        raise RejectedError(f"it refers to more than {MAX_UNKNOWN} unknown classes; save `model.state_dict()` instead")
    stand_ins[name] = stand_in(name)


def _add_stand_in(text: str, stand_ins: dict[str, type]) -> bool:
    """Add or change a stand-in for the class that torch's error message names. Returns whether that was possible."""
    if found := re.search(r"Unsupported global: GLOBAL (\S+) was not an allowed", text):
        name = found.group(1) if "." in found.group(1) else f"builtins.{found.group(1)}"
        if name in stand_ins:
            return False
        _admit(name, stand_ins)
        return True
    found = re.search(r"Can only (\w+) .*but got <class '([^']+)'>", text)
    if found and found.group(1) in CONTAINERS and found.group(2) in stand_ins:
        stand_ins[found.group(2)] = stand_in(found.group(2), CONTAINERS[found.group(1)])
        return True
    return False


def _asks_to_run(wanted: str) -> str:
    return f"it asks to run {wanted!r}, which weights never need; save `model.state_dict()` instead"


def _reason(text: str, source: str = "") -> str:
    if found := re.search(r"GLOBAL (\S+)", text) or re.search(r"[Uu]nsupported (?:global|class):? (\S+)", text):
        return _asks_to_run(found.group(1))
    if "TorchScript" in text:
        return "it is a TorchScript program, not a checkpoint; save `model.state_dict()` of the original model"
    if any(word in text for word in ("archive", "inline_container", "hasRecord")):
        return _archive(source)
    if "memory" in text:
        return "it needs more memory than a file of its size may use"
    if found := re.search(r"Unsupported operand \d+", text):
        return f"it is a pickle that torch did not write ({found.group(0)}); save it with `torch.save`"
    # torch's message goes on to recommend `weights_only=False`, so only the cause is passed on
    cause = text.rpartition("trusted source.")[2].rpartition("WeightsUnpickler error:")[2]
    cause = cause.partition("Check the documentation")[0].strip()
    return f"it cannot be read as weights: {cause[:120] or 'it ends early'}"


def _archive(source: str) -> str:
    """What kind of archive a file is if torch did not write it."""
    try:
        with zipfile.ZipFile(source) as archive:
            names = [entry.filename for entry in archive.infolist()[:1000]]
    except Exception:  # zipfile raises many kinds of errors
        return "the archive is damaged; the download or copy may be incomplete"
    inside = [name for name in names if name.lower().endswith(WEIGHTS)]
    if inside:
        return f"it is an archive that contains {inside[0][:80]}; extract and import that file"
    if any(name.endswith((".npy", ".npz")) for name in names):
        return "it is an archive of NumPy arrays (.npz), not a PyTorch checkpoint"
    if any(name.endswith((".h5", ".keras")) for name in names):
        return "it is a Keras archive, not a PyTorch checkpoint"
    return "the archive is damaged or not written by torch"


def state_dict(held: Any, key: str | None) -> Mapping[Any, Any]:
    """The mapping from names to tensors in a checkpoint, at `key` or at the only possible location."""
    return at(held, choose(held).key if key is None else key)


def plain_tensors(weights: Mapping[Any, Any], max_bytes: int) -> tuple[dict[str, Tensor], list[str]]:
    """Contiguous copies of the plain tensors without wrapper prefixes in their names, and the names left out."""
    tensors, left_out, _ = _split(weights, max_bytes)
    return tensors, left_out


def _split(weights: Mapping[Any, Any], max_bytes: int) -> tuple[dict[str, Tensor], list[str], str]:
    """Like `plain_tensors`, and the removed prefixes."""
    tensors: dict[str, Tensor] = {}
    left_out: list[str] = []
    for name, value in weights.items():
        if isinstance(value, Tensor) and (value.is_quantized or value.is_meta):
            kind = "is quantised" if value.is_quantized else "has no values (meta device)"
            raise RejectedError(f"its {name!r} {kind}; save the weights as floating-point numbers")
        if isinstance(name, str) and _plain(value) and not is_not_weight(name):
            tensors[name] = value.detach()
        elif name not in COUNTERS:
            left_out.append(str(name))
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > max_bytes:
        raise RejectedError("its tensors are far larger than the file")  # such as an expanded scalar
    if not tensors:
        raise RejectedError(f"it contains no plain tensors, only {', '.join(left_out[:8])}")
    tensors, prefix = without_prefixes(tensors)
    copies = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    return copies, left_out, prefix


def _plain(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout is torch.strided and value.dtype is not torch.complex128


def main(source: str, target: str, limits: str) -> dict[str, Any]:
    """Convert `source` to `target`. Returns the answer to the parent process, which is printed as JSON."""
    asked = json.loads(limits)
    torch.set_num_threads(1)
    limit_resources(asked["memory"], asked["seconds"], asked["file_size"])
    dropped: list[str] = []
    try:
        held = read(source, dropped)
        choice = choose(held) if asked["key"] is None else Choice(asked["key"])
        tensors, left_out, prefix = _split(at(held, choice.key), asked["file_size"])
        save_file(tensors, target, metadata={"format": "pt"})
    except RejectedError as refusal:
        return {"refused": str(refusal)}
    except (MemoryError, RuntimeError) as error:
        return {"refused": _reason("memory" if isinstance(error, MemoryError) else str(error))}
    except OSError as error:
        return {"refused": f"the result cannot be written: {error.strerror or error}"}
    except (KeyError, ValueError, SafetensorError) as error:
        return {"refused": f"its tensors cannot be written as safetensors: {error}"}
    return {"key": choice.key, "others": choice.others, "prefix": prefix, "left_out": left_out, "dropped": dropped}
