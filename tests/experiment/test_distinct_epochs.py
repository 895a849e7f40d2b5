"""A long schedule goes through the views of some epochs again and again; a longer period changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import limbeck
from final_weights import weights
from limbeck.commands.view_sheet import write_view_sheet
from limbeck.recipes.load import load_recipe

EPOCHS = 4
VIEWS = {"batch_size": 64, "crop": {"padding": 1}, "flip": True, "mixing": {"mixup": 0.2}}


def recipe(**views: Any) -> dict[str, Any]:
    return {
        "name": "cycling",
        "precision": "fp32",
        "threads": 1,
        "evaluation": {"latency_batch": 0},
        "data": {"source": "digits", "train_images": 300},
        "views": {**VIEWS, **views},
        "students": {
            "net": {
                "model": "lightweight_cnn",
                "epochs": EPOCHS,
                "optimizer": {"name": "adam", "lr": 3e-3},
                "loss": [{"name": "cross_entropy"}],
            }
        },
    }


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return weights(limbeck.run(recipe(), folder=tmp_path_factory.mktemp("without")).folder)


@pytest.mark.parametrize(("distinct", "same"), [(EPOCHS, True), (EPOCHS + 5, True), (EPOCHS - 1, False), (1, False)])
def test_a_period_as_long_as_the_training_changes_nothing(
    distinct: int, same: bool, without: dict[str, bytes], tmp_path: Path
) -> None:
    done = limbeck.run(recipe(distinct_epochs=distinct), folder=tmp_path)
    assert (weights(done.folder) == without) is same


def test_an_arm_may_have_a_period_of_its_own() -> None:
    tree = recipe()
    tree["students"]["short"] = {**tree["students"]["net"], "views": {"distinct_epochs": 2}}
    arms = load_recipe(tree).arms()
    assert arms["net"].views is None
    assert arms["short"].views is not None
    assert (arms["short"].views.distinct_epochs, arms["short"].views.batch_size) == (2, 64)


def test_the_sheet_says_which_views_come_again(tmp_path: Path) -> None:
    (said,) = write_view_sheet(load_recipe(recipe(distinct_epochs=3)), tmp_path / "a.png", count=2, epoch=7)
    assert "epoch 8 (reuses the views of epoch 2), step 1" in said
    (said,) = write_view_sheet(load_recipe(recipe(distinct_epochs=3)), tmp_path / "a.png", count=2, epoch=2)
    assert "epoch 3, step 1" in said
