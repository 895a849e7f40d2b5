"""`distill(save_to=…)`: what is gone on with, and what is told apart."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import limbeck
from limbeck.errors import LimbeckError
from limbeck.training import code_fingerprint

G = torch.Generator().manual_seed(0)
DATA = limbeck.Dataset.from_arrays((torch.randint(0, 256, (60, 3, 4, 4), generator=G).byte(), torch.arange(60) % 3))
WORDS: dict[str, Any] = {"data": DATA, "views": {"batch_size": 16}, "precision": "fp32", "epochs": 2}


def net(seed: int, width: int = 8, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, width), activation(), nn.Linear(width, 3))


def source_of_a_loss(body: str) -> Any:
    """A function as it stands in a file: `body` is its last line."""
    space: dict[str, Any] = {"log_softmax": torch.log_softmax, "weights": torch.tensor([1.0, 1.0, 1.0])}
    text = f"def mine(student, teacher, targets, *, power=1.0):\n    q = log_softmax(student.logits, 1)\n    {body}\n"
    exec(compile(text, "mine.py", "exec"), space)
    return space["mine"]


FIRST = "return -q.gather(1, targets.labels[:, None])[:, 0] * weights[0]"


def run(folder: Path, student: nn.Module, teacher: Any = None, loss: Any = None, **words: Any) -> limbeck.Distilled:
    if loss and teacher is None:
        loss.NEEDS_TEACHER = False
    own = {"losses": {"mine": loss}, "loss": "mine"} if loss else {}
    return limbeck.distill(student, teacher, save_to=folder, **{**WORDS, **own, **words})


def told(*args: Any, **words: Any) -> str:
    with pytest.raises(LimbeckError) as caught:
        run(*args, **words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_equal_call_goes_on(tmp_path: Path) -> None:
    first = run(tmp_path / "kept", net(1), [net(2), net(3)], loss=source_of_a_loss(FIRST))
    again = run(tmp_path / "kept", net(1), [net(2), net(3)], loss=source_of_a_loss("# a comment\n    " + FIRST))
    for one, other in zip(first.student.parameters(), again.student.parameters(), strict=True):
        assert torch.equal(one, other)
    assert again.history == first.history


def test_a_fresh_student_of_equal_shapes_is_refused_and_can_be_given_its_start(tmp_path: Path) -> None:
    first = run(tmp_path / "kept", net(1))
    said = told(tmp_path / "kept", net(2))
    assert "the student had other weights at the start" in said
    assert "torch.manual_seed" in said
    assert "another save_to" in said
    student = net(2)
    student.load_state_dict(load_file(tmp_path / "kept" / "start.safetensors"))
    again = run(tmp_path / "kept", student)
    assert torch.equal(first.student[1].weight, again.student[1].weight)  # type: ignore[index]


def test_another_architecture_is_one_line(tmp_path: Path) -> None:
    run(tmp_path / "kept", net(1))
    assert "with another student (" in told(tmp_path / "kept", net(1, width=9))
    assert "the layers or the code of the student" in told(tmp_path / "kept", net(1, activation=nn.GELU))


@pytest.mark.parametrize(
    "changed",
    [
        "return -q.gather(1, targets.labels[:, None])[:, 0] * weights[1]",
        "return -2 * q.gather(1, targets.labels[:, None])[:, 0] * weights[0]",
        "return -q.mean(1) * weights[0]",
    ],
)
def test_an_edited_loss_is_refused(tmp_path: Path, changed: str) -> None:
    run(tmp_path / "kept", net(1), loss=source_of_a_loss(FIRST))
    assert "the loss 'mine' has changed" in told(tmp_path / "kept", net(1), loss=source_of_a_loss(changed))
    assert "losses of your own" in told(tmp_path / "kept", net(1))


def test_other_teachers_images_and_settings_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    run(folder, net(1), net(2))
    assert "other weights of teacher-0" in told(folder, net(1), net(3))
    assert "the layers or the code of teacher-0" in told(folder, net(1), net(2, activation=nn.GELU))
    assert "with 1 teacher, now 2" in told(folder, net(1), [net(2), net(3)])
    assert "other settings (seed)" in told(folder, net(1), net(2), seed=1)
    assert "other settings (training)" in told(folder, net(1), net(2), epochs=3)
    assert "other images" in told(folder, net(1), net(2), data=(DATA.train.images[:45], DATA.train.labels[:45]))
    run(folder, net(1), net(2))


def test_a_start_that_trained_nothing_binds_nobody(tmp_path: Path) -> None:
    def breaks(student: Any, teacher: Any, targets: Any) -> Tensor:
        raise ValueError("not yet")

    assert "not yet" in told(tmp_path / "kept", net(1), loss=breaks)
    run(tmp_path / "kept", net(5))


def test_a_folder_of_the_version_before_goes_on_and_says_what_it_cannot_tell(tmp_path: Path) -> None:
    first = run(tmp_path / "kept", net(1))
    (tmp_path / "kept" / "begun.json").unlink()
    lines: list[str] = []
    again = run(tmp_path / "kept", net(1), say=lines.append)
    assert torch.equal(first.student[1].weight, again.student[1].weight)  # type: ignore[index]
    assert any("so they cannot be compared" in line for line in lines)
    assert "does not fit student" in told(tmp_path / "kept", net(1, width=9))


def test_a_damaged_note_is_told(tmp_path: Path) -> None:
    run(tmp_path / "kept", net(1))
    for content in ("{", "[]", "{}", '{"student": 3}'):
        (tmp_path / "kept" / "begun.json").write_text(content)
        assert "damaged" in told(tmp_path / "kept", net(1))


def test_the_identity_of_a_folder_is_that_of_earlier_versions(tmp_path: Path) -> None:
    """Folders that they began are continued, so neither these settings nor the hash in a checkpoint may change."""
    pixels = (torch.arange(60 * 48) * 7919 % 256).byte().reshape(60, 3, 4, 4)
    teacher = net(1)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.copy_(torch.arange(parameter.numel()).reshape(parameter.shape) / 256)
    folder = tmp_path / "kept"
    half = limbeck.Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    run(
        folder, net(1), teacher, data=(pixels, torch.arange(60) % 3), epochs=1, clip_norm=1.0, ema={"decay": 0.9},
        student_normalisation=half, teacher_normalisation=half, outputs_bank={"limit_gb": 1.0},
    )  # fmt: skip
    input_format = (
        "InputFormat(normalisation=Normalisation(mean=(0.5, 0.5, 0.5), sd=(0.25, 0.25, 0.25)), resolution=None, "
        "interpolation='bilinear')"
    )
    assert json.loads((folder / "begun.json").read_text())["settings"] == {
        "training": {
            "model": {"name": "lightweight_cnn"}, "weights": None, "classes": None, "allow_near_chance": False,
            "normalise": None, "resolution": None, "interpolation": "bilinear", "epochs": 1,
            "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.0005},
            "schedule": {"name": "one_cycle", "peak": 0.25, "start_fraction": 0.0, "final_fraction": 0.0},
            "loss": [
                {"name": "soft_targets", "weight": 0.7, "warmup_epochs": 0.0, "temperature": 4.0},
                {"name": "cross_entropy", "weight": 0.3, "warmup_epochs": 0.0},
            ],
            "teacher": [{"name": "teacher", "weight": 1.0}], "clip_norm": 1.0, "ema": {"decay": 0.9}, "patience": None,
            "choose": "last", "precision": None, "views": None, "baseline": None,
        },
        "views": (
            "ViewRecipe(batch_size=16, padding=0, flip=False, resized_crop=None, policy=None, erasing=None, "
            "mixing=None, distinct_epochs=None)"
        ),
        "seed": 0,
        "precision": "fp32",
        "student's input": input_format,
        "teachers' input": f"[{input_format}]",
        "outputs_bank": True,
    }  # fmt: skip
    (checkpoint,) = (folder / "checkpoints").glob("step-*/manifest.json")
    assert json.loads(checkpoint.read_text())["info"]["identity"] == (
        "612e4c06a064086f69629a0fd6384a1be5097f0abee92017afd60e147566c23c"
    )


# What the hash of a function sees


def make(value: Any, default: Any = 1) -> Any:
    def closed(x: float, y: Any = default) -> Any:
        return (value, x, y)

    return closed


def test_values_closed_over_and_defaults_count() -> None:
    same = code_fingerprint.of_function
    assert same(make(1)) == same(make(1))
    assert same(make(torch.ones(3))) == same(make(torch.ones(3)))
    assert same(make({"a": [1, (2, "b")]})) == same(make({"a": [1, (2, "b")]}))
    different = [
        1,
        2,
        1.0,
        "1",
        None,
        torch.ones(3),
        torch.zeros(3),
        [1],
        (1,),
        {"a": 1},
        make(3),
        functools.partial(make, 1),
    ]
    hashes = [same(make(value)) for value in different] + [same(make(1, default=2))]
    assert len(set(hashes)) == len(hashes)


class Weighted:
    """A loss as an object."""

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.itself = self

    def __call__(self, student: Any, teacher: Any, targets: Any) -> Tensor:
        return self.weight * student.logits.mean()


def test_objects_count_with_their_attributes() -> None:
    same = code_fingerprint.of_function
    assert same(Weighted(1.0)) == same(Weighted(1.0))
    assert same(Weighted(1.0)) != same(Weighted(2.0))
    assert same(functools.partial(make, 1)) != same(functools.partial(make, 2))


HELPER_WEIGHT = 3.0


def helper(x: float) -> float:
    return HELPER_WEIGHT * x


def uses_helper(x: float) -> float:
    return helper(x)


def test_functions_and_values_of_the_same_module_count(monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_fingerprint.of_function(uses_helper)
    monkeypatch.setitem(globals(), "HELPER_WEIGHT", 4.0)
    changed = code_fingerprint.of_function(uses_helper)
    monkeypatch.setitem(globals(), "helper", lambda x: x)
    assert len({before, changed, code_fingerprint.of_function(uses_helper)}) == 3


def test_the_hash_is_the_same_in_another_process() -> None:
    code = (
        "import test_distill_continues as t; from limbeck.training.code_fingerprint import of_function as f;"
        "print(f(t.uses_helper), f(t.Weighted(1.0)), f(t.make({'a', 'b', 'c'})), f(t.source_of_a_loss(t.FIRST)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    here = map(
        code_fingerprint.of_function, (uses_helper, Weighted(1.0), make({"a", "b", "c"}), source_of_a_loss(FIRST))
    )
    assert told.stdout.split() == list(here)
