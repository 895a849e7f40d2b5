"""The state of a learner as files: tensors in safetensors, everything else in JSON.

Tensors are written and read one at a time: saving a state and loading it takes little memory beside the state itself.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from limbeck.storage.atomic import Content, Digest, write_file

SAFETENSORS_TYPES = {
    torch.uint64: "U64", torch.int64: "I64", torch.float64: "F64", torch.complex64: "C64",
    torch.float32: "F32", torch.uint32: "U32", torch.int32: "I32",
    torch.bfloat16: "BF16", torch.float16: "F16", torch.uint16: "U16", torch.int16: "I16",
    torch.float8_e8m0fnu: "F8_E8M0", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
    torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""The names of data types in a safetensors file, in the order in which it holds them: widest first."""


def pack(name: str, state: object) -> dict[str, Content]:
    """A tree of dicts, lists, numbers, strings and tensors as two files, `name.safetensors` and `name.json`.

    Tensors are read when their file is written, so it must be written before they change.
    Raises TypeError for any other object in the tree, with its path.
    """
    tensors: dict[str, Tensor] = {}
    tree = _take_out(state, "", tensors)
    return {
        f"{name}.safetensors": functools.partial(safetensors_chunks, tensors),
        f"{name}.json": json.dumps(tree).encode(),
    }


def unpack(name: str, folder: Path) -> Any:
    """Read a tree that `pack` wrote to `folder`. Tensors are on the CPU, in their original memory format."""
    with safe_open(folder / f"{name}.safetensors", framework="pt") as file:
        return _put_back(json.loads((folder / f"{name}.json").read_bytes()), file.get_tensor)


def _take_out(node: object, path: str, tensors: dict[str, Tensor]) -> object:
    if isinstance(node, Tensor):
        while path in tensors:  # 1 and "1" are two keys of a dict but one path
            path += "'"
        if node.dtype not in SAFETENSORS_TYPES:
            raise TypeError(f"{path}: a tensor of {node.dtype} has no place in a checkpoint")
        tensors[path] = node
        # A fused optimizer reads weights and momenta in memory order, so both must keep the same memory format.
        last = node.dim() == 4 and not node.is_contiguous() and node.is_contiguous(memory_format=torch.channels_last)
        return {"tensor": path, "channels_last": last}
    if isinstance(node, Mapping):
        return {"items": [[key, _take_out(value, f"{path}/{key}", tensors)] for key, value in node.items()]}
    if isinstance(node, list | tuple):
        return {"list": [_take_out(value, f"{path}/{i}", tensors) for i, value in enumerate(node)]}
    if node is None or isinstance(node, bool | int | float | str):
        return node
    raise TypeError(f"{path}: a {type(node).__name__} has no place in a checkpoint")


def _put_back(node: Any, get_tensor: Callable[[str], Tensor]) -> Any:
    if not isinstance(node, dict):
        return node
    if "tensor" in node:
        layout = torch.channels_last if node["channels_last"] else torch.contiguous_format
        return get_tensor(node["tensor"]).clone(memory_format=layout)  # a copy, not a view of the mapped file
    if "items" in node:
        return {key: _put_back(value, get_tensor) for key, value in node["items"]}
    return [_put_back(value, get_tensor) for value in node["list"]]


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> Digest:
    """Write a safetensors file atomically, one tensor at a time. Raises WriteError."""
    return write_file(path, functools.partial(safetensors_chunks, tensors))


def safetensors_chunks(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The bytes of a safetensors file, one tensor at a time: byte for byte those of `safetensors.torch.save`.

    That function needs all tensors on the CPU and returns all bytes at once. Here tensors may also share memory (tied
    weights, overlapping slices); each is written in full.
    Format: https://huggingface.co/docs/safetensors (length of the header, header in JSON, data in C order).
    """
    widest_first = list(SAFETENSORS_TYPES)
    names = sorted(tensors, key=lambda name: (widest_first.index(tensors[name].dtype), name))
    header, end = {}, 0
    for name in names:
        tensor = tensors[name]
        start, end = end, end + tensor.nbytes
        header[name] = {
            "dtype": SAFETENSORS_TYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in names:
        yield tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
