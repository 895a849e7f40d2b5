"""What people call the three splits."""

from __future__ import annotations

import re

NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


def split_of(name: str) -> str | None:
    """The split that a name's first word tells (`train-00000-of-00002`), else None."""
    word = re.split(r"[-_. ]", name.lower(), maxsplit=1)[0]
    return next((split for split, words in NAMES.items() if word in words), None)
