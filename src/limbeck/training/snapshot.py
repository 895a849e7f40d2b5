"""The state of learners as bytes: tensors in safetensors, everything else in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import TensorSpec, serialize
from safetensors.torch import load
from torch import Tensor


def pack(name: str, state: object) -> dict[str, bytes]:
    """A nest of dicts, lists, numbers, strings and tensors as two files, `name.safetensors` and `name.json`."""
    tensors: dict[str, Tensor] = {}
    tree = _take_out(state, "", tensors)
    contiguous = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    return {
        f"{name}.safetensors": _serialized(_without_shared_memory(contiguous)),
        f"{name}.json": json.dumps(tree).encode(),
    }


def unpack(name: str, files: Mapping[str, bytes]) -> Any:
    """What `pack` was given. Tensors lie on the CPU, in the memory format they had."""
    tensors = load(files[f"{name}.safetensors"])
    return _put_back(json.loads(files[f"{name}.json"]), tensors)


def _take_out(node: object, path: str, tensors: dict[str, Tensor]) -> object:
    if isinstance(node, Tensor):
        while path in tensors:  # 1 and "1" are two keys of a dict but one path
            path += "'"
        tensors[path] = node
        # A fused optimizer walks weights and momenta in memory order: both must come back in the same one.
        last = node.dim() == 4 and not node.is_contiguous() and node.is_contiguous(memory_format=torch.channels_last)
        return {"tensor": path, "channels_last": last}
    if isinstance(node, Mapping):
        return {"items": [[key, _take_out(value, f"{path}/{key}", tensors)] for key, value in node.items()]}
    if isinstance(node, list | tuple):
        return {"list": [_take_out(value, f"{path}/{i}", tensors) for i, value in enumerate(node)]}
    if node is None or isinstance(node, bool | int | float | str):
        return node
    raise TypeError(f"{path}: a {type(node).__name__} has no place in a checkpoint")


def _put_back(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(node, dict):
        return node
    if "tensor" in node:
        tensor = tensors[node["tensor"]]
        return tensor.contiguous(memory_format=torch.channels_last) if node["channels_last"] else tensor
    if "items" in node:
        return {key: _put_back(value, tensors) for key, value in node["items"]}
    return [_put_back(value, tensors) for value in node["list"]]


def _serialized(tensors: Mapping[str, Tensor]) -> bytes:
    """What `safetensors.torch.save` gives, byte for byte, for contiguous tensors on the CPU.

    That one takes each address by way of ctypes and leaves a cycle of references a tensor behind. Python looks for such
    cycles ever more rarely the more it holds: in a long run that saves often they take megabytes.
    """
    specs = {
        key: TensorSpec(
            dtype=str(tensor.dtype).removeprefix("torch."),
            shape=tensor.shape,
            data_ptr=tensor.data_ptr(),
            data_len=tensor.nbytes,
        )
        for key, tensor in tensors.items()
    }
    return serialize(specs)


def _without_shared_memory(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """safetensors refuses tensors that share memory (tied weights, overlapping slices): the second becomes a copy."""
    seen: set[int] = set()
    own: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        own[key] = tensor.clone() if memory in seen else tensor
        seen.add(memory)
    return own
