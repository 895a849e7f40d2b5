"""A batch that holds more images than there are is said before anything is trained."""

from __future__ import annotations

from pathlib import Path

from limbeck.experiment.estimate import describe_plan
from limbeck.experiment.run import run
from limbeck.experiment.train_cohort import Watcher
from limbeck.recipes.load import load_recipe

TREE = {
    "name": "large-batch",
    "threads": 1,
    "evaluation": {"latency_batch": 0},
    "data": {"source": "digits"},
    "views": {"batch_size": 2000},
    "students": {
        "a": {
            "model": "lightweight_cnn",
            "epochs": 1,
            "optimizer": {"name": "sgd", "lr": 0.01},
            "loss": [{"name": "cross_entropy"}],
        }
    },
}
TOLD = (
    "views.batch_size: a batch of 2,000 is larger than the 1,293 training images: each epoch is one step with a batch "
    "of 1,293"
)


def test_the_plan_says_that_a_batch_is_larger_than_the_data() -> None:
    assert TOLD in describe_plan(load_recipe(TREE), timed=False)
    assert TOLD not in describe_plan(load_recipe(TREE, ["views.batch_size=1293"]), timed=False)


def test_the_run_says_it_before_it_trains(tmp_path: Path) -> None:
    said: list[str] = []
    run(
        TREE,
        folder=tmp_path,
        make_watcher=lambda key, learners: Watcher(say=said.append, epoch=lambda learner, row: said.append("epoch")),
    )
    assert said.index(TOLD) < said.index("epoch")
