"""Which names of a file of weights are which of a model: wrappers' prefixes, adapters, published names."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from .published_names import Names, covers, in_our_names

WRAPPERS = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before every name
BODIES = ("backbone.", "encoder.", "model.", "net.", "network.", "base.", "student.")
"""What frameworks put before the names of all layers but the head's."""


def fitting_names(stored: Collection[str], own: Collection[str]) -> Names:
    """From each stored name to the model's: the first renaming that fits wholly, or the one that fits best.

    Tried are: wrappers' prefixes and any other that all names share taken off; the adapter's own put before (a file
    of timm's fits `timm:…`); `backbone.` off the body and `head.` off the head; published names (published_names.py).
    """
    best: Names = {}
    most = -1
    for names in _renamings(stored, own):
        if covers(names, own):
            return names
        shared = len(set(names.values()) & set(own))
        if shared > most and len(set(names.values())) == len(names):  # no two tensors under one name
            best, most = names, shared
    return best


def _renamings(stored: Collection[str], own: Collection[str]) -> Iterator[Names]:
    adapter = _shared_prefix(own)
    for names in _without_prefixes(stored):
        yield names
        if adapter:
            yield {name: adapter + renamed for name, renamed in names.items()}
        if ours := in_our_names(names.values(), own):
            yield {name: ours[renamed] for name, renamed in names.items()}


def _without_prefixes(stored: Collection[str]) -> Iterator[Names]:
    names = {name: name for name in stored}
    plain = names
    while (prefix := _shared_prefix(plain.values())) in WRAPPERS:
        plain = _without(plain, prefix)
    yield plain
    while prefix := _shared_prefix(names.values()):
        yield names
        names = _without(names, prefix)
    yield names
    for body in BODIES:
        if any(name.startswith(body) for name in names.values()):
            yield _without(names, body)
            yield _without(_without(names, body), "head.")


def _shared_prefix(names: Collection[str]) -> str:
    """The first part of all names, with its dot, or nothing."""
    first = next(iter(names), "").partition(".")
    prefix = first[0] + first[1] if first[2] else ""
    return prefix if prefix and all(name.startswith(prefix) for name in names) else ""


def _without(names: Names, prefix: str) -> Names:
    return {name: renamed.removeprefix(prefix) for name, renamed in names.items()}
