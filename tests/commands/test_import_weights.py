"""What `limbeck import` says, and that nothing is written where it does not fit or is not to be."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from limbeck.cli import app
from limbeck.commands.import_weights import import_file
from limbeck.errors import LimbeckError
from limbeck.models import resnet


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A CIFAR-like model in half precision, with its average and what lies beside."""
    state = {f"module.{name}": value for name, value in resnet.build(7, depth=8).half().state_dict().items()}
    whole = {
        "model": state,
        "model_ema": {name: value + 1 for name, value in state.items()},
        "accuracy": torch.tensor(71.3),
        "args": argparse.Namespace(lr=0.1),
    }
    torch.save(whole, tmp_path / "c.pth")
    return tmp_path / "c.pth"


def test_what_was_taken_is_said(checkpoint: Path, tmp_path: Path) -> None:
    lines = import_file(checkpoint, tmp_path / "w.safetensors", model="resnet", options=["depth=8"])
    written = load_file(tmp_path / "w.safetensors")
    parameters = sum(value.numel() for value in written.values())
    assert written["head.weight"].dtype == torch.float16
    assert lines[0] == f"{tmp_path}/w.safetensors: {len(written)} tensors, {parameters:,} parameters, float16"
    assert lines[1:4] == [
        "  imported key: model",
        "  other weights in the file: model_ema (import them with --key model_ema)",
        "  prefix removed from all names: module.",
    ]
    assert lines[4].startswith("  names: ")
    assert lines[5] == "  ignored objects of unknown classes: argparse.Namespace"
    assert lines[6] == "  fits: resnet, 7 classes"


def test_a_dry_run_writes_nothing(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(
        app, ["import", "c.pth", "depth=8", "--dry-run", "--model", "resnet", "--classes", "7", "--key", "model_ema"]
    )
    assert done.exit_code == 0, done.output
    assert "not written (--dry-run)" in done.output
    assert "imported key: model_ema" in done.output
    assert "fits: resnet, 7 classes" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["c.pth"]


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"model": "resnet20"}, "c.pth: resnet20: does not match the model: "),
        (
            {"model": "resnet", "options": ["depth=8"], "classes": 10},
            "has 7 classes, but the model needs 10",
        ),
    ],
)
def test_what_does_not_fit_is_not_written(asked: dict, said: str, dry_run: bool, checkpoint, tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=said):
        import_file(checkpoint, tmp_path / "w.safetensors", dry_run=dry_run, **asked)
    assert [path.name for path in tmp_path.iterdir()] == ["c.pth"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"model": "resnt20"}, "did you mean 'resnet20'"),
        ({"model": "resnet", "options": ["dept=8"]}, "--model resnet: dept: .* did you mean 'depth'"),
        ({"classes": 7}, "--classes 7: needs a model"),
        ({"options": ["depth=8"]}, "depth=8: needs a model"),
    ],
)
def test_words_that_make_no_sense(asked: dict, said: str, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=said):
        import_file(checkpoint, tmp_path / "w.safetensors", **asked)
    assert not (tmp_path / "w.safetensors").exists()


def test_a_head_of_any_classes_is_no_misfit(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match="missing") as raised:
        import_file(checkpoint, tmp_path / "w.safetensors", model="resnet20", dry_run=True)
    assert "head.weight" not in str(raised.value)


def test_names_in_a_file_do_nothing_to_a_terminal(tmp_path: Path) -> None:
    torch.save({"\x1b[31mfc.weight": torch.rand(2, 3)}, tmp_path / "c.pth")
    assert not any("\x1b" in line for line in import_file(tmp_path / "c.pth", tmp_path / "w.safetensors"))
