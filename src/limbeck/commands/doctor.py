"""What there is on this machine, in lines for a person."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

import torch

from limbeck.data import cache
from limbeck.experiment.environment import environment
from limbeck.storage.default_folders import cache_folder, data_folder
from limbeck.training.device import choose_device
from limbeck.training.precision import has_fast_bfloat16

OPTIONAL = {
    "scikit-learn": "digits", "pyarrow": "parquet", "timm": "timm", "torchvision": "torchvision",
    "optuna": "sweep", "ray": "ray",
}  # fmt: skip
ARCHIVES = ("cifar-10-binary.tar.gz", "cifar-100-binary.tar.gz", "tiny-imagenet-200.zip")


def examine() -> list[tuple[str, str]]:
    """Pairs of what and how it is."""
    device = choose_device("auto")
    facts = environment(device)
    bf16 = "in the hardware" if has_fast_bfloat16(device) else "emulated: float32 is used"
    found = [
        ("limbeck", f"{facts['limbeck']}, Python {facts['python']}, {facts['system']}"),
        ("torch", str(facts["torch"])),
        ("device", f"{device} ({facts['device_name']})"),
        ("bfloat16", bf16),
        ("threads", f"{torch.get_num_threads()} of {facts['cores']} cores"),
    ]
    for package, extra in OPTIONAL.items():
        found.append((package, _version(package) or f"not here: pip install 'limbeck[{extra}]'"))
    for archive in ARCHIVES:
        place = data_folder() / archive
        found.append((archive, str(place) if place.exists() else "not here; fetched when a recipe asks for it"))
    entries = cache.entries()
    found.append(("decoded images", f"{len(entries)} sets, {cache.size() / 2**20:,.0f} MB in {cache.location()}"))
    for what, folder in (("data folder", data_folder()), ("cache folder", cache_folder())):
        found.append((what, f"{folder} ({_free(folder) / 2**30:,.1f} GB free)"))
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
