"""Checkpoints as people's trainers write them: the weights that are meant, or a refusal that lists the places.

The files are real pickles. They are read here by what the limited process runs, to save a start for each.
"""

from __future__ import annotations

import argparse
import collections
import enum
import pathlib
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from limbeck.models import resnet
from limbeck.weights import checkpoint_reader
from limbeck.weights.checkpoint_layout import RejectedError, choose
from limbeck.weights.import_checkpoint import import_weights
from limbeck.weights.inert_classes import Inert
from limbeck.weights.load import load_weights


class Net(nn.Module):
    """Names as of any model: layers, BatchNorm's counts, a parameter of its own."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, 5)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))


class Mode(enum.Enum):
    FAST = 1


class Settings(dict):
    """A mapping of their own, as experiment frameworks have."""


class History(list):
    pass


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(Net().state_dict())


def averaged(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value + 1 for name, value in weights.items()}


def under(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in weights.items()}


def optimizer_state() -> dict:
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters())
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    return optimizer.state_dict()


def imported(checkpoint: object, folder: Path, key: str | None = None, **save) -> tuple[dict[str, Tensor], dict]:
    """What the limited process writes and says."""
    torch.save(checkpoint, folder / "c.pth", **save)
    held = checkpoint_reader.read(str(folder / "c.pth"))
    choice = choose(held) if key is None else None
    tensors, left_out = checkpoint_reader.plain_tensors(checkpoint_reader.state_dict(held, key), 1 << 24)
    return tensors, {"choice": choice, "left_out": left_out}


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


SHAPES = {
    "ImageNet example": lambda w: {
        "epoch": 3, "arch": "resnet18", "state_dict": under("module.", w), "best_acc1": torch.tensor(71.3),
        "optimizer": optimizer_state(), "scheduler": {"last_epoch": 3},
    },
    "DeiT": lambda w: {
        "model": w, "optimizer": optimizer_state(), "lr_scheduler": {"step": 2}, "epoch": 3, "scaler": {"scale": 1.0},
        "model_ema": averaged(w), "args": argparse.Namespace(lr=0.1, output_dir=pathlib.PurePosixPath("/x")),
    },
    "timm": lambda w: {
        "epoch": 3, "arch": "x", "state_dict": w, "state_dict_ema": averaged(w), "optimizer": optimizer_state(),
        "args": argparse.Namespace(lr=0.1), "version": 2, "amp_scaler": {"scale": 1.0}, "metric": 0.7,
    },
    "torchvision references": lambda w: {
        "model": w, "optimizer": optimizer_state(), "lr_scheduler": {"base_lrs": [0.1]}, "epoch": 3,
        "args": argparse.Namespace(model="resnet18"),
        "model_ema": {"n_averaged": torch.tensor(4)} | averaged(under("module.", w)),
    },
    "Lightning": lambda w: {
        "epoch": 3, "global_step": 10, "pytorch-lightning_version": "2.1", "loops": {"fit_loop": {"state_dict": {}}},
        "state_dict": under("model.", w) | {"criterion.weight": torch.ones(5), "val_acc.correct": torch.tensor(3.0)},
        "optimizer_states": [optimizer_state()], "lr_schedulers": [{"last_epoch": 3}],
        "hyper_parameters": Settings(lr=0.1, mode=Mode.FAST), "hparams_name": "kwargs",
        "callbacks": {"ModelCheckpoint{'monitor': 'x'}": {"best_model_score": torch.tensor(0.7)}},
    },
    "Lightning with an average": lambda w: {"state_dict": under("net.", w) | under("ema_model.", averaged(w))},
    "distillation literature": lambda w: {"epoch": 240, "model": w, "best_acc": torch.tensor(72.9)},
    "NumPy accuracy": lambda w: {"net": w, "acc": np.float64(93.1), "curve": np.arange(4.0), "epoch": np.int64(3)},
    "generator states": lambda w: {
        "model_state_dict": w, "rng": torch.get_rng_state(), "numpy_rng": np.random.get_state(),
        "python_rng": random.getstate(), "cuda_rng": [torch.get_rng_state()], "class_weights": torch.rand(5),
    },
    "containers": lambda w: {
        "model": Settings(w), "meters": collections.defaultdict(list, loss=[1.0]), "last": collections.deque([0.1]),
        "history": History([0.1]), "seen": frozenset({1}), "mode": Mode.FAST, "span": slice(1, 2), "of": range(3),
    },
    "nested twice": lambda w: {"checkpoint": {"model": {"state_dict": w}, "epoch": torch.tensor(3)}},
    "the same under two names": lambda w: {"model": w, "state_dict": w},
    "compiled and parallel": lambda w: {"network": under("module._orig_mod.", w)},
    "an average alone": lambda w: {"ema": under("module.", w), "epoch": 3},
    "bare": lambda w: collections.OrderedDict(w),
    "bare beside records": lambda w: w | {
        "epoch": torch.tensor(3), "best_acc1": torch.tensor(0.7), "optimizer": optimizer_state(),
    },
    "student alone": lambda w: {"state_dict": under("student.", w), "temperature": torch.tensor(4.0)},
    "DeepSpeed": lambda w: {"module": w, "optimizer": None, "global_steps": 3, "loss_scaler": Settings(a=1)},
    "SWA": lambda w: torch.optim.swa_utils.AveragedModel(Net()).state_dict() | under("module.", w),
    "weighted loss": lambda w: {
        "model": w, "criterion": {"weight": torch.rand(5)}, "loss_state": {"center.weight": torch.rand(3, 4)},
    },
    "one layer": lambda w: {"model": {"weight": torch.ones(2, 3), "bias": torch.ones(2)}, "epoch": 3},
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("zipped", [True, False])
def test_the_weights_that_are_meant(shape: str, zipped: bool, weights, tmp_path: Path) -> None:
    found, _ = imported(SHAPES[shape](weights), tmp_path, _use_new_zipfile_serialization=zipped)
    assert same(found, weights if shape != "one layer" else {"weight": torch.ones(2, 3), "bias": torch.ones(2)})


@pytest.mark.parametrize("shape", ["DeiT", "timm", "torchvision references", "Lightning with an average"])
def test_an_average_beside_is_named_and_can_be_had(shape: str, weights, tmp_path: Path) -> None:
    _, said = imported(SHAPES[shape](weights), tmp_path)
    (other,) = said["choice"].others
    found, _ = imported(SHAPES[shape](weights), tmp_path, key=other)
    assert same(found, averaged(weights))


def test_what_belongs_to_the_training_is_left_out_and_said(weights, tmp_path: Path) -> None:
    _, said = imported(SHAPES["Lightning"](weights), tmp_path)
    assert said["left_out"] == ["criterion.weight", "val_acc.correct"]
    _, said = imported(SHAPES["bare beside records"](weights), tmp_path)
    assert said["left_out"] == ["epoch", "best_acc1", "optimizer"]


AMBIGUOUS = {
    "DINO": (lambda w: {"student": under("module.", w), "teacher": averaged(w)}, ["student", "teacher"]),
    "one state_dict of both": (
        lambda w: {"state_dict": under("student.", w) | under("teacher.", averaged(w))},
        ["state_dict.student", "state_dict.teacher"],
    ),
    "MoCo": (
        lambda w: {
            "state_dict": under("module.encoder_q.", w)
            | under("module.encoder_k.", averaged(w))
            | {"module.queue": torch.rand(4, 8)}
        },
        ["state_dict.encoder_q", "state_dict.encoder_k"],
    ),
    "a GAN": (lambda w: {"generator": w, "discriminator": averaged(w)}, ["generator", "discriminator"]),
    "the best too": (lambda w: {"state_dict": w, "best_state_dict": averaged(w)}, ["state_dict", "best_state_dict"]),
    "parts": (lambda w: {"backbone": w, "head": averaged(w), "epoch": 3}, ["backbone", "head"]),
    "a list": (lambda w: {"models": [w, averaged(w)]}, ["models.0", "models.1"]),
}


@pytest.mark.parametrize("shape", AMBIGUOUS)
def test_several_weights_are_listed(shape: str, weights, tmp_path: Path) -> None:
    make, keys = AMBIGUOUS[shape]
    with pytest.raises(RejectedError, match="it contains several sets of weights; choose one with `--key`: ") as raised:
        imported(make(weights), tmp_path)
    for key in keys:
        assert f"{key} ({len(weights)} tensors, " in str(raised.value)
    first, _ = imported(make(weights), tmp_path, key=keys[0])
    second, _ = imported(make(weights), tmp_path, key=keys[1])
    assert same(first, weights)
    assert same(second, averaged(weights))


STRAY = {
    "an accuracy": lambda w: {"best_acc1": torch.tensor([0.7]), "epoch": 3},
    "class weights": lambda w: {"weight": torch.rand(5), "config": {"lr": 0.1}},
    "a loss's": lambda w: {"loss": {"weight": torch.rand(5)}, "epoch": 3},
    "an optimizer": lambda w: {"optimizer": optimizer_state(), "epoch": 3},
    "an optimizer alone": lambda w: optimizer_state(),
    "a generator's state": lambda w: {"rng": torch.get_rng_state()},
    "statistics": lambda w: {"stats": {"mean": torch.rand(3), "std": torch.rand(3)}},
    "curves": lambda w: {"logs": {"val.acc": torch.tensor(0.7), "val.loss": torch.rand(9)}},
    "nothing": lambda w: {},
    "a list": lambda w: [torch.rand(3, 3)],
    "a tensor": lambda w: torch.rand(3, 3),
}


@pytest.mark.parametrize("shape", STRAY)
def test_tensors_that_are_no_weights(shape: str, weights, tmp_path: Path) -> None:
    with pytest.raises(RejectedError, match="it contains no weights"):
        imported(STRAY[shape](weights), tmp_path)


@pytest.mark.parametrize("beside", [{}, {"ema": None}, {"projector": None}])
def test_a_whole_model_within_is_named(beside: dict, weights, tmp_path: Path) -> None:
    """A model's object is not built; what lies beside it is not taken for it."""
    checkpoint = {"epoch": 3, "model": Net(), "weight": torch.rand(5), **dict.fromkeys(beside, weights)}
    with pytest.raises(
        RejectedError, match=r"'model' is a whole pickled model \(\S*Net\).*save `model.state_dict\(\)`"
    ):
        imported(checkpoint, tmp_path)


class Asks:
    """Unpickled the usual way, it calls what it is given."""

    def __init__(self, function, *arguments) -> None:
        self.called = (function, arguments)

    def __reduce__(self):
        return self.called


def leave_trace(path: str) -> None:
    Path(path).touch()


def test_the_unknown_is_dropped_without_its_code(weights, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({"model": weights, "x": Asks(leave_trace, str(trace))}, tmp_path / "c.pth")
    dropped: list[str] = []
    held = checkpoint_reader.read(str(tmp_path / "c.pth"), dropped)
    assert isinstance(held["x"], Inert)
    assert not hasattr(held["x"], "__dict__")
    assert dropped == [f"{__name__}.leave_trace"]
    assert same(checkpoint_reader.state_dict(held, None), weights)
    assert not trace.exists()
    torch.load(tmp_path / "c.pth", weights_only=False)
    assert trace.exists(), "the file calls it indeed"


@pytest.mark.parametrize(
    ("function", "name"),
    [(eval, "builtins.eval"), (exec, "builtins.exec"), (torch.load, "torch.serialization.load"), (open, "io.open"),
     (torch.hub.load, "torch.hub.load"), (np.load, "numpy.load"), (__import__, "builtins.__import__")],
)  # fmt: skip
@pytest.mark.parametrize("zipped", [True, False])
def test_what_runs_code_is_refused(function, name: str, zipped: bool, weights, tmp_path: Path) -> None:
    torch.save({"model": weights, "x": Asks(function, "1")}, tmp_path / "c.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(RejectedError, match=f"asks to run '{name}'"):
        checkpoint_reader.read(str(tmp_path / "c.pth"))


def test_classes_without_end_are_refused(weights, tmp_path: Path) -> None:
    unknown = [type(f"C{number}", (), {"__module__": __name__}) for number in range(120)]
    globals().update({kind.__name__: kind for kind in unknown})
    torch.save({"model": weights, "x": [kind() for kind in unknown]}, tmp_path / "c.pth")
    with pytest.raises(RejectedError, match="more than 100 unknown classes"):
        checkpoint_reader.read(str(tmp_path / "c.pth"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precision_is_kept(dtype: torch.dtype, weights, tmp_path: Path) -> None:
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in weights.items()}
    found, _ = imported({"state_dict": state}, tmp_path)
    assert same(found, state)
    assert found["conv1.weight"].dtype == dtype


def test_shared_tensors_and_hugging_face_names(tmp_path: Path) -> None:
    table = torch.rand(6, 4)
    state = {
        "vit.embeddings.cls_token": torch.rand(1, 1, 4),
        "vit.encoder.layer.0.attention.attention.query.weight": table,
        "vit.embeddings.patch_embeddings.projection.weight": table,
        "vit.layernorm.weight": table[0],
        "classifier.weight": torch.rand(3, 4),
    }
    torch.save(state, tmp_path / "pytorch_model.bin")
    done = import_weights(tmp_path / "pytorch_model.bin", tmp_path / "w.safetensors")
    assert same(load_file(done.path), state)
    assert (done.tensors, done.prefix, done.key) == (5, "", "")


def test_names_of_body_and_head_are_kept_and_fit(tmp_path: Path) -> None:
    """As MMPretrain's: `backbone.` before the body, `head.` before the head, `meta` beside."""
    source = resnet.build(5, depth=8)
    state = {
        f"head.{name}" if name.startswith("head.") else f"backbone.{name}": value
        for name, value in source.state_dict().items()
    }
    torch.save({"meta": {"epoch": 3, "seed": np.int64(1)}, "state_dict": state}, tmp_path / "c.pth")
    done = import_weights(tmp_path / "c.pth", tmp_path / "w.safetensors")
    assert same(load_file(done.path), state)
    assert done.key == "state_dict"
    assert "numpy" in " ".join(done.dropped)
    target = resnet.build(5, depth=8)
    load_weights(target, done.path)
    assert same(dict(source.state_dict()), dict(target.state_dict()))


def test_numbers_that_are_not_there_or_packed_are_refused(tmp_path: Path) -> None:
    packed = torch.quantize_per_tensor(torch.rand(3, 3), 0.1, 0, torch.qint8)
    for tensor, said in ((packed, "is quantised"), (torch.empty(3, 3, device="meta"), "has no values")):
        with pytest.raises(RejectedError, match=said):
            imported({"fc.weight": tensor, "fc.bias": torch.rand(3)}, tmp_path)


def test_a_checkpoint_that_holds_itself(weights, tmp_path: Path) -> None:
    checkpoint: dict = {"model": weights}
    checkpoint["self"] = [checkpoint]
    found, _ = imported(checkpoint, tmp_path)
    assert same(found, weights)


scalars = st.one_of(st.integers(), st.floats(), st.text(max_size=5), st.none())
stray_tensors = st.sampled_from([(), (1,), (5,), (2, 3)]).map(torch.zeros) | st.just(torch.zeros(3, dtype=torch.uint8))
stray_names = st.sampled_from(
    ["epoch", "best_acc1", "loss", "class_weights", "rng", "weight", "bias", "mean", "config", "args", "logs", "extra"]
)
clutter = st.recursive(
    scalars | stray_tensors,
    lambda inner: st.dictionaries(stray_names, inner, max_size=4) | st.lists(inner, max_size=3),
    max_leaves=8,
)
place_names = st.sampled_from(["state_dict", "model", "model_state_dict", "net", "weights", "checkpoint", "my_model"])
quick = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


@settings(quick, max_examples=80)
@given(
    path=st.lists(place_names, max_size=3),
    beside=st.lists(st.dictionaries(stray_names, clutter, max_size=5), min_size=4, max_size=4),
    prefix=st.sampled_from(["", "module.", "module._orig_mod.", "model.", "net.", "backbone.", "student.", "teacher."]),
    twin=st.sampled_from([None, "ema", "model_ema", "other"]),
)
def test_random_checkpoints_give_the_weights_or_the_places(path, beside, prefix, twin, weights) -> None:
    state = under(prefix, weights)
    checkpoint: dict = {**state}
    for level, name in enumerate(reversed(path)):
        checkpoint = {**beside[level], name: checkpoint}
        if level == len(path) - 1 and twin:
            checkpoint[twin] = averaged(state)
    try:
        found, _ = checkpoint_reader.plain_tensors(checkpoint_reader.state_dict(checkpoint, None), 1 << 24)
    except RejectedError as refusal:
        said = str(refusal)
        assert "choose one with `--key`" in said
        key = ".".join(path)
        assert f"{key} ({len(state)} tensors" in said
        assert same(checkpoint_reader.plain_tensors(checkpoint_reader.state_dict(checkpoint, key), 1 << 24)[0], weights)
        return
    assert same(found, weights)


@settings(quick, max_examples=80)
@given(top=st.dictionaries(stray_names, clutter, max_size=5), scalar=scalars)
def test_random_checkpoints_without_weights_give_none(top, scalar) -> None:
    with pytest.raises(RejectedError, match="it contains no weights"):
        checkpoint_reader.state_dict({**top, "version": scalar}, None)


def test_the_literature_s_checkpoint_goes_into_our_model(tmp_path: Path) -> None:
    source, target = resnet.build(5, depth=8), resnet.build(5, depth=8)
    torch.save({"state_dict": under("module.student.", source.state_dict())}, tmp_path / "c.pth")
    done = import_weights(tmp_path / "c.pth", tmp_path / "w.safetensors")
    assert done.prefix == "module.student."
    load_weights(target, done.path)
    assert same(dict(source.state_dict()), dict(target.state_dict()))
