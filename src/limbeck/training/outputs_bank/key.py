"""Everything that shapes a teacher's answers to the views of an epoch, as plain data: the key of an outputs bank.

Rather too much than too little: a bank that is not found costs a pass of the teacher, a wrong one the result.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from limbeck.training.teacher import Teacher, fingerprint
from limbeck.types import Split
from limbeck.views.apply import make_view
from limbeck.views.plan import ViewPlanner, key_text

FORMAT = 1
"""Of the files, and of what a teacher does besides the model: to be raised when either changes."""


def made_of(
    teacher: Teacher, built_from: Mapping[str, Any], planner: ViewPlanner, split: Split, classes: int
) -> dict[str, Any]:
    """What must be equal for two runs to share a teacher's answers, epoch by epoch.

    built_from: what the caller knows of how the model was made, plain data with a `model.name` for people.
    split: the training images. classes: of the answers.

    How often views come again (`distinct_epochs`) is no part of it: it changes which epochs are seen, and not what
    is in them.
    """
    return {
        "format": FORMAT,
        "torch": torch.__version__,
        "built_from": dict(built_from),
        "weights": teacher.fingerprint,
        "frozen": fingerprint(teacher.frozen),  # as it computes: norms folded or not, rounded to its precision
        "layout": layout(teacher.frozen),
        "input": repr(teacher.form),
        "dtype": str(teacher.dtype),
        "float32": [torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32],
        "device": teacher.device.type,
        "first_view": first_view(split, planner),
        **made_of_views(planner, classes),
    }


def made_of_views(planner: ViewPlanner, classes: int) -> dict[str, Any]:
    """The part that is known before there is a teacher."""
    views = key_text(planner.views.model_copy(update={"distinct_epochs": None}))
    text = (  # part of the file format: the wording must never change
        f"ViewPlanner(fingerprint={planner.fingerprint!r}, size={planner.size!r}, recipe={views}, "
        f"seed={planner.seed!r}, shape={planner.shape!r}, normalisation={planner.normalisation!r})"
    )
    return {"views": text, "shape": list(shape(planner, classes))}


def shape(planner: ViewPlanner, classes: int) -> tuple[int, int, int]:
    """Of an epoch's logits: steps, images a view (all are full), classes."""
    return planner.steps_per_epoch, min(planner.views.batch_size, planner.size), classes


def layout(model: nn.Module) -> str:
    """SHA-256 of what a state dict does not say of a model.

    The layers and their options as they are printed, the source of classes that are not torch's own, and buffers that
    are not saved.
    """
    whole = hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", repr(model)).encode())
    kinds = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in map(type, model.modules())}
    for name in sorted(kinds):
        whole.update(f"\n{name}\n{_source(kinds[name])}".encode())
    saved = model.state_dict()
    for name, buffer in model.named_buffers():
        if name not in saved:
            whole.update(f"\n{name} {buffer.dtype} {tuple(buffer.shape)}\n".encode())
            whole.update(buffer.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()


def _source(kind: type) -> str:
    if kind.__module__.partition(".")[0] == "torch":  # its version says it
        return ""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # typed into a console
        return ""


def first_view(split: Split, planner: ViewPlanner) -> str:
    """SHA-256 of the images of the very first view as they are made here: its recipe does not tell how."""
    view = make_view(split, planner.plan(0, 0), planner.views, planner.normalisation)
    return hashlib.sha256(view.images.cpu().contiguous().numpy().data).hexdigest()
