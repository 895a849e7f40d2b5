"""A saved model measures again what its run measured: the same images, to the last digit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import limbeck

QUICK = {
    "name": "quick",
    "threads": 1,
    "precision": "bf16",
    "evaluation": {"latency_batch": 0},
    "data": {"source": "digits", "validation": 0.02, "train_images": 200},
    "views": {"batch_size": 64, "crop": {"padding": 1}},
    "teachers": {
        "wide": {
            "model": "lightweight_cnn",
            "epochs": 1,
            "optimizer": {"name": "adam", "lr": 3e-3},
            "loss": [{"name": "cross_entropy"}],
        }
    },
    "students": {
        "distilled": {
            "model": "lightweight_cnn",
            "epochs": 1,
            "optimizer": {"name": "adam", "lr": 3e-3},
            "teacher": "wide",
            "loss": [{"name": "soft_targets"}],
        }
    },
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> limbeck.Run:
    """A run that trains in bfloat16 and holds few images out."""
    return limbeck.run(QUICK, folder=tmp_path_factory.mktemp("runs"))


def row_of(done: limbeck.Run, arm: str) -> dict[str, Any]:
    return next(row for row in done.result["arms"] if row["arm"] == arm)


def model_of(done: limbeck.Run, arm: str) -> Path:
    return done.folder / "models" / f"{arm}-seed0"


@pytest.mark.parametrize("arm", ["wide", "distilled"])
@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_run_measures_in_the_precision_of_its_saved_models(done: limbeck.Run, arm: str, split: str) -> None:
    row = row_of(done, arm)
    data = {"source": "digits", "validation": 0.02, "train_images": 200}
    found = limbeck.evaluate(limbeck.load(model_of(done, arm)), data, split=split).to_dict()
    told = {key: row[split][key] for key in found}
    for key in ("agreement", "kl_to_reference"):  # evaluate has no teacher to compare with
        del told[key], found[key]
    assert found == told
    assert row["measured_precision"] == "float32"


def test_agreement_is_with_the_saved_teacher(done: limbeck.Run) -> None:
    from limbeck.building.data import load_images
    from limbeck.evaluation.evaluate import evaluate
    from limbeck.recipes.recipe import Data

    student, teacher = (limbeck.load(model_of(done, arm)) for arm in ("distilled", "wide"))
    images = load_images(Data(**QUICK["data"]))
    found = evaluate(student, images.test, num_classes=10, reference=teacher)
    told = row_of(done, "distilled")["test"]
    assert found.agreement == told["agreement"]
    # The reference had its batch norms folded into its convolutions, which rounds otherwise.
    assert found.kl_to_reference == pytest.approx(told["kl_to_reference"], rel=1e-4)


def test_a_model_keeps_which_images_it_was_trained_on(done: limbeck.Run) -> None:
    about = json.loads((model_of(done, "distilled") / "model.json").read_text(encoding="utf-8"))["data"]
    assert about["source"] == "digits"
    assert about["validation"] == 0.02
    assert about["train_images"] == 200
    assert about["fingerprint"].startswith(about["dataset_fingerprint"] + "/")


def test_the_report_says_in_which_precision(done: limbeck.Run) -> None:
    assert "measured in float32" in done.report.read_text(encoding="utf-8")
