"""Whatever a valid recipe asks for: it runs to its end, resumes bit for bit, and an arm ends as it does alone."""

from __future__ import annotations

import hashlib
import os
import signal
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import limbeck
from limbeck.errors import LimbeckError
from limbeck.experiment.signals import Stopped
from limbeck.training import loop

# No depthwise convolutions: in half precision a processor takes a hundred times as long for them.
SMALL = {"name": "resnet", "depth": 8, "stem": 4, "widths": [4, 8, 8]}


def some(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any part of the keys."""
    return st.fixed_dictionaries({}, optional=keys)


def named(name: str, /, **keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return some(**keys).map(lambda options: {"name": name, **options})


models = st.sampled_from([
    SMALL,
    "lightweight_cnn",
    {"name": "lightweight_cnn", "dropout": 0.0, "hidden_dropout": 0.2},
])  # fmt: skip
optimizers = st.sampled_from([
    {"name": "sgd", "lr": 0.05, "weight_decay": 5e-4},
    {"name": "sgd", "lr": 0.01, "momentum": 0.0},
    {"name": "adam", "lr": 1e-3},
    {"name": "adamw", "lr": 1e-3, "betas": [0.8, 0.9]},
    {"name": "muon", "lr": 0.02},
])  # fmt: skip
schedules = st.sampled_from([
    {"name": "constant"},
    {"name": "cosine", "warmup_epochs": 0.5},
    {"name": "cosine", "warmup_epochs": 1, "per_epoch": True},
    {"name": "step", "every_epochs": 1, "factor": 0.5},
    {"name": "multi_step", "milestones": [1], "factor": 0.1},
    {"name": "one_cycle"},
])  # fmt: skip
weight = st.sampled_from([0.0, 0.3, 1.0])
label_loss = named("cross_entropy", weight=st.just(0.5), label_smoothing=st.just(0.1))
teacher_loss = st.one_of(
    named("soft_targets", temperature=st.sampled_from([1.0, 20.0]), standardise=st.booleans(), weight=weight),
    named("dkd", non_target_weight=st.sampled_from([0.0, 8.0]), weight=weight, warmup_epochs=st.sampled_from([0.5, 3])),
    named("dist", temperature=st.just(4.0), intra_weight=st.just(0.0)),
)
view_options = some(
    batch_size=st.sampled_from([5, 16, 48, 500]),
    flip=st.booleans(),
    policy=st.sampled_from([{"name": "autoaugment"}, {"name": "randaugment"}, {"name": "trivialaugment"}]),
    erasing=st.sampled_from([{"probability": 1.0, "fill": "noise"}, {}]),
    mixing=st.sampled_from([{"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 1.0, "probability": 0.5}]),
    distinct_epochs=st.integers(1, 3),
    seed=st.just(5),
)
views = st.tuples(view_options, st.sampled_from([{}, {"crop": {"padding": 1}}, {"resized_crop": {}}])).map(
    lambda parts: {"batch_size": 16} | parts[0] | parts[1]
)
training = st.tuples(
    st.fixed_dictionaries({"model": models, "epochs": st.integers(1, 3), "optimizer": optimizers}),
    some(
        schedule=schedules,
        clip_norm=st.just(0.5),
        ema=st.just({"decay": 0.9}),
        patience=st.just(1),
        choose=st.just("best"),
        precision=st.sampled_from(["bf16", "fp16", "fp32"]),
        resolution=st.sampled_from([9, 16]),
        interpolation=st.just("bicubic"),
        normalise=st.just({"mean": [0.4, 0.5, 0.6], "sd": [0.2, 0.25, 0.3]}),
        views=view_options,
    ),
).map(lambda parts: parts[0] | parts[1])


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    """One or two teachers (the second may listen to the first), two to four students."""
    teachers = {"first": draw(training) | {"loss": [{"name": "cross_entropy"}]}}
    if draw(st.booleans()):
        teachers["second"] = draw(training) | {"loss": [draw(label_loss)]}
        if draw(st.booleans()):
            teachers["second"] |= {"teacher": "first", "loss": [draw(teacher_loss), draw(label_loss)]}
    students: dict[str, Any] = {"baseline": draw(training) | {"loss": [draw(label_loss)]}}
    for name in draw(st.sampled_from([["one"], ["one", "two"], ["one", "two", "three"]])):
        heard = st.sampled_from([*teachers, list(teachers), [{"name": "first", "weight": 3.0}], "baseline"])
        losses = draw(st.lists(teacher_loss, min_size=1, max_size=2, unique_by=lambda loss: loss["name"])) + draw(
            st.lists(label_loss, max_size=1)
        )
        students[name] = draw(training) | {"teacher": draw(heard), "loss": losses}
    return {
        "name": "any",
        "threads": 1,
        "save_every_seconds": draw(st.sampled_from([0.3, 60.0])),
        "evaluation": {"latency_batch": 0},
        "data": {"source": "digits", "train_images": 48},
        "views": draw(views),
        "teachers": teachers,
        "students": students,
    } | draw(some(seeds=st.just([0, 3]), teacher_seed=st.just(1), keep_checkpoints=st.just(1)))


def weights(folder: Path) -> dict[str, str]:
    """SHA-256 of what every model became."""
    files = sorted(folder.glob("models/*/model.safetensors"))
    return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def measured(result: dict[str, Any]) -> dict[tuple[str, int], Any]:
    return {(arm["arm"], arm["seed"]): (arm.get("validation"), arm.get("test"), arm["ended"]) for arm in result["arms"]}


def stopped_once(recipe: dict[str, Any], folder: Path, after: int) -> limbeck.Run:
    """Run with a SIGTERM at a step, and again to its end."""
    step, taken = loop.take_step, 0

    def counted(*words: Any, **options: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken == after:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*words, **options)

    with patch.object(loop, "take_step", counted):
        try:
            return limbeck.run(recipe, folder=folder)
        except Stopped:
            return limbeck.run(recipe, folder=folder)


def holds(recipe: dict[str, Any], after: int, of_students: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            whole = limbeck.run(recipe, folder=Path(folder) / "whole")
        except LimbeckError:
            return
        arms = {**recipe["teachers"], **recipe["students"]}
        assert {arm["arm"] for arm in whole.result["arms"]} == set(arms)
        assert whole.report.is_file()
        assert limbeck.run(recipe, folder=Path(folder) / "whole").was_finished
        again = stopped_once(recipe, Path(folder) / "stopped", after)
        assert weights(again.folder) == weights(whole.folder)
        assert measured(again.result) == measured(whole.result)
        name = list(recipe["students"])[of_students % len(recipe["students"])]
        needed = {name} | ({"baseline"} if recipe["students"][name].get("teacher") == "baseline" else set())
        alone = recipe | {"students": {key: arm for key, arm in recipe["students"].items() if key in needed}}
        lone = limbeck.run(alone, folder=Path(folder) / "alone")
        for model, digest in weights(lone.folder).items():
            assert weights(whole.folder)[model] == digest, model


@pytest.mark.middle
@given(recipes(), st.integers(1, 30), st.integers(0, 3))
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_few(recipe: dict[str, Any], after: int, of_students: int) -> None:
    holds(recipe, after, of_students)


@pytest.mark.slow
@given(recipes(), st.integers(1, 60), st.integers(0, 3))
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_many(recipe: dict[str, Any], after: int, of_students: int) -> None:
    holds(recipe, after, of_students)
