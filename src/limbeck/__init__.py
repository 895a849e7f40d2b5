"""Limbeck: pour a big vision model into a small one, with honest numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from limbeck.api.distill import Distilled, distill, evaluate
    from limbeck.building.fit import Proposal, fit
    from limbeck.building.saved_model import LoadedModel, load
    from limbeck.data.in_memory import Dataset
    from limbeck.deployment.export import export
    from limbeck.errors import LimbeckError
    from limbeck.evaluation.evaluate import Evaluation
    from limbeck.experiment.run import Run, run
    from limbeck.experiment.train_cohort import Watcher
    from limbeck.sweeps.sweep import Swept, sweep
    from limbeck.types import Normalisation, Outputs, Split, Targets

    from . import losses

__all__ = [
    "Dataset", "Distilled", "Evaluation", "LimbeckError", "LoadedModel", "Normalisation", "Outputs", "Proposal", "Run",
    "Split", "Swept", "Targets", "Watcher",
    "distill", "evaluate", "export", "fit", "load", "losses", "run", "sweep",
]  # fmt: skip

_HOME = {
    "Dataset": "limbeck.data.in_memory",
    "Distilled": "limbeck.api.distill",
    "Evaluation": "limbeck.evaluation.evaluate",
    "LimbeckError": "limbeck.errors",
    "LoadedModel": "limbeck.building.saved_model",
    "Normalisation": "limbeck.types",
    "Outputs": "limbeck.types",
    "Proposal": "limbeck.building.fit",
    "Run": "limbeck.experiment.run",
    "Split": "limbeck.types",
    "Swept": "limbeck.sweeps.sweep",
    "Targets": "limbeck.types",
    "Watcher": "limbeck.experiment.train_cohort",
    "distill": "limbeck.api.distill",
    "evaluate": "limbeck.api.distill",
    "export": "limbeck.deployment.export",
    "fit": "limbeck.building.fit",
    "load": "limbeck.building.saved_model",
    "run": "limbeck.experiment.run",
    "sweep": "limbeck.sweeps.sweep",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `limbeck --help` costs no torch."""
    import importlib

    if name == "losses":
        return importlib.import_module("limbeck.losses")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'limbeck' has no attribute {name!r}")
