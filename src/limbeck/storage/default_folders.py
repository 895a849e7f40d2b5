"""The folders of data and cache: `$LIMBECK_DATA` and `$LIMBECK_CACHE`, or the platform's usual folders."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """The folder of reproducible files: `$LIMBECK_CACHE`, or the platform's cache folder. It may not exist yet."""
    return _folder("LIMBECK_CACHE", platformdirs.user_cache_dir("limbeck", appauthor=False))


def data_folder() -> Path:
    """The folder of downloads: `$LIMBECK_DATA`, or the platform's data folder. It may not exist yet."""
    return _folder("LIMBECK_DATA", platformdirs.user_data_dir("limbeck", appauthor=False))


def _folder(variable: str, usual: str) -> Path:
    return Path(os.environ.get(variable) or usual).expanduser().absolute()
