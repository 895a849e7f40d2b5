"""A bank gives back the very numbers that were stored, for the very same question, or nothing at all."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from digit_cohorts import (
    BATCH,
    CPU,
    CROSS_ENTROPY,
    DISTILLED,
    EPOCHS,
    INPUT_FORMAT,
    PLANNER,
    STEPS,
    digits,
    follow,
    learner,
    photograph,
    teacher,
    train_split,
    used_model,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import limbeck.training.outputs_bank.key as making
from limbeck.building.teachers import Reordered
from limbeck.errors import LimbeckError
from limbeck.losses import dkd
from limbeck.recipes.views import Crop, Erasing, Mixing, ResizedCrop, TrivialAugment, Views
from limbeck.training.loop import EpochEnded, Position, train
from limbeck.training.objective import WeightedLoss
from limbeck.training.outputs_bank import bank as outputs_bank
from limbeck.training.outputs_bank.bank import LOGITS, MANIFEST, OutputsBank
from limbeck.training.outputs_bank.key import bank_key, layout, shape
from limbeck.training.outputs_bank.teacher import BankedTeacher, to_float16
from limbeck.training.teacher import Teacher
from limbeck.types import Normalisation, Outputs, Split
from limbeck.views.plan import ViewPlanner
from limbeck.views.preprocess import InputFormat

CLASSES = 10
BUILT = {"model": {"name": "lightweight_cnn"}}
ROWS = (STEPS, BATCH, CLASSES)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@functools.cache
def frozen(seed: int = 50, dtype: torch.dtype = torch.float32) -> Teacher:
    return Teacher("teacher", used_model(seed), INPUT_FORMAT, device=CPU, dtype=dtype)


def nobody() -> Teacher:
    raise AssertionError("the bank should have answered")


def bank_of(
    heard: Teacher | None = None, planner: ViewPlanner = PLANNER, say: Callable[[str], None] = lambda line: None
) -> OutputsBank:
    split = digits(0, planner.size)
    return OutputsBank(bank_key(heard or frozen(), BUILT, planner, split, CLASSES), shape(planner, CLASSES), say)


def banked(
    ask: Callable[[], Teacher] | None = None,
    *,
    heard: Teacher | None = None,
    planner: ViewPlanner = PLANNER,
    say: Callable[[str], None] = lambda line: None,
) -> BankedTeacher:
    """ask: what is called for the teacher, where it is not simply there."""
    heard = heard or frozen()
    return BankedTeacher(heard.name, bank_of(heard, planner, say), planner, ask or (lambda: heard), device=CPU)


def taught(heard: Any, *, planner: ViewPlanner = PLANNER, **about: Any) -> dict[str, bytes]:
    """What becomes of a student of this teacher, to the bit."""
    one = learner(**about)
    follow([one], planner=planner, heard=heard)
    return photograph(one)


class Rounding:
    """What a banked teacher says, by the shortest way."""

    def __init__(self, heard: Teacher) -> None:
        self.heard = heard

    def outputs(self, pixels: Any, *, epoch: int, step: int) -> Outputs:
        return Outputs(self.heard(pixels(self.heard.input_format, self.heard.dtype)).logits.half().float())


# Written, and read


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_replayed_run_is_the_run_that_wrote(dtype: torch.dtype) -> None:
    heard = frozen(dtype=dtype)
    wrote = taught(banked(heard=heard))
    assert taught(banked(nobody, heard=heard)) == wrote
    assert taught(Rounding(heard)) == wrote
    # A bfloat16 number is a float16 number as long as it is not tiny, so nothing is lost of a bfloat16 teacher.
    assert (taught(heard) == wrote) is (dtype == torch.bfloat16)


OTHERS: dict[str, dict[str, Any]] = {
    "temperature": {"terms": (replace(DISTILLED[0], options={"temperature": 1.0}), DISTILLED[1])},
    "loss": {"terms": (WeightedLoss("dkd", dkd), CROSS_ENTROPY)},
    "learner seed": {"seed": 7},
    "weight": {"terms": (replace(DISTILLED[0], weight=0.1), DISTILLED[1])},
    "optimizer": {"clip_norm": None, "ema_decay": None},
    "fewer epochs": {"epochs": 1},
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_student_reads_the_same_bank(other: str) -> None:
    taught(banked())
    found = taught(banked(nobody), **OTHERS[other])
    assert found == taught(Rounding(frozen()), **OTHERS[other])
    assert found != taught(banked(nobody))


def test_the_file_holds_what_the_teacher_said(cache: Path) -> None:
    seen: list[Tensor] = []
    heard = frozen()
    hook = heard.frozen.register_forward_hook(lambda module, inputs, output: seen.append(output.logits.half()))
    taught(banked())
    hook.remove()
    assert len(seen) == STEPS * EPOCHS
    files = sorted(cache.glob(f"outputs/*/epoch-*/{LOGITS}"))
    assert len(files) == EPOCHS
    for epoch, path in enumerate(files):
        stored = np.load(path, allow_pickle=False)  # its header is NumPy's
        assert stored.dtype == np.float16
        assert stored.shape == ROWS
        np.testing.assert_array_equal(stored, torch.stack(seen[epoch * STEPS : (epoch + 1) * STEPS]).numpy())
        mapped = bank_of().open(epoch)
        assert isinstance(mapped, np.memmap)
        assert not mapped.flags.writeable
        np.testing.assert_array_equal(mapped, stored)
        assert path.stat().st_size == bank_of().epoch_bytes


def test_more_epochs_are_added_to_those_that_are_there() -> None:
    calls: list[int] = []

    def ask() -> Teacher:
        calls.append(1)
        return frozen()

    taught(banked(ask), epochs=2)
    whole = taught(banked(ask), epochs=4)
    assert len(calls) == 4 * STEPS
    assert taught(banked(nobody), epochs=4) == whole == taught(Rounding(frozen()), epochs=4)


def test_each_teacher_of_several_has_its_own_and_they_are_mixed_after_reading() -> None:
    def run(asks: list[Callable[[], Teacher] | None]) -> dict[str, bytes]:
        one = learner(teachers=("a", "b"))
        one.objective.teacher_weights = (0.25, 0.75)
        answering = {
            name: banked(ask, heard=frozen(seed)) for name, ask, seed in zip("ab", asks, (50, 51), strict=True)
        }
        for event in train([one], answering, train_split(), PLANNER):
            if isinstance(event, EpochEnded):
                one.record_validation(0.0, 0.0)
        return photograph(one)

    wrote = run([None, None])
    assert len(outputs_bank.entries()) == 2
    assert run([nobody, nobody]) == wrote
    shutil.rmtree(bank_of(frozen(51)).folder)
    assert run([nobody, None]) == wrote


def test_a_data_set_smaller_than_the_batch() -> None:
    planner = replace(PLANNER, size=5, views=Views(batch_size=8))
    wrote = taught(banked(planner=planner), planner=planner)
    assert bank_of(planner=planner).shape == (1, 5, CLASSES)
    assert taught(banked(nobody, planner=planner), planner=planner) == wrote


# Views that come again


def cycling(distinct: int | None) -> ViewPlanner:
    return replace(PLANNER, views=PLANNER.views.model_copy(update={"distinct_epochs": distinct}))


def test_views_that_come_again_are_asked_for_once() -> None:
    calls: list[int] = []

    def ask() -> Teacher:
        calls.append(1)
        return frozen()

    planner = cycling(1)
    wrote = taught(banked(ask, planner=planner), planner=planner, epochs=3)
    assert len(calls) == STEPS
    assert wrote == taught(Rounding(frozen()), planner=planner, epochs=3)


@pytest.mark.parametrize(("first", "then"), list(itertools.permutations([None, 2, 3], 2)))
def test_recipes_that_differ_in_the_period_share_the_epochs_they_have_in_common(
    first: int | None, then: int | None
) -> None:
    calls: list[int] = []

    def ask() -> Teacher:
        calls.append(1)
        return frozen()

    taught(banked(ask, planner=cycling(first)), planner=cycling(first), epochs=5)
    asked = len(calls)
    found = taught(banked(ask, planner=cycling(then)), planner=cycling(then), epochs=5)
    assert found == taught(Rounding(frozen()), planner=cycling(then), epochs=5)
    assert asked == STEPS * (first or 5)
    assert len(calls) == STEPS * max(first or 5, then or 5), "only what was not there"


# The key


class Small(nn.Module):
    """Layers that a state dict does not tell apart."""

    def __init__(self, activation: nn.Module, stride: int = 1, hidden: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 4, 3, stride=stride)
        self.activation = activation
        self.head = nn.Linear(4, CLASSES)
        self.register_buffer("hidden", torch.tensor([hidden]), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.activation(self.first(pixels)).mean((2, 3)))


class Smaller(Small):
    def forward(self, pixels: Tensor) -> Tensor:
        return -super().forward(pixels)


def small(*args: Any, **keywords: Any) -> Teacher:
    return Teacher("t", Small(*args, **keywords), INPUT_FORMAT, device=CPU)


WALKED = replace(PLANNER, shape=(16, 16))


def ingredients(**other: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "teacher": frozen(),
        "built_from": BUILT,
        "planner": WALKED,
        "split": train_split(),
        "classes": CLASSES,
    }
    return bank_key(**(given | other))


def nudged() -> Teacher:
    model = used_model()
    with torch.no_grad():
        next(p for p in model.parameters() if p.dim() > 1).flatten()[3] += 1e-3
    return Teacher("teacher", model, INPUT_FORMAT, device=CPU)


def with_input_format(input_format: InputFormat) -> Teacher:
    return Teacher("teacher", used_model(), input_format, device=CPU)


def elsewhere() -> Teacher:
    heard = Teacher("teacher", used_model(), INPUT_FORMAT, device=CPU)
    heard.device = torch.device("cuda")
    return heard


def views(**changed: Any) -> dict[str, ViewPlanner]:
    return {"planner": replace(WALKED, views=WALKED.views.model_copy(update=changed))}


def other_pixels() -> Split:
    split = train_split()
    images = split.images.clone()
    images[:, 0, 8, 8] ^= 1
    return Split(images, split.labels)


# What is changed, by the ingredient in which it must show.
CHANGES: dict[tuple[str, str], Callable[[], dict[str, Any]]] = {
    ("weights", "one weight"): lambda: {"teacher": nudged()},
    ("frozen", "norms are folded"): lambda: {"teacher": teacher(fold=True)},
    ("frozen", "precision"): lambda: {"teacher": frozen(dtype=torch.bfloat16)},
    ("built_from", "its name"): lambda: {"built_from": {"model": {"name": "other"}}},
    ("built_from", "an option"): lambda: {"built_from": {"model": {"name": "lightweight_cnn", "dropout": 0.1}}},
    ("input", "mean"): lambda: {"teacher": with_input_format(InputFormat(Normalisation((0.4,) * 3, (0.37,) * 3)))},
    ("input", "sd"): lambda: {"teacher": with_input_format(InputFormat(Normalisation((0.3,) * 3, (0.4,) * 3)))},
    ("input", "resolution"): lambda: {"teacher": with_input_format(replace(INPUT_FORMAT, resolution=24))},
    ("input", "interpolation"): lambda: {"teacher": with_input_format(replace(INPUT_FORMAT, interpolation="bicubic"))},
    ("dtype", "bfloat16"): lambda: {"teacher": frozen(dtype=torch.bfloat16)},
    ("dtype", "float16"): lambda: {"teacher": frozen(dtype=torch.float16)},
    ("device", "device"): lambda: {"teacher": elsewhere()},
    ("views", "fingerprint"): lambda: {"planner": replace(WALKED, fingerprint="others")},
    ("views", "size"): lambda: {"planner": replace(WALKED, size=47)},
    ("views", "seed"): lambda: {"planner": replace(WALKED, seed=1)},
    ("views", "shape"): lambda: {"planner": replace(WALKED, shape=(16, 17))},
    ("views", "normalisation"): lambda: {"planner": replace(WALKED, normalisation=Normalisation((0.3,), (0.4,)))},
    ("views", "batch_size"): lambda: views(batch_size=15),
    ("views", "crop"): lambda: views(crop=Crop(padding=3)),
    ("views", "flip"): lambda: views(flip=False),
    ("views", "resized_crop"): lambda: views(resized_crop=ResizedCrop()),
    ("views", "policy"): lambda: views(policy=TrivialAugment()),
    ("views", "erasing"): lambda: views(erasing=Erasing(probability=1e-9)),
    ("views", "mixing"): lambda: views(mixing=Mixing(mixup=1.0, probability=0.0)),
    ("first_view", "the images, though their name is the same"): lambda: {"split": other_pixels()},
    ("shape", "classes"): lambda: {"classes": 11},
    ("shape", "images a view"): lambda: views(batch_size=24),
}  # fmt: skip
SURROUNDINGS = ("format", "torch", "float32", "layout")


@pytest.mark.parametrize("change", CHANGES, ids=" ".join)
def test_anything_that_shapes_the_numbers_leads_to_another_bank(change: tuple[str, str]) -> None:
    base, other = ingredients(), ingredients(**CHANGES[change]())
    assert base[change[0]] != other[change[0]]
    assert outputs_bank.fingerprint(base) != outputs_bank.fingerprint(other)


def test_the_walk_leaves_nothing_out() -> None:
    walked = {key for key, _ in CHANGES}
    assert walked | set(SURROUNDINGS) == set(ingredients())
    fields = {f.name for f in dataclasses.fields(ViewPlanner)} | set(Views.model_fields)
    assert {what for key, what in CHANGES if key == "views"} == fields - {"views", "distinct_epochs"}
    assert {f.name for f in dataclasses.fields(InputFormat)} == {"normalisation", "resolution", "interpolation"}


def test_what_surrounds_a_run_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    base = ingredients()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "9.9")
        assert ingredients() == base | {"torch": "9.9"}
    with monkeypatch.context() as patch:
        patch.setattr(making, "FORMAT", 0)
        assert ingredients() == base | {"format": 0}
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
        assert ingredients() == base | {"float32": ["medium", base["float32"][1]]}
    with monkeypatch.context() as patch:
        make = making.make_view
        patch.setattr(making, "make_view", lambda *a: make(*a)._replace(images=255 - make(*a).images))
        assert {key for key, value in ingredients().items() if value != base[key]} == {"first_view"}
    assert ingredients() == base


def test_how_often_views_come_again_is_not() -> None:
    assert ingredients(planner=replace(cycling(3), shape=WALKED.shape)) == ingredients()


def test_what_the_state_dict_does_not_say() -> None:
    alike = {
        "relu": small(nn.ReLU()),
        "gelu": small(nn.GELU()),
        "stride": small(nn.ReLU(), stride=2),
        "buffer": small(nn.ReLU(), hidden=2.0),
        "forward": Teacher("t", Smaller(nn.ReLU()), INPUT_FORMAT, device=CPU),
    }
    assert len({heard.fingerprint for heard in alike.values()}) == 1
    assert len({layout(heard.frozen) for heard in alike.values()}) == len(alike)
    assert layout(small(nn.ReLU()).frozen) == layout(alike["relu"].frozen)


def test_the_order_of_classes_is_part_of_the_key() -> None:
    orders = [list(range(10)), list(reversed(range(10)))]
    teachers = [Teacher("t", Reordered(used_model(), order), INPUT_FORMAT, device=CPU) for order in orders]
    assert teachers[0].fingerprint == teachers[1].fingerprint
    assert ingredients(teacher=teachers[0]) != ingredients(teacher=teachers[1])


def test_the_key_is_the_same_in_another_process() -> None:
    code = f"""
        import sys, torch
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        torch.set_num_threads(1)
        from test_outputs_bank import bank_of
        print(bank_of().folder.name)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == bank_of().folder.name


def test_a_bank_under_a_false_name_is_not_used() -> None:
    """As if two keys had one fingerprint: the manifest says in full what the numbers are of."""
    said: list[str] = []
    taught(banked())
    other = frozen(51)
    shutil.copytree(bank_of().folder, bank_of(other).folder)
    found = taught(banked(heard=other, say=said.append))
    assert found == taught(Rounding(other))
    assert len(said) == EPOCHS
    assert all("deleted" in line for line in said)
    assert taught(banked(nobody, heard=other)) == found


def test_an_epoch_in_anothers_place_is_not_used() -> None:
    wrote = taught(banked())
    bank = bank_of(say=(said := []).append)
    shutil.rmtree(bank.folder / "epoch-000001")
    shutil.copytree(bank.folder / "epoch-000000", bank.folder / "epoch-000001")
    assert bank.count_stored(2) == 2
    assert bank.open(1) is None
    assert "epoch-000001: damaged" in said[0]
    assert taught(banked()) == wrote


# Damage


def damaged_somewhere(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A whole bank, and what became of the student whose run wrote it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIMBECK_CACHE", str(tmp_path_factory.mktemp("written")))
        found = taught(banked())
        return bank_of().folder, found


@given(st.integers(0, EPOCHS - 1), st.sampled_from([LOGITS, MANIFEST]), st.randoms(use_true_random=False))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_is_noticed_and_named(
    cache: Path, written: tuple[Path, dict[str, bytes]], epoch: int, name: str, chance: random.Random
) -> None:
    said: list[str] = []
    bank = bank_of(say=said.append)
    shutil.rmtree(bank.folder, ignore_errors=True)
    shutil.copytree(written[0], bank.folder)
    damaged_somewhere(bank.folder / f"epoch-{epoch:06d}" / name, chance)
    sound = bank.open(1 - epoch)
    assert sound is not None
    assert bank.open(epoch) is None
    (line,) = said
    assert f"epoch-{epoch:06d}: damaged" in line
    assert "\n" not in line
    assert not (bank.folder / f"epoch-{epoch:06d}").exists()
    assert not list(bank.folder.glob(".tmp-*"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def lengthened(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0\0")


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    damaged_somewhere(path, random.Random(5))


DAMAGES = {"cut": cut, "lengthened": lengthened, "emptied": emptied, "flipped": flipped, "gone": Path.unlink}


@pytest.mark.parametrize("name", [LOGITS, MANIFEST])
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_never_reaches_a_learner_and_is_made_anew(
    written: tuple[Path, dict[str, bytes]], damage: str, name: str
) -> None:
    said: list[str] = []
    shutil.copytree(written[0], bank_of().folder)
    DAMAGES[damage](bank_of().folder / "epoch-000001" / name)
    assert taught(banked(say=said.append)) == written[1]
    (line,) = said
    assert "epoch-000001: damaged" in line
    assert taught(banked(nobody)) == written[1], "it was made anew"


# Broken off


def stopped_at(position: Position, heard: Any) -> dict[str, Any]:
    one = learner(epochs=3)
    follow([one], heard=heard, after=lambda now: now == position)
    heard.close()
    return one.state()


PLACES = [Position(0, 1), Position(0, STEPS), Position(1, 0), Position(1, 2), Position(2, STEPS - 1)]


@pytest.mark.parametrize("place", PLACES, ids=lambda p: f"epoch {p.epoch} step {p.step}")
def test_an_epoch_that_was_broken_off_is_left_to_a_later_run(place: Position) -> None:
    whole = taught(Rounding(frozen()), epochs=3)
    state = stopped_at(place, banked())
    bank = bank_of()
    sealed = place.epoch + (place.step == STEPS)
    assert [bank.has(epoch) for epoch in range(3)] == [epoch < sealed for epoch in range(3)]
    assert not list(bank.folder.glob(".tmp-*"))
    again = learner(epochs=3, weights=77)
    again.restore(state)
    follow([again], place, heard=banked())
    assert photograph(again) == whole
    broken = place.step not in (0, STEPS)
    assert bank.count_stored(3) == (2 if broken else 3)
    assert taught(banked(), epochs=3) == whole
    assert bank.count_stored(3) == 3
    assert taught(banked(nobody), epochs=3) == whole


def test_a_run_that_goes_on_in_the_middle_reads_what_is_there() -> None:
    whole = taught(banked(), epochs=3)
    place = Position(1, 2)
    state = stopped_at(place, banked(nobody))
    again = learner(epochs=3, weights=77)
    again.restore(state)
    follow([again], place, heard=banked(nobody))
    assert photograph(again) == whole


MODEL = (
    "from torch import nn\n\n\nclass Edited(nn.Linear):\n    def forward(self, x):\n        return super().forward(x)\n"
)


def layout_of_file(path: Path, edited: str | None = None) -> tuple[str, str]:
    """The layout of a model imported from a file, before and after the file is edited."""
    spec = importlib.util.spec_from_file_location("edited_model", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "edited_model", module)
        spec.loader.exec_module(module)
        before = layout(module.Edited(1, 1))
        if edited:
            path.write_text(edited)
        return before, layout(module.Edited(1, 1))


def test_a_class_is_known_by_the_code_that_runs(tmp_path: Path) -> None:
    """A file that is edited meanwhile changes nothing; one that was edited before is no proof of what runs."""
    path = tmp_path / "edited_model.py"
    path.write_text(MODEL)
    os.utime(path, (1e9, 1e9))
    before, after = layout_of_file(path, edited=MODEL.replace("(x)\n", "(x) * 2\n"))
    assert before == after
    path.write_text(MODEL)
    os.utime(path, (1e9, 1e9))
    assert layout_of_file(path) == (before, before), "the same source, the same key"
    os.utime(path, (time.time() + 60, time.time() + 60))
    unsure, again = layout_of_file(path)
    assert unsure == again != before


def test_an_epoch_whose_listener_ends_on_the_way_is_not_sealed() -> None:
    heard = banked()
    pixels = functools.partial(_pixels_of_nothing, heard.bank.shape)
    heard.outputs(pixels, epoch=0, step=0)
    heard.outputs(pixels, epoch=0, step=2)
    heard.outputs(pixels, epoch=1, step=0)
    assert bank_of().count_stored(2) == 0
    assert len(list(bank_of().folder.glob(".tmp-*"))) == 1, "the second epoch's"
    heard.close()
    assert not list(bank_of().folder.iterdir())


@pytest.mark.parametrize("steps", [(0, 0, 1), (0, 2, 1), (1, 2, 0), (0, 2, 2), (1, 2, 2)])
def test_steps_that_do_not_come_one_after_another_are_not_sealed(steps: tuple[int, ...]) -> None:
    heard = banked()
    for step in steps:
        heard.outputs(functools.partial(_pixels_of_nothing, heard.bank.shape), epoch=0, step=step)
    assert bank_of().count_stored(1) == 0
    heard.close()


def _pixels_of_nothing(rows: tuple[int, int, int], input_format: InputFormat, dtype: torch.dtype) -> Tensor:
    return torch.zeros(rows[1], 3, 16, 16, dtype=dtype)


class Recites:
    """A teacher without a model: its answer tells the place that was asked for, so that a mix-up would show."""

    name, input_format, dtype = "reciter", INPUT_FORMAT, torch.float32

    def __call__(self, pixels: Tensor) -> Outputs:
        return Outputs(pixels)


def recited(rows: tuple[int, int, int], drawn: int, step: int) -> Tensor:
    _, batch, classes = rows
    return torch.randn(batch, classes, generator=torch.Generator().manual_seed(1000 * drawn + step))


RECITED = (3, 4, 5)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(1, 9), st.booleans(), st.booleans()), max_size=6
    ),
    st.none() | st.integers(1, 3),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_what_is_sealed_is_true(
    cache: Path, sessions: list[tuple[int, int, int, bool, bool]], distinct: int | None
) -> None:
    """Runs that begin anywhere, end anywhere, tidily or not, one after another or beside another."""
    bank = OutputsBank({"case": "recited"}, RECITED, pytest.fail)
    shutil.rmtree(bank.folder, ignore_errors=True)
    planner = ViewPlanner("none", 12, Views(batch_size=4, distinct_epochs=distinct), 0)
    open_still: list[BankedTeacher] = []
    for epoch, step, count, tidily, beside in sessions:
        one = BankedTeacher("reciter", bank, planner, Recites, device=CPU)  # type: ignore[arg-type]
        two = BankedTeacher("reciter", bank, planner, Recites, device=CPU)  # type: ignore[arg-type]
        for _ in range(count):
            drawn = planner.drawn_epoch(epoch)
            expected = recited(RECITED, drawn, step)
            for heard in (one, two) if beside else (one,):
                found = heard.outputs(lambda input_format, dtype, said=expected: said, epoch=epoch, step=step)
                assert torch.equal(found.logits, expected.half().float())
            epoch, step = (epoch, step + 1) if step + 1 < RECITED[0] else (epoch + 1, 0)
        if tidily:
            one.close()
            two.close()
        else:
            open_still += [one, two]
    for epoch in range(16):
        stored = bank.open(epoch)
        for step, rows in enumerate(() if stored is None else stored):
            np.testing.assert_array_equal(rows, recited(RECITED, epoch, step).half().numpy())
    for heard in open_still:
        heard.close()


WRITER = """
    import sys, time, torch
    sys.path.insert(0, {folder!r})
    torch.set_num_threads(1)
    from test_outputs_bank import bank_of, banked, learner, follow
    from limbeck.training.loop import Position

    def wait(now):
        if now == Position({epoch}, {step}):
            print("half", flush=True)
            time.sleep(60)
        return False

    follow([learner()], heard=banked(), after=wait)
"""


def test_a_writer_that_is_killed_leaves_nothing_that_is_read() -> None:
    code = textwrap.dedent(WRITER).format(folder=os.path.dirname(__file__), epoch=1, step=2)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    bank = bank_of()
    (half,) = bank.folder.glob(".tmp-*")
    process.send_signal(signal.SIGSTOP)
    beside = bank.start_writing(1)  # while the other lives its folder is left alone
    assert half.exists()
    beside.close()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert [bank.has(0), bank.has(1)] == [True, False]
    assert half.exists()
    assert taught(banked()) == taught(Rounding(frozen()))
    assert sorted(path.name for path in bank.folder.iterdir()) == ["epoch-000000", "epoch-000001"]
    assert taught(banked(nobody)) == taught(Rounding(frozen()))


def test_of_two_writers_the_first_to_seal_stays() -> None:
    bank = bank_of()
    first, second = bank.start_writing(0), bank.start_writing(0)
    rows = np.arange(np.prod(ROWS)).reshape(ROWS).astype(np.float16)
    for step in range(STEPS):
        first.add(rows[step])
        second.add(rows[step] + 1)
    first.commit()
    second.commit()
    found = bank.open(0)
    assert found is not None
    np.testing.assert_array_equal(found, rows)
    assert [path.name for path in bank.folder.iterdir()] == ["epoch-000000"]


def test_a_writer_takes_what_its_bank_is_of() -> None:
    writer = bank_of().start_writing(0)
    with pytest.raises(ValueError, match="logits are"):
        writer.add(np.zeros((BATCH, 3), np.float16))
    with pytest.raises(ValueError, match="logits are"):
        writer.add(np.zeros((BATCH, CLASSES), np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0 steps of 3"):
        writer.commit()
    writer.close()


# Numbers


@given(st.lists(st.floats(-65504, 65504, width=32), min_size=1, max_size=30))
def test_logits_are_rounded_to_the_nearest(values: list[float]) -> None:
    found = to_float16(torch.tensor([values]), "t", 0, 0)
    assert found.dtype == torch.float16
    np.testing.assert_array_equal(found.numpy()[0], np.array(values, np.float32).astype(np.float16))


@given(st.lists(st.floats(-60000, 60000, width=32).filter(lambda x: abs(x) > 1e-4 or x == 0), min_size=1, max_size=30))
def test_bfloat16_is_kept_whole(values: list[float]) -> None:
    logits = torch.tensor([values]).bfloat16().float()
    assert torch.equal(to_float16(logits, "t", 0, 0).float(), logits)


@given(st.sampled_from([float("nan"), float("inf"), float("-inf")]), st.integers(0, 19), st.integers(0, 5))
def test_a_logit_that_is_not_finite_is_an_error_that_names_the_teacher(value: float, place: int, step: int) -> None:
    logits = torch.zeros(2, 10)
    logits.flatten()[place] = value
    with pytest.raises(LimbeckError, match=f"^wide-seed0: at epoch 3, step {step + 1}, a logit was {value}; a teacher"):
        to_float16(logits, "wide-seed0", 2, step)


@given(st.floats(65520, 2.0**127, width=32), st.sampled_from([1, -1]))
def test_a_logit_too_large_for_float16_is_refused(value: float, sign: int) -> None:
    with pytest.raises(LimbeckError, match=r"^wide: at epoch 1, step 1, a logit was .*65504; leave outputs_bank out"):
        to_float16(torch.tensor([[0.0, sign * value]]), "wide", 0, 0)


def test_a_teacher_that_overflows_ends_the_run_and_leaves_nothing() -> None:
    model = used_model()
    with torch.no_grad():
        list(model.parameters())[-1].mul_(float("nan"))
    broken = Teacher("broken", model, INPUT_FORMAT, device=CPU)
    heard = banked(heard=broken)
    with pytest.raises(LimbeckError, match=r"^broken: at epoch 1, step 1, a logit was nan"):
        follow([learner()], heard=heard)  # type: ignore[arg-type]
    heard.close()
    assert not list(heard.bank.folder.iterdir())


# The disk


def test_a_cache_that_cannot_be_written_is_said_once_and_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "file"))
    assert taught(banked(say=said.append)) == taught(Rounding(frozen()))
    (line,) = said
    assert "cannot be written" in line
    assert "the outputs of teacher are no longer stored" in line


def test_a_full_disk_is_said_once_and_costs_nothing_else() -> None:
    resource = pytest.importorskip("resource")
    said: list[str] = []
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    heard = banked(say=said.append)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, limits[1]))  # a file may not grow beyond 600 bytes
    try:
        found = taught(heard)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert found == taught(Rounding(frozen()))
    (line,) = said
    assert "cannot be written: File too large" in line
    assert not list(bank_of().folder.iterdir())
    assert taught(banked()) == found, "once there is room it is stored"
    assert bank_of().count_stored(EPOCHS) == EPOCHS


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_error_of_the_system_on_the_way_leaves_nothing(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    real = getattr(os, call)

    def failing(*args: Any, **keywords: Any) -> Any:
        if call == "fsync" or "epoch-" in str(args[1]):
            raise OSError(5, "Input/output error")
        return real(*args, **keywords)

    heard = banked(say=said.append)
    heard.bank.folder.mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        found = taught(heard)
    assert found == taught(Rounding(frozen()))
    assert len(said) == 1 and "Input/output error" in said[0]
    assert bank_of().count_stored(EPOCHS) == 0
    assert not list(bank_of().folder.iterdir())


def test_listing_and_cleaning(cache: Path) -> None:
    assert (outputs_bank.entries(), outputs_bank.size(), outputs_bank.clean()) == ([], 0, 0)
    taught(banked())
    (cache / "outputs" / "mine").mkdir()
    (entry,) = outputs_bank.entries()
    assert (entry.model, entry.epochs, entry.fingerprint) == ("lightweight_cnn", EPOCHS, bank_of().folder.name)
    assert entry.size == outputs_bank.size() > EPOCHS * bank_of().epoch_bytes
    assert outputs_bank.clean() == entry.size
    assert outputs_bank.entries() == []
    assert [path.name for path in (cache / "outputs").iterdir()] == ["mine"], "what is not ours is left alone"


def test_cleaning_takes_nothing_from_those_at_work() -> None:
    whole = taught(banked())
    reader, beside = banked(nobody), bank_of().start_writing(7)
    one = learner()
    follow([one], heard=reader, disturb=_once(outputs_bank.clean), after=lambda now: now == Position(0, STEPS))
    assert bank_of().count_stored(EPOCHS) == 0
    for _ in range(STEPS):
        beside.add(np.zeros(ROWS[1:], np.float16))
    beside.commit()
    assert bank_of().open(7) is not None
    assert taught(banked()) == whole


def _once(call: Callable[[], object]) -> Callable[[], object]:
    calls: Iterator[Callable[[], object]] = itertools.chain([call], itertools.repeat(lambda: None))
    return lambda: next(calls)()
