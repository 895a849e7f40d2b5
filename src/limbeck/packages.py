"""The packages of the extras, imported where they are needed."""

from __future__ import annotations

import importlib
from types import ModuleType

from limbeck.errors import LimbeckError


def need(module: str, extra: str, purpose: str) -> ModuleType:
    """Import a module of an extra. Raises LimbeckError that names the one command which installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise LimbeckError(f"{purpose}: needs {package}: pip install 'limbeck[{extra}]'") from error
