"""What the adapters of foreign zoos say when a name or a package is not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from limbeck.errors import LimbeckError


def package_missing(package: str) -> LimbeckError:
    """The error for an optional package that is not installed."""
    return LimbeckError(f"{package} is not installed: pip install 'limbeck[{package}]'")


def no_such_model(package: str, name: str, known: Iterable[str]) -> LimbeckError:
    """The error for an unknown name; of a thousand names it says only the nearest."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return LimbeckError(f"{package} has no image classifier called {name!r}{hint}")


def cannot_have_weights(package: str, name: str, reason: str) -> LimbeckError:
    """The error for pretrained weights that could not be had, with the way round."""
    first_line = " ".join(reason.split())[:160]
    return LimbeckError(
        f"{package}:{name}: no pretrained weights ({first_line}); fetch the file yourself, "
        "`limbeck import FILE` it and name the result as `weights:`"
    )
