"""Limbeck: pour a big vision model into a small one, with honest numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from limbeck import losses
    from limbeck.data.arrays import Dataset
    from limbeck.evaluation.evaluate import Evaluation
    from limbeck.experiment.distill import Distilled, distill, evaluate
    from limbeck.experiment.follow import Watcher
    from limbeck.experiment.run import Run, run
    from limbeck.experiment.saved_model import LoadedModel, load
    from limbeck.experiment.sweep import Swept, sweep
    from limbeck.runs.errors import LimbeckError
    from limbeck.types import Normalisation, Outputs, Split, Targets

__all__ = [
    "Dataset", "Distilled", "Evaluation", "LimbeckError", "LoadedModel", "Normalisation", "Outputs", "Run", "Split",
    "Swept", "Targets", "Watcher",
    "distill", "evaluate", "load", "losses", "run", "sweep",
]  # fmt: skip

_HOME = {
    "Dataset": "limbeck.data.arrays",
    "Distilled": "limbeck.experiment.distill",
    "Evaluation": "limbeck.evaluation.evaluate",
    "LimbeckError": "limbeck.runs.errors",
    "LoadedModel": "limbeck.experiment.saved_model",
    "Normalisation": "limbeck.types",
    "Outputs": "limbeck.types",
    "Run": "limbeck.experiment.run",
    "Split": "limbeck.types",
    "Swept": "limbeck.experiment.sweep",
    "Targets": "limbeck.types",
    "Watcher": "limbeck.experiment.follow",
    "distill": "limbeck.experiment.distill",
    "evaluate": "limbeck.experiment.distill",
    "load": "limbeck.experiment.saved_model",
    "run": "limbeck.experiment.run",
    "sweep": "limbeck.experiment.sweep",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `limbeck --help` costs no torch."""
    import importlib

    if name == "losses":
        return importlib.import_module("limbeck.losses")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'limbeck' has no attribute {name!r}")
