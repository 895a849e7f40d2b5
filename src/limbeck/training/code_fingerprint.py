"""Hashes of what functions and the classes of models do.

The hash of a function covers its bytecode, its defaults, its closure, the globals that it names, and the same for every
function that it reaches in this way. Tensors, arrays and numbers count by value, objects by class and attributes, and
functions of installed libraries and of Limbeck by name. Comments, docstrings and line numbers do not count. Not
covered are files, state outside an object's attributes, and whatever is reached through another module of the caller
(`mine.helper(x)`). Another version of Python gives another hash.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import re
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .teacher import fingerprint

INSTALLED = tuple(
    str(Path(place).resolve())
    for place in (
        *(sysconfig.get_paths()[kind] for kind in ("stdlib", "purelib", "platlib")),
        Path(__file__).parents[1],
    )
)
EARLIER_MODULES = {
    "limbeck.api.models": "limbeck.experiment.given_models",
    "limbeck.building.saved_model": "limbeck.experiment.saved_model",
    "limbeck.building.teachers": "limbeck.experiment.assemble",
}
"""The modules in which Limbeck's own classes and functions were when their names first entered fingerprints. With these
names, a run that began in an earlier layout continues."""
Seen = dict[int, tuple[int, Any]]
"""By id: a number, and the value itself, which keeps its id from being reused."""


def of_function(function: Callable[..., Any]) -> str:
    """SHA-256 of what a callable does (see above for the limits), including the `state` function of a loss."""
    seen: Seen = {}
    told = _told(function, seen)
    state = getattr(function, "state", None) if isinstance(function, FunctionType) else None
    return _hash(told if state is None else f"{told} state {_told(state, seen)}")


def of_structure(model: nn.Module) -> str:
    """SHA-256 of a model without its weights: layers, options, names, types, shapes, and the code of its classes."""
    tensors = [(name, str(t.dtype), tuple(t.shape)) for name, t in model.state_dict().items() if isinstance(t, Tensor)]
    kinds = {_full_name(kind): kind for kind in map(type, model.modules())}
    seen: Seen = {}
    code = [f"{name} {_told(kinds[name], seen)}" for name in sorted(kinds)]
    functions = [
        _told(m.function, seen) for m in model.modules() if isinstance(getattr(m, "function", None), FunctionType)
    ]
    printed = re.sub(r" at 0x[0-9a-f]+", "", repr(model))
    scripted = str(model.inlined_graph) if isinstance(model, torch.jit.ScriptModule) else ""
    return _hash(repr([printed, tensors, code, functions, re.sub(r" # .*", "", scripted)]))


def shapes(model: nn.Module) -> str:
    """SHA-256 of a model's class name and the names, types and shapes of its tensors, without any code."""
    tensors = [(name, str(t.dtype), tuple(t.shape)) for name, t in model.state_dict().items() if isinstance(t, Tensor)]
    return _hash(repr([type(model).__qualname__, tensors]))


def _full_name(value: type | FunctionType) -> str:
    return f"{EARLIER_MODULES.get(value.__module__, value.__module__)}.{value.__qualname__}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _told(value: Any, seen: Seen) -> str:
    """A value as text, equal for values that do the same. A value that was met before is given by its number."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | torch.dtype | torch.device):
        return repr(value)
    if not isinstance(value, tuple | frozenset | CodeType):  # those are shared or not as the compiler pleases
        if id(value) in seen:
            return f"again {seen[id(value)][0]}"
        seen[id(value)] = len(seen), value
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, Tensor):
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return f"tensor {value.dtype} {tuple(value.shape)} {hashlib.sha256(raw.tobytes()).hexdigest()}"
    if isinstance(value, np.ndarray):
        return f"array {value.dtype} {value.shape} {hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    if isinstance(value, Mapping):
        return f"{kind} {{{_all((_told([key, item], seen) for key, item in value.items()))}}}"
    if isinstance(value, list | tuple):
        return f"{kind} [{_all(_told(item, seen) for item in value)}]"
    if isinstance(value, set | frozenset):
        return f"{kind} [{_all(sorted(_told(item, seen) for item in value))}]"
    if isinstance(value, CodeType):
        return _code(value, None, seen)
    if isinstance(value, ModuleType):
        return f"module {value.__name__}"
    if isinstance(value, type):
        return _class(value, seen)
    if isinstance(value, FunctionType):
        return _function(value, seen)
    if isinstance(value, MethodType):
        return f"method {_told(value.__func__, seen)} of {_told(value.__self__, seen)}"
    if isinstance(value, functools.partial):
        return f"partial {_told([value.func, value.args, value.keywords], seen)}"
    if isinstance(value, BuiltinFunctionType):
        return f"built in {value.__module__}.{value.__qualname__}"
    if isinstance(value, nn.Module):
        return f"{_told(type(value), seen)} {of_structure(value)} {fingerprint(value)}"
    return f"{_told(type(value), seen)} {_told(getattr(value, '__dict__', {}), seen)}"


def _all(told: Iterable[str]) -> str:
    return ", ".join(told)


def _function(function: FunctionType, seen: Seen) -> str:
    code = function.__code__
    if Path(code.co_filename).is_absolute() and str(Path(code.co_filename).resolve()).startswith(INSTALLED):
        return _full_name(function)
    closed = [_cell(cell) for cell in function.__closure__ or ()]
    named = {name: function.__globals__[name] for name in sorted(_globals(code)) if name in function.__globals__}
    return "function " + _all(
        (
            _code(code, function.__doc__, seen),
            _told([function.__defaults__, function.__kwdefaults__], seen),
            _told(closed, seen),
            _told(named, seen),
        )
    )


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _code(code: CodeType, docstring: str | None, seen: Seen) -> str:
    constants = [c for c in code.co_consts if docstring is None or c != docstring]
    told = [_code(c, None, seen) if isinstance(c, CodeType) else _told(c, seen) for c in constants]
    return f"code {code.co_code.hex()} {code.co_names} {code.co_varnames} {code.co_freevars} {code.co_flags} {told}"


def _globals(code: CodeType) -> set[str]:
    """The names that a function and its inner functions read from their module."""
    named = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return named.union(*(_globals(c) for c in code.co_consts if isinstance(c, CodeType)))


def _class(kind: type, seen: Seen) -> str:
    name = f"class {_full_name(kind)}"
    methods = [
        (attribute, getattr(value, "__func__", getattr(value, "fget", value)))
        for attribute, value in sorted(vars(kind).items())
        if attribute not in ("__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__firstlineno__")
    ]
    own = [(a, v) for a, v in methods if isinstance(v, FunctionType | bool | int | float | str | tuple)]
    if not own or kind.__module__.partition(".")[0] in ("torch", "torchvision", "timm", "limbeck", "builtins"):
        return name
    return f"{name} {_told(own, seen)} {[_told(base, seen) for base in kind.__mro__[1:-1]]}"
