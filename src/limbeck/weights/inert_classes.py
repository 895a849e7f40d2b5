"""Inert stand-ins for unknown classes in a pickled checkpoint: objects that store nothing and do nothing.

Checkpoints often contain an `argparse.Namespace`, a NumPy scalar or a path beside the weights. These are never built.
Instead, an empty class of the same name accepts any arguments and any state and discards them. None of their code is
imported.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

MAX_UNKNOWN = 100
UNSAFE_MODULES = {
    "asyncio", "bdb", "cloudpickle", "code", "codeop", "commands", "concurrent", "ctypes", "cProfile", "dill",
    "doctest", "ftplib", "http", "imp", "importlib", "joblib", "linecache", "marshal", "multiprocessing", "nt",
    "nturl2path", "os", "pdb", "pickle", "_pickle", "pip", "pkgutil", "posix", "profile", "pty", "pydoc", "requests",
    "runpy", "shelve", "shutil", "site", "smtplib", "socket", "ssl", "subprocess", "sys", "sysconfig", "telnetlib",
    "threading", "_thread", "timeit", "trace", "urllib", "venv", "webbrowser", "xmlrpc", "zipimport",
}  # fmt: skip
"""Modules whose functions run code or access files and networks. No legitimate checkpoint refers to them."""
UNSAFE_NAMES = (
    "builtins.eval", "builtins.exec", "builtins.execfile", "builtins.compile", "builtins.open", "builtins.input",
    "builtins.__import__", "builtins.breakpoint", "builtins.globals", "builtins.locals", "builtins.vars",
    "builtins.setattr", "builtins.delattr", "types.CodeType", "types.FunctionType", "io.open", "_io.open", "io.FileIO",
    "_io.FileIO", "torch.hub.", "torch.load",
    "torch.serialization.load", "torch.jit.", "torch.package.", "torch.distributed.rpc.", "torch.utils.cpp_extension.",
    "torch._inductor.", "torch._dynamo.", "numpy.load", "numpy.f2py.", "numpy.distutils.", "numpy.testing.",
    "pandas.eval", "pandas.io.", "pandas.read_pickle",
)  # fmt: skip


class Inert:
    """An object of an unknown class. It stores nothing."""

    __slots__ = ()

    def __new__(cls, *_args: Any, **_options: Any) -> Any:
        """Discard all arguments."""
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_options: Any) -> None:
        """See `__new__`."""

    def __setstate__(self, _state: Any) -> None:
        """Discard the state."""


def stand_in(name: str, like: type = Inert) -> type:
    """The class that replaces `name` (module and class).

    like: the type of its instances. `OrderedDict` or `list` if the file adds items to them, so that no items are lost.
    """
    module, _, own = name.rpartition(".")
    members: dict[str, Any] = {"__slots__": (), "__module__": module, "__qualname__": own}
    if like is not Inert:
        members["__new__"] = lambda _cls, *_args, **_options: like()
    return type(own, (Inert,), members)


def full_name(kind: type) -> str:
    """The full name of a class, including its module."""
    return f"{kind.__module__}.{kind.__qualname__}"


def runs_code(name: str) -> bool:
    """Whether a name may run code. Attacks use such names; weights never do."""
    return name.partition(".")[0] in UNSAFE_MODULES or name.startswith(UNSAFE_NAMES)


CONTAINERS = {"append": list, "extend": list, "SETITEM": OrderedDict, "SETITEMS": OrderedDict}
"""The type of a stand-in's instances, by the operation that torch's error message names."""
