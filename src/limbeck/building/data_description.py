"""The images that a saved model was trained on: kept beside its weights, and parted again in the same way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from limbeck.recipes import registry
from limbeck.recipes.recipe import Data

from .data import Images


def describe_data(data: Data, images: Images) -> dict[str, Any]:
    """What `model.json` keeps under `data`: the source and its options with whole paths, how it was parted, and the
    fingerprints of the data set and of its parts.
    """
    plain = data.model_dump(mode="json")
    source, validation, train_images = (plain.pop(key) for key in ("source", "validation", "train_images"))
    if isinstance(plain.get("path"), str):
        plain["path"] = _whole(plain["path"])
    return {
        "source": whole_source(source),
        "options": plain,
        "validation": validation,
        "train_images": train_images,
        "dataset_fingerprint": images.dataset_fingerprint,
        "fingerprint": images.fingerprint,
    }


def whole_source(source: str) -> str:
    """`folder:photos` with its path made whole, so that it is found again from any folder."""
    head, argument = registry.split_name(source)
    is_path = argument is not None and registry.find("data", source).argument == "path"
    return f"{head}:{_whole(argument)}" if argument is not None and is_path else source


def _whole(path: str) -> str:
    return str(Path(path).expanduser().resolve())
