"""`distill` with losses that train modules of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import limbeck
from feature_losses import LOSSES
from limbeck.errors import LimbeckError
from limbeck.models import resnet
from limbeck.storage import checkpoint
from limbeck.training.snapshot import unpack

G = torch.Generator().manual_seed(0)
DATA = limbeck.Dataset.from_arrays((torch.randint(0, 256, (60, 3, 8, 8), generator=G).byte(), torch.arange(60) % 3))
WORDS: dict[str, Any] = {
    "data": DATA, "views": {"batch_size": 16}, "precision": "fp32", "epochs": 3, "losses": LOSSES,
    "loss": [{"name": "hint", "stage": 1}, {"name": "overhaul", "weight": 0.3}, {"name": "cross_entropy"}],
    "ema": {"decay": 0.9}, "clip_norm": 1.0,
}  # fmt: skip


def net(seed: int, *widths: int) -> nn.Module:
    torch.manual_seed(seed)
    return resnet.build(3, depth=8, stem=4, widths=widths)


def distilled(folder: Path | None, **words: Any) -> limbeck.Distilled:
    return limbeck.distill(net(1, 4, 6, 8), net(2, 8, 8, 12), save_to=folder, **{**WORDS, **words})


def objective(folder: Path) -> dict[str, Tensor]:
    last = checkpoint.newest(folder / "checkpoints")
    assert last is not None
    return unpack("student", last.path)["objective"]


def test_a_call_that_was_broken_off_ends_with_the_same_student_and_states(tmp_path: Path) -> None:
    whole = distilled(tmp_path / "whole")

    class Broken(Exception):
        pass

    for at in (0.6, 1.7):

        def stop(done: float, epochs: int, at: float = at) -> None:
            if done > at:
                raise Broken

        with pytest.raises(Broken):
            distilled(tmp_path / "broken", watcher=limbeck.Watcher(step=stop))
    again = distilled(tmp_path / "broken")
    for name, value in whole.student.state_dict().items():
        assert torch.equal(value, again.student.state_dict()[name]), name
    expected, ended = objective(tmp_path / "whole"), objective(tmp_path / "broken")
    assert {name.split(".")[1] for name in ended} == {"hint", "overhaul"}
    assert ended.keys() == expected.keys()
    assert all(value.equal(expected[name]) for name, value in ended.items())


def test_a_state_changes_what_is_learned_and_not_where_it_begins(tmp_path: Path) -> None:
    with_states, plain = distilled(None), distilled(None, loss="cross_entropy")
    first, other = (next(iter(one.student.parameters())) for one in (with_states, plain))
    assert not torch.equal(first, other)
    repeated = distilled(None, loss=[{"name": "cross_entropy"}, {"name": "hint", "weight": 0.0}])
    for name, value in plain.student.state_dict().items():
        assert torch.equal(value, repeated.student.state_dict()[name]), f"{name}: a state of no weight changes nothing"


def test_features_of_two_teachers_are_refused_in_one_line() -> None:
    teachers = [net(2, 8, 8, 12), net(3, 8, 8, 12)]
    with pytest.raises(
        LimbeckError, match=r"^[^\n]*'hint' compares features, and 2 teachers have none in common[^\n]*$"
    ):
        limbeck.distill(net(1, 4, 6, 8), teachers, **WORDS)


def test_a_loss_without_a_teacher_may_have_a_state() -> None:
    """Deep supervision: a second head, on an early stage."""

    def early(student: Any, teacher: Any, targets: Any, *, state: nn.Module) -> Tensor:
        return nn.functional.cross_entropy(state(student.features[0].mean((2, 3))), targets.labels, reduction="none")

    def head(student_shapes: Any, teacher_shapes: Any) -> nn.Module:
        assert teacher_shapes is None
        return nn.Linear(student_shapes.features[0][1], student_shapes.logits[1])

    early.NEEDS_TEACHER, early.NEEDS_FEATURES, early.state = False, True, head  # type: ignore[attr-defined]
    words = {**WORDS, "losses": {"early": early}, "loss": ["early", "cross_entropy"]}
    done = limbeck.distill(net(1, 4, 6, 8), None, **words)
    assert len(done.history) == 3
    assert "train_early" in done.history[0]
