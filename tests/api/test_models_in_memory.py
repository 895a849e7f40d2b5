"""What people bring to `distill` as students, teachers and data, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import limbeck
from limbeck.api.models import averaged_outputs
from limbeck.building.data import load_images
from limbeck.errors import LimbeckError
from limbeck.recipes.recipe import Data
from limbeck.views.preprocess import InputFormat, prepare

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

G = torch.Generator().manual_seed(0)
IMAGES = torch.randint(0, 256, (60, 3, 8, 8), generator=G).byte()
LABELS = torch.arange(60) % 3
WORDS: dict[str, Any] = {"data": (IMAGES, LABELS), "views": {"batch_size": 12}, "precision": "fp32", "epochs": 1}


def net(seed: int = 0, channels: int = 3) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    )


def distill(student: Any, teacher: Any = None, **words: Any) -> limbeck.Distilled:
    return limbeck.distill(student, teacher, **{**WORDS, **words})


def told(student: Any, teacher: Any = None, **words: Any) -> str:
    with pytest.raises(LimbeckError) as caught:
        distill(student, teacher, **words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_evaluate_measures_with_test_time_augmentation_beside_the_function() -> None:
    module, split = net().eval(), limbeck.Split(IMAGES, LABELS)

    def predict(images: Tensor) -> Tensor:
        return module(images / 255)

    alone = limbeck.evaluate(predict, split)
    found = limbeck.evaluate(predict, split, test_time={"flip": True, "shifts": 1})
    assert alone.test_time is None and replace(found, test_time=None) == alone
    assert found.test_time is not None and found.test_time.views == 10
    assert found.test_time.gain.difference == pytest.approx(found.test_time.evaluation.top1 - alone.top1, abs=1e-12)
    for test_time, said in (
        ({"flop": True}, "test_time: flop: unknown key; did you mean 'flip'? (got true)"),
        ({"shifts": 8}, "test_time.shifts: a shift of 8 px leaves nothing of images of 8 x 8 px; takes at most 7"),
        (True, "test_time takes a mapping, such as {'flip': True, 'shifts': 2}; got True"),
    ):
        with pytest.raises(LimbeckError) as caught:
            limbeck.evaluate(predict, split, test_time=test_time)  # type: ignore[arg-type]
        assert str(caught.value) == said


@dataclass
class Answer:
    logits: Tensor


class Answering(nn.Module):
    """A net that answers in the way of some library."""

    def __init__(self, wrap: Callable[[Tensor], Any], seed: int = 0) -> None:
        super().__init__()
        self.net, self.wrap = net(seed), wrap

    def forward(self, pixels: Tensor) -> Any:
        return self.wrap(self.net(pixels))


WRAPS = {
    "tuple": lambda x: (x, x * 0), "dict": lambda x: {"logits": x}, "out": lambda x: {"out": x}, "object": Answer,
}  # fmt: skip


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_whatever_holds_logits_teaches_and_learns_as_bare_logits_do(wrap: Callable[[Tensor], Any]) -> None:
    bare = distill(net(0), net(1))
    wrapped = distill(Answering(wrap, 0), Answering(wrap, 1))
    assert torch.equal(bare.student[0].weight, wrapped.student.net[0].weight)  # type: ignore[index,union-attr]
    assert wrapped.test.agreement == bare.test.agreement is not None


@pytest.mark.parametrize(
    "answer",
    [lambda x: None, lambda x: [], lambda x: x.argmax(1), lambda x: {"a": x}],
    ids=["None", "[]", "int", "dict"],
)
def test_what_holds_none_is_one_line(answer: Callable[[Tensor], Any]) -> None:
    assert "a model must answer with floating-point logits" in told(Answering(answer))
    assert "a model must answer with floating-point logits" in told(net(), Answering(answer))


def teachers() -> dict[str, Any]:
    plain = net(1).eval()
    return {
        "module": plain,
        "scripted": torch.jit.script(plain),
        "traced": torch.jit.trace(plain, torch.zeros(2, 3, 8, 8)),
        "frozen": torch.jit.freeze(torch.jit.script(plain)),
        "function": lambda pixels: plain(pixels),
    }


@pytest.mark.parametrize("kind", ["scripted", "traced", "frozen", "function"])
def test_scripted_teachers_and_functions_teach_as_the_module_does(kind: str) -> None:
    brought = teachers()
    first, other = (distill(net(0), brought[k]) for k in ("module", kind))
    torch.testing.assert_close(first.student[0].weight, other.student[0].weight, rtol=1e-3, atol=1e-4)  # type: ignore[index]
    assert other.test.agreement is not None


def test_functions_and_frozen_modules_are_told_apart(tmp_path: Path) -> None:
    one, other = net(1).eval(), net(2).eval()
    assert "are the same model" in told(net(), [lambda x: one(x), lambda x: one(x)])
    distill(net(), [torch.jit.freeze(torch.jit.script(one)), torch.jit.freeze(torch.jit.script(other))])
    distill(net(), lambda x: one(x), save_to=tmp_path / "kept")
    distill(net(), lambda x: one(x), save_to=tmp_path / "kept")
    assert "another save_to" in told(net(), lambda x: 2 * one(x), save_to=tmp_path / "kept")


def test_several_teachers_are_compared_with_as_the_ensemble_that_was_heard() -> None:
    one, two = net(1), net(2)
    done = distill(net(0), [one, two])
    assert done.test.agreement is not None
    alone = distill(net(0), one)
    assert alone.test.kl_to_reference != done.test.kl_to_reference

    images = limbeck.Dataset.from_arrays((IMAGES, LABELS))
    pixels = prepare(images.test.images, InputFormat(images.normalisation))
    with torch.no_grad():
        heard = (one.eval()(pixels).softmax(1) + two.eval()(pixels).softmax(1)) / 2
        answers = done.student(pixels)
    assert done.test.agreement == pytest.approx((heard.argmax(1) == answers.argmax(1)).float().mean().item())
    divergence = (heard * (heard.log() - answers.log_softmax(1))).sum(1).mean().item()
    assert done.test.kl_to_reference == pytest.approx(divergence, rel=1e-3)


@pytest.mark.parametrize(
    ("student", "said"),
    [
        (nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(3)), "nothing to train: it has no parameters"),
        (net().requires_grad_(False), "none of its 6 parameters requires a gradient; student.requires_grad_"),
        (Answering(lambda x: x.detach()), "its logits carry no gradient"),
        (lambda x: x, "takes a torch module that can be trained; got function"),
        (nn.Linear, "got the class Linear"),
        (None, "got NoneType"),
    ],
)
def test_a_student_with_nothing_to_train_is_one_line(student: Any, said: str) -> None:
    assert said in told(student, net(1))


@pytest.mark.parametrize("teacher", [3, "resnet20", nn.Linear, [net(1), "x"], {"a": net(1)}, object()])
def test_what_is_no_teacher_is_one_line(teacher: Any) -> None:
    assert told(net(), teacher).startswith("teacher-")


class Heads(nn.Module):
    """Several logits while it is trained. In eval mode: the first (`auxiliary`) or the mean of both (`tokens`)."""

    def __init__(self, mean: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.first, self.second = nn.Flatten(), nn.Linear(192, 3), nn.Linear(192, 3)
        self.mean = mean

    def forward(self, pixels: Tensor) -> Any:
        flat = self.body(pixels)
        one, two = self.first(flat), self.second(flat)
        if self.training:
            return one, two
        return (one + two) / 2 if self.mean else one


def test_auxiliary_heads_are_left_alone_and_two_tokens_are_trained_by_their_mean() -> None:
    for mean in (False, True):
        student = Heads(mean)
        before = student.second.weight.detach().clone()
        distill(student, net(1), optimizer={"name": "sgd", "lr": 0.1})
        assert torch.equal(before, student.second.weight) is not mean
        assert student._forward_hooks == {}
        pixels = torch.randn(4, 3, 8, 8)
        with averaged_outputs(student, pixels):
            assert isinstance(student.train()(pixels), tuple) is not mean
            assert isinstance(student.eval()(pixels), Tensor)


class Raising(nn.Module):
    """Breaks in the way that is asked for."""

    def __init__(self, error: Exception, while_training: bool) -> None:
        super().__init__()
        self.net, self.error, self.late = net(), error, while_training

    def forward(self, pixels: Tensor) -> Tensor:
        if self.training or not self.late:
            raise self.error
        return self.net(pixels)


@pytest.mark.parametrize(
    "error", [AssertionError("224"), KeyError("x"), TypeError("y"), ZeroDivisionError(), IndexError("z")]
)
@pytest.mark.parametrize("late", [False, True])
def test_whatever_a_model_raises_is_one_line(error: Exception, late: bool) -> None:
    assert "student" in told(Raising(error, late))
    if not late:
        assert told(net(), Raising(error, late)).startswith("teacher-0")


def test_batch_norm_of_a_batch_of_one_is_one_line() -> None:
    small = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    assert "cannot learn from one image: raise views.batch_size" in told(small, views={"batch_size": 1})
    distill(small, views={"batch_size": 5})  # 48 images: what does not fill a batch is left out


# Channels

GREY = IMAGES[:, 0]


def test_grey_images_stay_grey_for_a_model_of_one_channel() -> None:
    assert distill(net(0, 1), net(1, 1), data=(GREY, LABELS)).test.agreement is not None


def test_a_source_of_grey_images_is_given_as_one_channel() -> None:
    torch.manual_seed(0)
    one, three = (nn.Sequential(nn.Conv2d(c, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)) for c in (1, 3))
    done = distill(one, three, data="digits", epochs=1, views={"batch_size": 256})
    assert done.test.n == 359


@pytest.mark.parametrize(("student", "teacher"), [(1, 3), (3, 1), (3, 3)])
def test_grey_images_are_repeated_for_a_model_of_three_channels(student: int, teacher: int) -> None:
    seen: list[int] = []

    class Noting(Answering):
        def forward(self, pixels: Tensor) -> Any:
            seen.append(pixels.shape[1])
            assert torch.equal(pixels[:, :1].expand_as(pixels), pixels)
            return super().forward(pixels)

    asked = Noting(lambda x: x)
    asked.net = net(1, teacher)
    distill(net(0, student), asked, data=(GREY, LABELS))
    assert seen[-1] == teacher


def test_colours_for_a_model_of_one_channel_are_told_as_channels() -> None:
    assert "the model takes 1 channels, the images have 3" in told(net(0, 1))
    assert "the model takes 1 channels, the images have 3" in told(net(), net(1, 1))
    assert "normalisation" in told(net(), student_normalisation=limbeck.Normalisation((0.5,), (0.5,)))


def test_views_of_colours_alone_are_told() -> None:
    grey = {"data": (GREY, LABELS)}
    assert "views.policy" in told(net(0, 1), **grey, views={"batch_size": 12, "policy": {"name": "randaugment"}})
    noise = {"batch_size": 12, "erasing": {"fill": "noise"}}
    assert "views.erasing" in told(net(0, 1), **grey, views=noise)
    for views in (
        {"erasing": {}},
        {"resized_crop": {}},
        {"mixing": {"mixup": 0.8}},
        {"crop": {"padding": 2}, "flip": True},
    ):
        distill(net(0, 1), **grey, views={"batch_size": 12, **views})


# What is loaded, shown and watched


def test_a_loaded_model_teaches_with_its_own_preprocessing(tmp_path: Path) -> None:
    recipe = {
        "name": "own", "precision": "fp32", "evaluation": {"latency_batch": 0}, "data": {"source": "digits"},
        "views": {"batch_size": 64},
        "students": {"net": {"model": "lightweight_cnn", "epochs": 2, "optimizer": {"name": "adam", "lr": 3e-3},
                             "loss": [{"name": "cross_entropy"}]}},
    }  # fmt: skip
    loaded = limbeck.load(limbeck.run(recipe, folder=tmp_path).folder / "models" / "net-seed0")
    student = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    words: dict[str, Any] = {"data": "digits", "epochs": 1, "views": {"batch_size": 256}}
    done = distill(student, loaded, **words)
    digits = load_images(Data(source="digits"))
    agree = (loaded(digits.test.images).argmax(1) == student_answers(student, digits).argmax(1)).float().mean().item()
    assert done.test.agreement == pytest.approx(agree)
    assert "give its `.model`" in told(loaded, None, **words)


def student_answers(student: nn.Module, images: Any) -> Tensor:
    with torch.no_grad():
        return student(prepare(images.test.images, InputFormat(images.normalisation)))


def test_what_distill_gives_is_shown_in_a_line() -> None:
    shown = repr(distill(net(), net(1)))
    assert "\n" not in shown
    assert len(shown) < 200
    for part in ("Sequential of 201 parameters", "test ", "of 12 images", "agreement", "1 epochs"):
        assert part in shown


def test_a_watcher_sees_every_step_and_epoch() -> None:
    steps, rows, lines = [], [], []
    watcher = limbeck.Watcher(
        step=lambda done, epochs: steps.append((done, epochs)), epoch=lambda name, row: rows.append((name, row)),
        say=lines.append,
    )  # fmt: skip
    distill(net(), epochs=2, watcher=watcher)
    assert len(steps) >= 6
    assert [row["epoch"] for _, row in rows] == [1, 2]
    assert any(line.startswith("epoch 2: loss") for line in lines)


@pytest.mark.parametrize("what", ["epoch", "step"])
def test_what_a_watcher_raises_passes_through_all_saved(tmp_path: Path, what: str) -> None:
    class MineError(Exception):
        pass

    seen: list[Any] = []

    def stops(*words: Any) -> None:
        seen.append(words)
        if len(seen) == 2:
            raise MineError

    with pytest.raises(MineError):
        distill(net(), epochs=3, watcher=limbeck.Watcher(**{what: stops}), save_to=tmp_path / "kept")
    lines: list[str] = []
    again = distill(net(), epochs=3, save_to=tmp_path / "kept", say=lines.append)
    assert any(line.startswith("continuing from") for line in lines)
    whole = distill(net(), epochs=3)
    assert torch.equal(again.student[0].weight, whole.student[0].weight)  # type: ignore[index]


def test_data_in_every_form_is_the_same_training() -> None:
    made = limbeck.Dataset.from_arrays((IMAGES, LABELS))
    forms: list[Any] = [
        (IMAGES.numpy(), LABELS.numpy()), made, {"train": (IMAGES, LABELS)},
        (made.train.images, made.train.labels, made.test.images, made.test.labels),
        ((made.train.images, made.train.labels), (made.test.images, made.test.labels)), (made.train, made.test),
        {"train": made.train, "test": made.test}, torch.utils.data.TensorDataset(IMAGES, LABELS),
    ]  # fmt: skip
    done = [distill(net(), data=form) for form in forms]
    assert {d.test.n for d in done} == {12}
    parted = [1, 0, 0, 1, 1, 1, 1, 0]  # other fingerprints, other orders of images
    for form, kind in zip(done, parted, strict=True):
        if not kind:
            assert torch.equal(form.student[0].weight, done[0].student[0].weight)  # type: ignore[index]
    assert limbeck.evaluate(lambda x: torch.eye(3)[x[:, 0, 0, 0].long() % 3], (IMAGES, LABELS)).n == 12
