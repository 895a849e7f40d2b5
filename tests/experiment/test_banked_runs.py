"""Real runs that share teachers' answers: another run learns what it would have learned, and asks nobody."""

from __future__ import annotations

import copy
import gc
import shutil
import signal
import subprocess
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import limbeck
import yaml_recipe
from final_weights import weights
from limbeck import cli
from limbeck.errors import LimbeckError, RecipeError
from limbeck.experiment import outputs_banks
from limbeck.experiment.estimate import describe_plan
from limbeck.experiment.outputs_banks import amount
from limbeck.experiment.train_cohort import Watcher
from limbeck.recipes.load import load_recipe
from limbeck.training.outputs_bank import bank as outputs_bank
from limbeck.training.outputs_bank.bank import LOGITS
from limbeck.training.teacher import Teacher
from limbeck.types import Outputs, Targets

EPOCHS = 3
SMALL = {"name": "lightweight_cnn", "dropout": 0.1}
TRAINING = {"model": SMALL, "epochs": EPOCHS, "optimizer": {"name": "adam", "lr": 3e-3}}
SOFT, HARD = {"name": "soft_targets", "temperature": 4, "weight": 0.7}, {"name": "cross_entropy", "weight": 0.3}


def recipe(**more: Any) -> dict[str, Any]:
    tree = {
        "name": "banked",
        "seeds": [0],
        "teacher_seed": 0,
        "threads": 1,
        "precision": "fp32",
        "evaluation": {"latency_batch": 0},
        "data": {"source": "digits", "train_images": 300},
        "views": {"batch_size": 64, "crop": {"padding": 1}, "flip": True, "mixing": {"mixup": 0.2}, "seed": 5},
        "outputs_bank": {"limit_gb": 0.01},
        "teachers": {"wide": {**TRAINING, "loss": [{"name": "cross_entropy"}]}},
        "students": {
            "baseline": {**TRAINING, "loss": [{"name": "cross_entropy"}]},
            "distilled": {**TRAINING, "teacher": "wide", "loss": [SOFT, HARD]},
        },
    }
    return copy.deepcopy({**tree, **more})


def students_of(folder: Path) -> dict[str, bytes]:
    return {name: value for name, value in weights(folder).items() if not name.startswith("wide")}


@pytest.fixture(scope="module")
def first_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("first")


@pytest.fixture(scope="module")
def written(first_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that wrote a bank of its teacher's answers to all epochs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIMBECK_CACHE", str(first_cache))
        done = limbeck.run(recipe(), folder=tmp_path_factory.mktemp("written"))
    assert len(list(first_cache.glob("outputs/*/epoch-*"))) == EPOCHS
    return done.folder


@pytest.fixture(autouse=True)
def own_cache(written: Path, first_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What that run left in the cache, for each test to do with as it likes."""
    shutil.copytree(first_cache, tmp_path / "cache")
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of a teacher for each time that one is asked for its answer to a view."""
    calls: list[str] = []
    answer = Teacher.__call__

    def counted(self: Teacher, pixels: Any) -> Outputs:
        calls.append(self.name)
        return answer(self, pixels)

    monkeypatch.setattr(Teacher, "__call__", counted)
    return calls


def test_a_later_run_asks_nobody_and_ends_the_same(written: Path, asked: list[str], tmp_path: Path) -> None:
    again = limbeck.run(recipe(), folder=tmp_path)
    assert asked == []
    assert weights(again.folder) == weights(written)
    assert [arm["test"] for arm in again.result["arms"]] == [
        arm["test"] for arm in limbeck.run(recipe(), folder=written.parent).result["arms"]
    ]


def test_the_answers_are_to_float16(written: Path, asked: list[str], tmp_path: Path) -> None:
    plain = limbeck.run(recipe(outputs_bank=None), folder=tmp_path)
    assert set(asked) == {"wide-seed0"}
    theirs, ours = students_of(plain.folder), students_of(written)
    same = {name for name in ours if ours[name] == theirs[name] and not name.endswith("num_batches_tracked")}
    assert {name.partition("/")[0] for name in same} == {"baseline-seed0"}, "whom the teacher does not reach"


def other_students(**changed: Any) -> dict[str, Any]:
    tree = recipe()
    tree["students"]["distilled"] |= changed
    return tree


OTHERS = {
    "temperature": other_students(loss=[{**SOFT, "temperature": 1}, HARD]),
    "loss": other_students(loss=[{"name": "dkd"}]),
    "learner seed": recipe(seeds=[3]),
    "student": other_students(model="lightweight_cnn", optimizer={"name": "sgd", "lr": 0.1}),
    "fewer epochs": other_students(epochs=2),
    "views that come again": recipe(views={**recipe()["views"], "distinct_epochs": 2}),
    "resolution of the student": other_students(resolution=16),
    "both": other_students(teacher=["wide"], loss=[{**SOFT, "temperature": 2}]),
}


@pytest.mark.parametrize("other", OTHERS)
def test_other_students_read_the_same_bank(other: str, written: Path, asked: list[str], tmp_path: Path) -> None:
    if other == "views that come again":  # the baseline and the teacher see other views then, and only the bank is one
        OTHERS[other]["teachers"]["wide"]["views"] = {"distinct_epochs": None}
    done = limbeck.run(OTHERS[other], folder=tmp_path)
    assert asked == []
    assert len(outputs_bank.entries()) == 1
    assert students_of(done.folder) != students_of(written)


UNLIKE = {
    "teacher": recipe(teacher_seed=1),
    "view seed": recipe(views={**recipe()["views"], "seed": 6}),
    "batch size": recipe(views={**recipe()["views"], "batch_size": 50}),
    "no flips": recipe(views={**recipe()["views"], "flip": False}),
    "images": recipe(data={"source": "digits", "train_images": 310}),
    "precision": recipe(
        teachers={"wide": {**TRAINING, "precision": "bf16", "loss": [{"name": "cross_entropy"}]}},
    ),
}


@pytest.mark.parametrize("unlike", UNLIKE)
def test_what_shapes_the_answers_leads_to_another_bank(
    unlike: str, written: Path, asked: list[str], tmp_path: Path
) -> None:
    limbeck.run(UNLIKE[unlike], folder=tmp_path)
    assert len(asked) >= EPOCHS * 4
    assert len(outputs_bank.entries()) == 2


def test_a_teacher_that_nobody_will_ask_is_not_kept(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    made: weakref.WeakSet[Teacher] = weakref.WeakSet()
    make = Teacher.__init__

    def noted(self: Teacher, *args: Any, **keywords: Any) -> None:
        make(self, *args, **keywords)
        made.add(self)

    def count(learner: str, row: Any) -> None:
        if made:
            gc.collect()
        kept.append(len(made))

    monkeypatch.setattr(Teacher, "__init__", noted)
    limbeck.run(recipe(), folder=tmp_path / "a", make_watcher=lambda key, names: Watcher(epoch=count))
    assert kept
    assert not any(kept)
    kept.clear()
    limbeck.run(recipe(outputs_bank=None), folder=tmp_path / "b", make_watcher=lambda key, names: Watcher(epoch=count))
    assert max(kept) == 1, "else this test says nothing"


def test_a_damaged_file_is_named_and_made_anew(written: Path, asked: list[str], tmp_path: Path) -> None:
    (path,) = outputs_bank.location().glob(f"*/epoch-000001/{LOGITS}")
    sound = path.read_bytes()
    path.write_bytes(sound[:1000] + bytes([sound[1000] ^ 16]) + sound[1001:])
    said: list[str] = []
    done = limbeck.run(recipe(), folder=tmp_path, make_watcher=lambda key, names: Watcher(say=said.append))
    assert weights(done.folder) == weights(written)
    assert [line for line in said if "damaged" in line] == [
        f"{path.parent}: damaged (its checksum does not match); deleted; the teacher computes the outputs again"
    ]
    assert "wide-seed0: its answers to 3 of 3 epochs of views are stored" in said
    assert len(asked) == 4, "one epoch"
    assert path.read_bytes() == sound


def test_a_teacher_from_a_file_shares_the_bank_of_its_training(written: Path, asked: list[str], tmp_path: Path) -> None:
    tree = recipe()
    file = written / "models" / "wide-seed0" / "model.safetensors"
    tree["teachers"]["wide"] = {"model": SMALL, "weights": str(file)}
    done = limbeck.run(tree, folder=tmp_path)
    assert asked == []
    assert students_of(done.folder) == students_of(written)


def test_from_python(asked: list[str], tmp_path: Path) -> None:
    import torch

    def net(seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10))

    words: dict[str, Any] = {"data": "digits", "epochs": 2, "precision": "fp32"}
    first = limbeck.distill(net(0), net(1), outputs_bank={}, save_to=tmp_path / "kept", **words)
    assert len(outputs_bank.entries()) == 2
    asked.clear()
    again = limbeck.distill(net(0), net(1), outputs_bank={"limit_gb": 1.0}, loss="soft_targets", **words)
    assert asked == []
    assert not torch.equal(first.student[1].weight, again.student[1].weight)  # type: ignore[index]
    same = limbeck.distill(net(0), net(1), outputs_bank={}, **words)
    assert torch.equal(first.student[1].weight, same.student[1].weight)  # type: ignore[index]
    with pytest.raises(LimbeckError, match=r"the answers of 'teacher-0' to 2 epochs .* limit_gb is 1e-06"):
        limbeck.distill(net(0), net(1), outputs_bank={"limit_gb": 1e-6}, **words)
    with pytest.raises(LimbeckError, match="another save_to"):
        limbeck.distill(net(0), net(1), save_to=tmp_path / "kept", **words)


# Killed, and side by side


@pytest.fixture(scope="module")
def long(recipe_text: str) -> str:
    """Epochs that are long enough to be killed in."""
    return recipe_text.replace("epochs: 5", "epochs: 6") + "outputs_bank: {limit_gb: 0.1}\n"


@pytest.fixture(scope="module")
def undisturbed(long: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "long.yaml").write_text(long)
    return weights(limbeck.run(folder / "long.yaml", folder=folder).folder)


def replayed(cache: Path, folder: Path, name: str) -> tuple[dict[str, bytes], list[str]]:
    """The final weights of a run with this cache, and what was said of it."""
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIMBECK_CACHE", str(cache))
        done = limbeck.run(
            folder / "long.yaml", folder=folder, name=name, make_watcher=lambda key, names: Watcher(say=said.append)
        )
    return weights(done.folder), said


def wait_for(condition: Any, process: subprocess.Popen[str], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    return found


@pytest.mark.middle
def test_killed_in_the_middle_of_an_epoch_gone_on_with_and_replayed(
    long: str, undisturbed: dict[str, bytes], start: Any, cache: Path, tmp_path: Path
) -> None:
    shutil.rmtree(cache / "outputs", ignore_errors=True)
    (tmp_path / "long.yaml").write_text(long)
    stream = tmp_path / "runs" / "small" / "cohorts"
    kills = 0
    for sealed in (1, 3):
        process = start("run", "long.yaml", cwd=tmp_path)

        def in_the_middle(sealed: int = sealed) -> bool:
            return (
                len(list(cache.glob("outputs/*/epoch-*"))) >= sealed
                and bool(list(stream.glob("students*/checkpoints/step-*")))
                and bool(list(cache.glob(f"outputs/*/.tmp-*/{LOGITS}")))
            )

        wait_for(in_the_middle, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills == 2
    assert list(cache.glob("outputs/*/.tmp-*")), "half an epoch is there, and is not used"
    process = start("run", "long.yaml", cwd=tmp_path)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "damaged" not in err
    assert weights(tmp_path / "runs" / "small") == undisturbed
    for name in ("makes-what-is-missing", "reads-all"):
        found, said = replayed(cache, tmp_path, name)
        assert found == undisturbed
    assert "wide-seed0: its answers to 6 of 6 epochs of views are stored" in said
    assert not list(cache.glob("outputs/*/.tmp-*"))


@pytest.mark.middle
def test_two_processes_at_once(
    long: str, undisturbed: dict[str, bytes], start: Any, cache: Path, tmp_path: Path
) -> None:
    shutil.rmtree(cache / "outputs", ignore_errors=True)
    (tmp_path / "long.yaml").write_text(long)
    both = [start("run", "long.yaml", "--name", name, cwd=tmp_path) for name in ("one", "two")]
    for process in both:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert "damaged" not in err
    assert weights(tmp_path / "runs" / "one") == weights(tmp_path / "runs" / "two") == undisturbed
    (folder,) = (cache / "outputs").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == [f"epoch-{epoch:06d}" for epoch in range(6)]
    found, said = replayed(cache, tmp_path, "three")
    assert "wide-seed0: its answers to 6 of 6 epochs of views are stored" in said
    assert found == undisturbed


def test_the_cache_command_lists_and_cleans(own_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.cache()
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"{own_cache / 'outputs'}: ") for line in lines)
    assert "3 epochs  lightweight_cnn, " in lines[-1]
    cli.cache(clean=True)
    assert f"freed in {own_cache / 'outputs'}" in capsys.readouterr().out
    assert not list((own_cache / "outputs").iterdir())


# How large


def test_how_large_they_will_be_is_said_and_how_much_is_there(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = load_recipe(recipe())
    size = outputs_bank.epoch_bytes((4, 64, 10)) * EPOCHS
    lines = describe_plan(checked, timed=False, folder=tmp_path / "nothing")
    (line,) = [line for line in lines if line.startswith("wide-seed0  ") and "not known" in line]
    assert line.split()[1:5] == ["5", str(EPOCHS), *amount(size).split()]
    lines = describe_plan(checked, timed=False, folder=written)
    assert any(line.endswith(f"{amount(size)}  3 epochs, {amount(size)}") for line in lines)
    monkeypatch.chdir(written.parent.parent)
    ready = recipe()
    file = written / "models" / "wide-seed0" / "model.safetensors"
    ready["teachers"]["wide"] = {"model": SMALL, "weights": str(file)}
    longer = load_recipe(
        ready, ["students.distilled.epochs=5", "views.distinct_epochs=4", "outputs_bank.limit_gb=1e-6"]
    )
    lines = describe_plan(longer, timed=False)
    assert any(line.startswith("wide  ") and line.endswith(f"3 epochs, {amount(size)}") for line in lines)
    assert any("too much, the run would refuse to start" in line for line in lines)
    assert not any(
        "outputs bank" in line for line in describe_plan(load_recipe(recipe(outputs_bank=None)), timed=False)
    )


def test_a_bank_beyond_its_limit_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    epoch = outputs_bank.epoch_bytes((4, 64, 10))
    tight = 2.5 * epoch / 2**30
    tree = recipe(outputs_bank={"limit_gb": tight})
    with pytest.raises(LimbeckError) as caught:
        limbeck.run(tree, folder=tmp_path)
    assert str(caught.value) == (
        f"outputs_bank: the answers of 'wide-seed0' to 3 epochs of views would take {amount(3 * epoch)}, and limit_gb "
        f"is {tight:g}: raise outputs_bank.limit_gb, set views.distinct_epochs (2 fit), or leave outputs_bank out"
    )
    assert not (tmp_path / "banked" / "cohorts").exists()
    tree["views"]["distinct_epochs"] = 2
    assert limbeck.run(tree, folder=tmp_path).result["arms"]


def test_all_banks_of_a_run_count(tmp_path: Path) -> None:
    epoch = outputs_bank.epoch_bytes((4, 64, 10))
    tree = recipe(outputs_bank={"limit_gb": 3.5 * epoch / 2**30}, seeds=[0, 1])
    del tree["views"]["seed"]
    with pytest.raises(LimbeckError, match=rf"and all 2 banks of this run {amount(6 * epoch)}, .* \(1 fit\)"):
        limbeck.run(tree, folder=tmp_path)
    tree["outputs_bank"]["limit_gb"] = epoch / 2**30
    with pytest.raises(LimbeckError, match=r"raise outputs_bank.limit_gb \(not one epoch fits\) or leave"):
        limbeck.run(tree, folder=tmp_path)


def test_a_disk_without_room_is_said_before_anything_is_trained(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(
        outputs_banks.shutil, "disk_usage", lambda path: usage._replace(free=outputs_banks.KEEP_FREE + 100)
    )
    tree = recipe(views={**recipe()["views"], "batch_size": 32}, data={"source": "digits"})
    with pytest.raises(LimbeckError, match=r"256 MB are free, and outputs_bank needs .* KB more; make room, set LIMB"):
        limbeck.run(tree, folder=tmp_path)
    assert not (tmp_path / "banked" / "cohorts").exists()
    assert limbeck.run(recipe(), folder=tmp_path / "b").result, "what is there already takes no room"


def compares_features(student: Outputs, teacher: Outputs, targets: Targets) -> Any:
    """Not run."""
    raise AssertionError


compares_features.NEEDS_FEATURES = True  # type: ignore[attr-defined]


def test_a_loss_that_compares_features_refuses_a_bank(tmp_path: Path) -> None:
    tree = recipe()
    tree["students"]["distilled"]["loss"] = [SOFT, {"name": "hints"}]
    path = tmp_path / "hints.yaml"
    path.write_text(yaml_recipe.text(tree))
    line = list(tree).index("students") + 1
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, losses={"hints": compares_features})
    assert str(caught.value) == (
        f"{path}:{line}: students.distilled.loss.1.name: 'hints' compares features, but outputs_bank stores only "
        "logits; remove outputs_bank"
    )
    load_recipe({**tree, "outputs_bank": None}, losses={"hints": compares_features})


def test_sizes_in_words() -> None:
    assert [amount(size) for size in (100, 12_345, 2**20 * 3.14159, 2**30 * 12, 2**40)] == [
        "0.0977 KB", "12.1 KB", "3.14 MB", "12 GB", "1.02e+03 GB",
    ]  # fmt: skip


def test_stored_logits_are_those_of_the_saved_teacher(written: Path) -> None:
    """Read by other means: the model as it was saved, on views that are made here."""
    from limbeck.building.data import load_images, view_planner
    from limbeck.views.apply import make_view

    checked = load_recipe(recipe())
    images = load_images(checked.data)
    planner = view_planner(images, checked.views, 5)
    model = limbeck.load(written / "models" / "wide-seed0")
    (path,) = outputs_bank.location().glob(f"*/epoch-000002/{LOGITS}")
    stored = np.load(path)
    for step in range(planner.steps_per_epoch):
        view = make_view(images.train, planner.plan(2, step), planner.views, planner.normalisation)
        np.testing.assert_allclose(stored[step], model(view.images).numpy(), rtol=2e-3, atol=2e-3)
