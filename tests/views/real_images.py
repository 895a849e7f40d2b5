"""Photographs to compare with other libraries on."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

FOLDER = Path(os.environ.get("LIMBECK_TEST_IMAGES", Path(__file__).resolve().parents[3] / "shared" / "data"))


def cifar(count: int) -> Tensor:
    """The first test images of CIFAR-10, `[count, 32, 32, 3]` uint8, or a visible skip."""
    file = next((FOLDER / "cifar10").glob("test-*.parquet"), None)
    if file is None:
        pytest.skip(f"no cifar10 under LIMBECK_TEST_IMAGES ({FOLDER})")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = next(parquet.ParquetFile(file).iter_batches(count, columns=["img"]))[0].to_pylist()
    return torch.from_numpy(np.stack([np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("RGB")) for row in rows]))
