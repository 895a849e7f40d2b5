"""What stands in a pickled checkpoint for classes that are not known: objects that hold nothing and do nothing.

A checkpoint's weights often lie beside an `argparse.Namespace`, a NumPy scalar or a path. None of these is built: its
name is given to an empty class, which takes any argument and any state and keeps none. No code of theirs is imported.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

MOST_UNKNOWN = 100
RUN_CODE = {
    "asyncio", "bdb", "cloudpickle", "code", "codeop", "commands", "concurrent", "ctypes", "cProfile", "dill",
    "doctest", "ftplib", "http", "imp", "importlib", "joblib", "linecache", "marshal", "multiprocessing", "nt",
    "nturl2path", "os", "pdb", "pickle", "_pickle", "pip", "pkgutil", "posix", "profile", "pty", "pydoc", "requests",
    "runpy", "shelve", "shutil", "site", "smtplib", "socket", "ssl", "subprocess", "sys", "sysconfig", "telnetlib",
    "threading", "_thread", "timeit", "trace", "urllib", "venv", "webbrowser", "xmlrpc", "zipimport",
}  # fmt: skip
"""Modules whose functions run code, or reach files and networks: a checkpoint that names one is no honest one."""
RUN_CODE_TOO = (
    "builtins.eval", "builtins.exec", "builtins.execfile", "builtins.compile", "builtins.open", "builtins.input",
    "builtins.__import__", "builtins.breakpoint", "builtins.globals", "builtins.locals", "builtins.vars",
    "builtins.setattr", "builtins.delattr", "types.CodeType", "types.FunctionType", "io.open", "_io.open", "io.FileIO",
    "_io.FileIO", "torch.hub.", "torch.load",
    "torch.serialization.load", "torch.jit.", "torch.package.", "torch.distributed.rpc.", "torch.utils.cpp_extension.",
    "torch._inductor.", "torch._dynamo.", "numpy.load", "numpy.f2py.", "numpy.distutils.", "numpy.testing.",
    "pandas.eval", "pandas.io.", "pandas.read_pickle",
)  # fmt: skip


class Inert:
    """An object of a class that is not known. Nothing can be stored on it."""

    __slots__ = ()

    def __new__(cls, *_args: Any, **_options: Any) -> Any:
        """Whatever it is made from is forgotten."""
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_options: Any) -> None:
        """See `__new__`."""

    def __setstate__(self, _state: Any) -> None:
        """Whatever it held is forgotten."""


def stand_in(name: str, like: type = Inert) -> type:
    """The class to use for `name` (module and class).

    like: what is made of it: an `Inert` object; or where the file then puts items into it, a plain `OrderedDict` or
        `list`, so that nothing in it is lost.
    """
    module, _, own = name.rpartition(".")
    members: dict[str, Any] = {"__slots__": (), "__module__": module, "__qualname__": own}
    if like is not Inert:
        members["__new__"] = lambda _cls, *_args, **_options: like()
    return type(own, (Inert,), members)


def full_name(kind: type) -> str:
    """The name that a class stands for."""
    return f"{kind.__module__}.{kind.__qualname__}"


def runs_code(name: str) -> bool:
    """Whether a name is one of those that weights never need and attacks do."""
    return name.partition(".")[0] in RUN_CODE or name.startswith(RUN_CODE_TOO)


LIKE = {"append": list, "extend": list, "SETITEM": OrderedDict, "SETITEMS": OrderedDict}
"""By torch's word for what a file does to an object: what the object must be."""
