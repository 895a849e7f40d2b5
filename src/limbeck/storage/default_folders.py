"""Where data and the cache lie: `$LIMBECK_DATA` and `$LIMBECK_CACHE`, or the platform's usual folders."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """What Limbeck can make again: `$LIMBECK_CACHE`, else the platform's. It may not exist yet."""
    return _folder("LIMBECK_CACHE", platformdirs.user_cache_dir("limbeck", appauthor=False))


def data_folder() -> Path:
    """What was downloaded: `$LIMBECK_DATA`, else the platform's. It may not exist yet."""
    return _folder("LIMBECK_DATA", platformdirs.user_data_dir("limbeck", appauthor=False))


def _folder(variable: str, usual: str) -> Path:
    return Path(os.environ.get(variable) or usual).expanduser().absolute()
