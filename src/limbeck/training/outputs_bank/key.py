"""The key of an outputs bank: everything that determines a teacher's outputs for the views of an epoch, as plain data.

When in doubt, a fact is part of the key: a bank that is not found costs one pass of the teacher, a wrong bank the
result.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import re
import time
import uuid
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from limbeck.training.teacher import Teacher, fingerprint
from limbeck.types import Split
from limbeck.views.apply import make_view
from limbeck.views.plan import ViewPlanner, key_text

FORMAT = 1
"""The version of the files and of what a teacher computes besides the model; raise it when either changes."""
STARTED = time.time()
PROCESS = f"\n{uuid.uuid4()}\n"
"""Part of the key where source code was edited after this process started: the code that runs may be older, so no other
process may use the outputs."""


def bank_key(
    teacher: Teacher, built_from: Mapping[str, Any], planner: ViewPlanner, split: Split, classes: int
) -> dict[str, Any]:
    """What must be equal for two runs to share a teacher's outputs, epoch by epoch.

    built_from: how the caller made the model, as plain data with a `model.name` to show. split: the training images.
    classes: the number of logits.

    How often views are reused (`distinct_epochs`) is not part of the key: it changes which epochs are read, not their
    content.
    """
    return {
        "format": FORMAT,
        "torch": torch.__version__,
        "built_from": dict(built_from),
        "weights": teacher.fingerprint,
        "frozen": fingerprint(teacher.frozen),  # as it computes: norms folded or not, cast to its precision
        "layout": layout(teacher.frozen),
        "input": repr(teacher.input_format),
        "dtype": str(teacher.dtype),
        "float32": [torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32],
        "device": teacher.device.type,
        "first_view": first_view(split, planner),
        **views_key(planner, classes),
    }


def views_key(planner: ViewPlanner, classes: int) -> dict[str, Any]:
    """The part of the key that is known before the teacher is trained."""
    views = key_text(planner.views.model_copy(update={"distinct_epochs": None}))
    text = (  # part of the file format: the wording must never change
        f"ViewPlanner(fingerprint={planner.fingerprint!r}, size={planner.size!r}, recipe={views}, "
        f"seed={planner.seed!r}, shape={planner.shape!r}, normalisation={planner.normalisation!r})"
    )
    return {"views": text, "shape": list(shape(planner, classes))}


def shape(planner: ViewPlanner, classes: int) -> tuple[int, int, int]:
    """The shape of an epoch's logits: steps, images per view (all views are full), classes."""
    return planner.steps_per_epoch, min(planner.views.batch_size, planner.size), classes


def layout(model: nn.Module) -> str:
    """SHA-256 of what determines a model's outputs besides its state dict.

    These are the layers and their options as printed, the source code of classes that are not part of torch, and the
    buffers that are not saved.
    """
    digest = hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", repr(model)).encode())
    classes = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in map(type, model.modules())}
    for name in sorted(classes):
        digest.update(f"\n{name}\n{_source(classes[name])}".encode())
    saved = model.state_dict()
    for name, buffer in model.named_buffers():
        if name not in saved:
            digest.update(f"\n{name} {buffer.dtype} {tuple(buffer.shape)}\n".encode())
            digest.update(buffer.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@functools.lru_cache(maxsize=4096)
def _source(kind: type) -> str:
    """The source code of a class; "" for torch's classes, which its version covers, and for classes without a file.

    Read once: if the file is edited later, this process still runs the code that it imported.
    """
    if kind.__module__.partition(".")[0] == "torch":
        return ""
    try:
        text = inspect.getsource(kind)
    except (OSError, TypeError):
        return ""
    return f"{text}{PROCESS}" if _edited_since_start(kind) else text


def _edited_since_start(kind: type) -> bool:
    try:
        return os.stat(inspect.getsourcefile(kind) or "").st_mtime > STARTED
    except OSError:  # a notebook cell
        return False


def first_view(split: Split, planner: ViewPlanner) -> str:
    """SHA-256 of the images of the very first view, as this machine computes them."""
    view = make_view(split, planner.plan(0, 0), planner.views, planner.normalisation)
    return hashlib.sha256(view.images.cpu().contiguous().numpy().data).hexdigest()
