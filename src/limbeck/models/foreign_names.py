"""Errors of the adapters to other model libraries: missing packages, unknown names, unavailable weights."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from limbeck.errors import LimbeckError


def package_missing(package: str) -> LimbeckError:
    """The error for an optional package that is not installed."""
    return LimbeckError(f"{package} is not installed: pip install 'limbeck[{package}]'")


def no_such_model(package: str, name: str, known: Iterable[str]) -> LimbeckError:
    """The error for an unknown name, with the nearest known names."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return LimbeckError(f"{package} has no image classifier called {name!r}{hint}")


def weights_unavailable(package: str, name: str, reason: str) -> LimbeckError:
    """The error for pretrained weights that are not available, with a workaround."""
    first_line = " ".join(reason.split())[:160]
    return LimbeckError(
        f"{package}:{name}: no pretrained weights ({first_line}); download the file yourself, convert it with "
        "`limbeck import FILE` and set `weights:` to the result"
    )
