"""A model trained on real digits, saved as a run saves it."""

from __future__ import annotations

from pathlib import Path

import pytest

import limbeck


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained student within its run."""
    recipe = {
        "name": "digits",
        "threads": 1,
        "precision": "fp32",
        "evaluation": {"latency_batch": 0},
        "data": {"source": "digits"},
        "views": {"batch_size": 64},
        "students": {
            "net": {
                "model": {"name": "resnet", "depth": 8, "widths": [8, 16, 32]},
                "epochs": 4,
                "optimizer": {"name": "adam", "lr": 3e-3},
                "loss": [{"name": "cross_entropy"}],
            }
        },
    }
    done = limbeck.run(recipe, folder=tmp_path_factory.mktemp("runs"))
    return done.folder / "models" / "net-seed0"
