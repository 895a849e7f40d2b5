"""Declare two operators that torchvision needs at import and that are missing with a CPU-only torch.

torchvision's published wheel is built for CUDA. With a CPU-only torch, its library cannot be loaded, and the import
fails with "operator torchvision::nms does not exist". If the operators are declared, even without an implementation,
everything but detection works.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import sys
from pathlib import Path

import torch

OPERATORS = ("nms", "qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@functools.cache
def declare_missing_operators() -> tuple[str, ...]:
    """Declare the missing operators and return their names. Call it before the first import of torchvision or timm.

    Does nothing if torchvision is absent, already imported, or has a library that loads.
    """
    spec = None if "torchvision" in sys.modules else importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return ()
    for library in Path(spec.origin).parent.glob("_C.*"):
        try:
            torch.ops.load_library(str(library))
        except OSError:  # linked against CUDA libraries that are not installed
            continue
    missing = tuple(name for name in OPERATORS if not hasattr(torch.ops.torchvision, name))
    for name in missing:
        torch.library.define(f"torchvision::{name}", SIGNATURE)
    if missing:
        logging.getLogger(__name__).info("torchvision's own library does not load; declared %s", missing)
    return missing
