"""No public call ends in a traceback for wrong arguments: whatever is given is taken, or is one LimbeckError."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import limbeck
from limbeck.api import distill as distilling
from limbeck.errors import LimbeckError
from limbeck.experiment import run as running

DATA = limbeck.Dataset.from_arrays(
    (np.random.default_rng(0).integers(0, 256, (30, 4, 4, 3), dtype=np.uint8), [0, 1, 2] * 10)
)


class TrainedError(BaseException):
    """Training was reached."""


@pytest.fixture(autouse=True)
def untrained(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whoever would train is stopped there; the arguments were taken, then."""

    def reached(*_: Any, **__: Any) -> None:
        raise TrainedError

    monkeypatch.setattr(distilling, "train_cohort", reached)
    monkeypatch.setattr(running, "train_cohorts", reached)
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))


def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 3))


class Odd:
    """An object of no use."""


things: list[Any] = [
    Odd(), Odd, object, len, lambda: None, {}, [], (), set(), {1: 2}, {"name": 3}, {"name": "sgd"}, [{}], [None],
    float("nan"), math.inf, 1j, np.zeros(3), np.float64(1.5), np.int64(2), np.array(3), np.zeros((2, 4, 4, 3)),
    torch.zeros(2), torch.tensor(1), torch.zeros(2, 2, dtype=torch.bool), torch.tensor(1.5), torch.zeros(4, 3),
    Path("here"), Path("nowhere"), range(3), "digits ", "\0", "\n", "a" * 300, net, ..., iter([]), NotImplemented,
    (np.zeros((4, 4)), None), {"train": 3}, {"train": (1, 2)}, ([], []), ("a", "b"), (1, 2, 3, 4), nn.Linear(3, 3),
    {"source": "digits", "validation": "x"}, {"source": 3}, {"lr": "x", "name": "adam"}, b"x", 10**400, 1e300, 1e-300,
    [np.zeros(3)], {"a": np.zeros(3)}, {"mine": len}, {"mine": 3}, {3: len}, ["seeds=[0]"], ["x"], [3], "x=1",
    limbeck.Normalisation((0.5,), (0.0,)), limbeck.Normalisation("abc", None), limbeck.Watcher(), net(),  # type: ignore[arg-type]
    limbeck.Outputs(None), limbeck.Targets(None, 1, "x"), limbeck.Split(torch.zeros(2), torch.zeros(3)),  # type: ignore[arg-type]
]  # fmt: skip
words = st.text(st.characters(exclude_characters="/."), max_size=8)  # nothing is written elsewhere than here
nested = st.recursive(
    st.none() | st.integers(0, 5) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
plain = st.none() | st.booleans() | st.integers(-3, 10) | st.floats() | words | st.binary(max_size=4)
strange = plain | nested | st.sampled_from(things) | st.sampled_from(things)
many = settings(max_examples=60, deadline=None)


def one_line_or_taken(call: Callable[[], Any], *, lines: int = 1) -> None:
    told = None
    try:
        call()
    except LimbeckError as error:
        told = str(error)
    except TrainedError:
        pass
    assert told is None or (told.strip() and told.count("\n") < lines)


WORDS: dict[str, Any] = {"data": DATA, "epochs": 1, "views": {"batch_size": 8}, "device": "cpu", "precision": "fp32"}
TAKEN = [
    "student", "teacher", "data", "loss", "epochs", "optimizer", "schedule", "views", "teacher_normalisation",
    "student_normalisation", "teacher_resolution", "student_resolution", "seed", "device", "precision", "save_to",
    "outputs_bank", "losses", "say", "watcher", "clip_norm", "ema", "patience", "choose", "no_such_option",
]  # fmt: skip


def test_every_argument_is_tried() -> None:
    assert set(distilling.ARGUMENTS) <= set(TAKEN)


@pytest.mark.parametrize("argument", TAKEN)
@given(value=strange)
@settings(max_examples=25, deadline=None)
def test_distill(argument: str, value: Any) -> None:
    words = {"student": net(), "teacher": net(), **WORDS, argument: value}
    one_line_or_taken(lambda: limbeck.distill(**words), lines=20)  # a recipe's mistakes are a line each


@given(student=strange, teacher=strange, data=strange, epochs=strange, optimizer=strange)
@many
def test_distill_with_several_at_once(student: Any, teacher: Any, data: Any, epochs: Any, optimizer: Any) -> None:
    one_line_or_taken(
        lambda: limbeck.distill(student, teacher, data=data, epochs=epochs, optimizer=optimizer), lines=20
    )


@given(predict=strange, data=strange, split=strange, batch_size=strange)
@many
def test_evaluate(predict: Any, data: Any, split: Any, batch_size: Any) -> None:
    one_line_or_taken(lambda: limbeck.evaluate(predict, data), lines=20)
    one_line_or_taken(lambda: limbeck.evaluate(lambda x: torch.zeros(len(x), 3), data), lines=20)
    one_line_or_taken(lambda: limbeck.evaluate(lambda x: torch.zeros(len(x), 3), DATA, split=split))
    one_line_or_taken(lambda: limbeck.evaluate(lambda x: torch.zeros(len(x), 3), DATA, batch_size=batch_size))
    one_line_or_taken(lambda: limbeck.evaluate(lambda x: predict, DATA))
    one_line_or_taken(lambda: limbeck.evaluate(lambda x: torch.zeros(len(x), 3), DATA, test_time=predict))
    one_line_or_taken(
        lambda: limbeck.evaluate(lambda x: torch.zeros(len(x), 3), data, test_time={"flip": True}), lines=20
    )
    one_line_or_taken(lambda: limbeck.evaluate(lambda x: torch.zeros(len(x), 3), DATA, test_time={"shifts": data}))
    one_line_or_taken(lambda: limbeck.evaluate(lambda x: torch.zeros(len(x), 3), DATA, test_time={"scales": split}))


@given(train=strange, test=strange, labels=strange, names=strange)
@many
def test_dataset(train: Any, test: Any, labels: Any, names: Any) -> None:
    make = limbeck.Dataset.from_arrays
    pair = (DATA.train.images, DATA.train.labels)
    one_line_or_taken(lambda: make(train))
    one_line_or_taken(lambda: make(pair, test))
    one_line_or_taken(lambda: make(pair, validation=test))
    one_line_or_taken(lambda: make((train, labels)))
    one_line_or_taken(lambda: make((DATA.train.images, labels)))
    one_line_or_taken(lambda: make(pair, class_names=names))
    one_line_or_taken(lambda: make(pair, channels=names))


RECIPE: dict[str, Any] = {
    "name": "small", "data": {"source": "digits"}, "views": {"batch_size": 64}, "seeds": [0],
    "students": {"net": {"model": "lightweight_cnn", "epochs": 1, "optimizer": {"name": "sgd", "lr": 0.1},
                         "loss": [{"name": "cross_entropy"}]}},
}  # fmt: skip


@pytest.mark.parametrize("public", [limbeck.run, limbeck.sweep], ids=["run", "sweep"])
@given(value=strange)
@many
def test_run_and_sweep(public: Callable[..., Any], value: Any) -> None:
    one_line_or_taken(lambda: public(value), lines=20)
    one_line_or_taken(lambda: public({**RECIPE, "students": value}), lines=20)
    for argument in ("overrides", "folder", "name", "losses", "models", "make_watcher"):
        one_line_or_taken(lambda argument=argument: public(RECIPE, **{argument: value}), lines=20)


@given(path=strange, models=strange)
@many
def test_load(path: Any, models: Any) -> None:
    one_line_or_taken(lambda: limbeck.load(path))
    one_line_or_taken(lambda: limbeck.load("nowhere", models=models))


@given(images=strange)
@many
def test_a_loaded_model(images: Any) -> None:
    from limbeck.views.preprocess import InputFormat

    loaded = limbeck.LoadedModel(net(), ["a", "b", "c"], InputFormat(DATA.normalisation), (3, 4, 4), {})
    one_line_or_taken(lambda: loaded(images))
    one_line_or_taken(lambda: loaded.with_test_time(flip=True)(images))
    one_line_or_taken(lambda: loaded.with_test_time(flip=images))
    one_line_or_taken(lambda: loaded.with_test_time(shifts=1, scales=images))


@pytest.mark.parametrize("loss", limbeck.losses.__all__)
@given(student=strange, teacher=strange, targets=strange, option=strange)
@many
def test_losses(loss: str, student: Any, teacher: Any, targets: Any, option: Any) -> None:
    function, logits, labels = getattr(limbeck.losses, loss), torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64)
    one_line_or_taken(lambda: function(student, teacher, targets))
    one_line_or_taken(lambda: function(student, logits, labels))
    one_line_or_taken(lambda: function(logits, teacher, labels))
    one_line_or_taken(lambda: function(logits, logits, targets))
    for name in ("temperature", "label_smoothing", "standardise", "target_weight", "inter_weight", "nothing"):
        one_line_or_taken(lambda name=name: function(logits, logits, labels, **{name: option}))
