"""Turns one pickled checkpoint into safetensors: run alone in a process that may break.

This is the only place of the package that calls `torch.load`. Of the package it imports only what finds the weights in
what was read. `weights_only` is not taken for a wall: the process also gives up memory, time, open files and file size
before it reads.
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

from .checkpoint_layout import COUNTERS, PLACES, Choice, UnfitError, at, beside_weights, choose, without_prefixes
from .inert_classes import LIKE, MOST_UNKNOWN, Inert, full_name, runs_code, stand_in

WEIGHTS = (".pth", ".pt", ".bin", ".ckpt", ".tar", ".safetensors")
__all__ = ["PLACES", "UnfitError", "main", "plain_tensors", "read", "state_dict"]


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


def read(source: str, dropped: list[str] | None = None) -> Any:
    """What the file holds: tensors, plain values, and `Inert` objects in place of what is of no known class.

    dropped: takes the names of those classes.
    """
    stand_ins: dict[str, type] = {}
    for name in _unknown(source):
        _admit(name, stand_ins)
    for _ in range(2 * MOST_UNKNOWN):
        try:
            with torch.serialization.safe_globals([(stood_in, name) for name, stood_in in stand_ins.items()]):
                held = torch.load(source, map_location="cpu", weights_only=True)
            break
        except MemoryError:
            raise
        except Exception as error:  # a broken file breaks the reader in any way
            text = " ".join(str(error).split())
            if not _learn(text, stand_ins):
                raise UnfitError(_reason(text, source)) from None
    else:
        raise UnfitError("it names too many unknown classes; save `model.state_dict()` instead")
    if isinstance(held, Inert):
        raise UnfitError(f"it is a whole pickled object ({full_name(type(held))}); save `model.state_dict()` instead")
    if dropped is not None:
        dropped += stand_ins
    return held


def _unknown(source: str) -> list[str]:
    """The classes in a checkpoint that torch does not know, found without reading a tensor; [] where that fails."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(source))
    except MemoryError:
        raise
    except Exception:  # the older format, which names them one by one as it is read; or a broken file
        return []


def _admit(name: str, stand_ins: dict[str, type]) -> None:
    """Let an unknown class be dropped. Raises UnfitError where it runs code, or there are too many."""
    if runs_code(name):
        raise UnfitError(_asks_to_run(name))
    if len(stand_ins) >= MOST_UNKNOWN:
        raise UnfitError(f"it names more than {MOST_UNKNOWN} unknown classes; save `model.state_dict()` instead")
    stand_ins[name] = stand_in(name)


def _learn(text: str, stand_ins: dict[str, type]) -> bool:
    """Whether torch's refusal names a class that may be dropped, or dropped in another form; then it is."""
    if found := re.search(r"Unsupported global: GLOBAL (\S+) was not an allowed", text):
        name = found.group(1) if "." in found.group(1) else f"builtins.{found.group(1)}"
        if name in stand_ins:
            return False
        _admit(name, stand_ins)
        return True
    found = re.search(r"Can only (\w+) .*but got <class '([^']+)'>", text)
    if found and found.group(1) in LIKE and found.group(2) in stand_ins:
        stand_ins[found.group(2)] = stand_in(found.group(2), LIKE[found.group(1)])
        return True
    return False


def _asks_to_run(wanted: str) -> str:
    return f"it asks to run {wanted!r}, which weights alone never need; save `model.state_dict()` instead"


def _reason(text: str, source: str = "") -> str:
    if found := re.search(r"GLOBAL (\S+)", text) or re.search(r"[Uu]nsupported (?:global|class):? (\S+)", text):
        return _asks_to_run(found.group(1))
    if "TorchScript" in text:
        return "it is a TorchScript program, not a checkpoint; save `model.state_dict()` of the model it was made from"
    if any(word in text for word in ("archive", "inline_container", "hasRecord")):
        return _archive(source)
    if "memory" in text:
        return "it unpacks to more memory than a file of its size may"
    if found := re.search(r"Unsupported operand \d+", text):
        return f"it is a pickle of another kind than torch's ({found.group(0)}); save it with `torch.save`"
    # torch's own text goes on to recommend `weights_only=False`: only the cause is passed on
    cause = text.rpartition("trusted source.")[2].rpartition("WeightsUnpickler error:")[2]
    cause = cause.partition("Check the documentation")[0].strip()
    return f"it cannot be read as weights: {cause[:120] or 'it breaks off'}"


def _archive(source: str) -> str:
    """What an archive is that torch did not write."""
    try:
        with zipfile.ZipFile(source) as archive:
            names = [entry.filename for entry in archive.infolist()[:1000]]
    except Exception:  # zipfile breaks in many ways
        return "the archive is damaged: it was not downloaded or copied as a whole"
    inside = [name for name in names if name.lower().endswith(WEIGHTS)]
    if inside:
        return f"it is an archive that holds {inside[0][:80]}: unpack it and import that"
    if any(name.endswith((".npy", ".npz")) for name in names):
        return "it is an archive of NumPy arrays (.npz), not a checkpoint of torch"
    if any(name.endswith((".h5", ".keras")) for name in names):
        return "it is an archive of Keras, not a checkpoint of torch"
    return "the archive is damaged or not one of torch's"


def state_dict(held: Any, key: str | None) -> Mapping[Any, Any]:
    """The mapping from names to tensors within a checkpoint: at `key`, or where it is surely meant."""
    return at(held, choose(held).key if key is None else key)


def plain_tensors(weights: Mapping[Any, Any], most_bytes: int) -> tuple[dict[str, Tensor], list[str]]:
    """Contiguous copies under names without wrappers' prefixes, and the names of what is no plain tensor."""
    tensors, left_out, _ = _split(weights, most_bytes)
    return tensors, left_out


def _split(weights: Mapping[Any, Any], most_bytes: int) -> tuple[dict[str, Tensor], list[str], str]:
    """As `plain_tensors`, with the prefixes taken off."""
    tensors: dict[str, Tensor] = {}
    left_out: list[str] = []
    for name, value in weights.items():
        if isinstance(value, Tensor) and (value.is_quantized or value.is_meta):
            kind = "is quantised" if value.is_quantized else "has a shape but no numbers (meta device)"
            raise UnfitError(f"its {name!r} {kind}; save the weights as floating-point numbers")
        if isinstance(name, str) and _plain(value) and not beside_weights(name):
            tensors[name] = value.detach()
        elif name not in COUNTERS:
            left_out.append(str(name))
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > most_bytes:
        raise UnfitError("its tensors are far larger than the file")  # one number expanded to fill the memory
    if not tensors:
        raise UnfitError(f"no plain tensors in it; it holds {', '.join(left_out[:8])}")
    tensors, prefix = without_prefixes(tensors)
    copies = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    return copies, left_out, prefix


def _plain(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout is torch.strided and value.dtype is not torch.complex128


def main(source: str, target: str, limits: str) -> dict[str, Any]:
    """Read `source`, write `target`; what is returned, as JSON, is the only word back."""
    asked = json.loads(limits)
    torch.set_num_threads(1)
    give_up_resources(asked["memory"], asked["seconds"], asked["file_size"])
    dropped: list[str] = []
    try:
        held = read(source, dropped)
        choice = choose(held) if asked["key"] is None else Choice(asked["key"])
        tensors, left_out, prefix = _split(at(held, choice.key), asked["file_size"])
        save_file(tensors, target, metadata={"format": "pt"})
    except UnfitError as refusal:
        return {"refused": str(refusal)}
    except (MemoryError, RuntimeError) as error:
        return {"refused": _reason("memory" if isinstance(error, MemoryError) else str(error))}
    except OSError as error:
        return {"refused": f"the result cannot be written: {error.strerror or error}"}
    except (KeyError, ValueError, SafetensorError) as error:
        return {"refused": f"its tensors cannot be written as safetensors: {error}"}
    return {"key": choice.key, "others": choice.others, "prefix": prefix, "left_out": left_out, "dropped": dropped}
