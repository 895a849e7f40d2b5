"""`limbeck doctor`: versions, device, precision, data sets and disk space of this machine."""

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
    "optuna": "sweep", "ray": "ray", "tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow",
}  # fmt: skip
ARCHIVES = ("cifar-10-binary.tar.gz", "cifar-100-binary.tar.gz", "tiny-imagenet-200.zip")


def examine() -> list[tuple[str, str]]:
    """What `limbeck doctor` prints, as pairs of a name and a description."""
    device = choose_device("auto")
    versions = environment(device)
    bf16 = (
        "supported by the hardware" if has_fast_bfloat16(device) else "not supported by the hardware; float32 is used"
    )
    rows = [
        ("limbeck", f"{versions['limbeck']}, Python {versions['python']}, {versions['system']}"),
        ("torch", str(versions["torch"])),
        ("device", f"{device} ({versions['device_name']})"),
        ("bfloat16", bf16),
        ("threads", f"{torch.get_num_threads()} of {versions['cores']} cores"),
    ]
    for package, extra in OPTIONAL.items():
        rows.append((package, _version(package) or f"not installed: pip install 'limbeck[{extra}]'"))
    for archive in ARCHIVES:
        path = data_folder() / archive
        rows.append((archive, str(path) if path.exists() else "not downloaded yet; fetched when a recipe uses it"))
    entries = cache.entries()
    sets = f"{len(entries)} data set{'s' * (len(entries) != 1)}"
    rows.append(("image cache", f"{sets}, {cache.size() / 2**20:,.0f} MB in {cache.location()}"))
    for name, folder in (("data folder", data_folder()), ("cache folder", cache_folder())):
        rows.append((name, f"{folder} ({_free(folder) / 2**30:,.1f} GB free)"))
    return rows


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
