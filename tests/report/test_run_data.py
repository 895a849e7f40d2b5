"""A run directory is read as it is: finished, in progress, damaged or of an earlier version; and without torch."""

from __future__ import annotations

import copy
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from real_run import real_run
from sample_results import result_of, three_arms

from limbeck.building.data import load_images
from limbeck.errors import LimbeckError
from limbeck.evaluation.correctness import packed
from limbeck.experiment.run import Run
from limbeck.recipes.recipe import Data
from limbeck.report.arms import arms_of
from limbeck.report.comparisons import compare
from limbeck.report.options import OneOption, differing, one_option_apart, options_of
from limbeck.report.run_data import labels, planned, read_run, read_runs, record_of_result
from limbeck.storage.lock import is_locked, try_lock
from limbeck.storage.run_directory import LearnerId


@pytest.fixture
def copied(finished: Run, tmp_path: Path) -> Path:
    shutil.copytree(finished.folder, tmp_path / "copied", ignore=shutil.ignore_patterns("models", "checkpoints"))
    return tmp_path / "copied"


def test_a_finished_run_says_what_its_result_says(finished: Run) -> None:
    record = read_run(finished.folder)
    assert (record.state, record.problems, record.name) == ("finished", (), "small-ensemble")
    assert record.result == finished.result
    assert record.arms == tuple(arms_of(finished.result))
    assert {key: [row["epoch"] for row in rows] for key, rows in record.curves.items()} == {
        (arm["arm"], arm["seed"]): list(range(1, arm["epochs"] + 1)) for arm in finished.result["arms"]
    }
    assert {(one.arm, one.seed, one.state) for one in record.progress} == {
        (arm["arm"], arm["seed"], "finished") for arm in finished.result["arms"]
    }
    assert all(one.epochs == one.epochs_done > 0 for one in record.progress)
    in_memory = record_of_result(finished.folder, finished.result, record.curves)
    assert (in_memory.arms, in_memory.progress) == (record.arms, record.progress)


def test_planned_learners_are_those_of_the_run(finished: Run) -> None:
    expected = [(arm["arm"], arm["seed"], arm["role"], arm["epochs"]) for arm in finished.result["arms"]]
    assert list(planned(finished.result["recipe"])) == expected


def test_before_the_end_the_finished_cohorts_are_reported(finished: Run, copied: Path) -> None:
    (copied / "result.json").unlink()
    whole = read_run(copied)
    assert (whole.state, whole.problems) == ("stopped", ())
    assert [arm.name for arm in whole.arms] == [arm.name for arm in arms_of(finished.result)]
    for arm in whole.arms:
        with_all = compare(arm, whole.arms)
        expected = compare(next(a for a in arms_of(finished.result) if a.name == arm.name), arms_of(finished.result))
        assert (with_all.retention, with_all.gain) == (expected.retention, expected.gain)
    for done in copied.glob("cohorts/students-*/done.json"):
        done.unlink()
    part = read_run(copied)
    assert {arm.role for arm in part.arms} == {"teacher"}
    waiting = {(one.arm, one.state) for one in part.progress if one.role == "student"}
    assert waiting == {("chained", "training"), ("distilled", "training"), ("baseline", "training")}
    assert {key[0] for key in part.curves} >= {"distilled"}, "curves of learners that are not measured yet"


def test_a_run_is_running_while_a_process_holds_its_lock(copied: Path) -> None:
    (copied / "result.json").unlink()
    assert is_locked(copied / "run.lock") is False
    with try_lock(copied / "run.lock") as lock:
        assert lock.acquired
        assert is_locked(copied / "run.lock") is True
        assert read_run(copied).state == "running"
    assert read_run(copied).state == "stopped"
    assert is_locked(copied / "no-such-file") is False


def test_a_learner_that_failed_or_was_not_started_is_told_apart(finished: Run, copied: Path) -> None:
    result = copy.deepcopy(finished.result)
    result["arms"][-1]["failure"] = {"epoch": 1, "step": 2, "term": "cross_entropy", "value": "nan"}
    (copied / "result.json").write_text(json.dumps(result))
    states = {(one.arm, one.seed): one.state for one in read_run(copied).progress}
    assert states[result["arms"][-1]["arm"], result["arms"][-1]["seed"]] == "failed"
    assert list(states.values()).count("failed") == 1


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda run: (run / "result.json").write_text("{"), "result.json"),
        (lambda run: (run / "result.json").write_text("[1]"), "result.json"),
        (lambda run: (run / "recipe.json").write_bytes(b"\xff\xfe"), "recipe.json"),
        (lambda run: next(run.glob("cohorts/*/metrics/*.jsonl")).write_text("{}\n"), ".jsonl:1"),
        (lambda run: next(run.glob("cohorts/*/metrics/*.jsonl")).write_text('{"epoch": 1e400}\n'), ".jsonl:1"),
        (lambda run: (run / "result.json").write_text("[" * 100_000), "result.json"),
    ],
)
def test_what_is_damaged_is_named_and_the_rest_is_reported(copied: Path, damage: Any, said: str) -> None:
    damage(copied)
    record = read_run(copied)
    assert any(said in line for line in record.problems), record.problems
    assert all("\n" not in line for line in record.problems)
    assert len(record.arms) == 6, "the learners are known from elsewhere"


def test_a_damaged_learner_is_left_out_and_named(finished: Run, copied: Path) -> None:
    result = copy.deepcopy(finished.result)
    result["arms"][0]["test"]["top1"] = "0.9"
    del result["arms"][1]["seed"]
    (copied / "result.json").write_text(json.dumps(result))
    record = read_run(copied)
    assert len(record.problems) == 2
    assert "test.top1" in record.problems[0] and "seed" in record.problems[1]
    assert sum(len(arm.learners) for arm in record.arms) == len(result["arms"]) - 2


def test_an_incomplete_last_line_is_one_being_written(copied: Path) -> None:
    path = next(copied.glob("cohorts/*/metrics/large-seed0.jsonl"))
    path.write_bytes(path.read_bytes() + b'{"epoch": 3, "train')
    record = read_run(copied)
    assert record.problems == ()
    assert [row["epoch"] for row in record.curves["large", 0]] == [1, 2]


def test_predictions_of_single_images_are_those_that_were_measured(finished: Run) -> None:
    record = read_run(finished.folder)
    images = load_images(Data(source="digits", train_images=600))
    assert set(record.predictions) == {(row["arm"], row["seed"]) for row in finished.result["arms"]}
    for (arm, seed), by_split in record.predictions.items():
        row = record.learner(arm, seed)
        assert row is not None
        for split in ("validation", "test"):
            kept = by_split[split]
            assert kept.labels.tolist() == getattr(images, split).labels.tolist()
            assert kept.correct.mean() == pytest.approx(row[split]["top1"])
            assert packed(torch.from_numpy(kept.correct)) == row["correct"][split]
    sample = record.sample_images
    assert sample is not None and sample.split == "test"
    assert (images.test.images[sample.places.tolist()].permute(0, 2, 3, 1).numpy() == sample.images).all()
    disputed = {
        place
        for arm in record.arms
        for teacher in arm.teachers
        for place, differs in enumerate(
            record.predictions[arm.name, 0]["test"].predicted != record.predictions[teacher, 0]["test"].predicted
        )
        if arm.role == "student" and differs
    }
    assert set(sample.places.tolist()) <= disputed
    assert len(sample.places) == min(48, len(disputed))


def test_measuring_again_gives_the_same_bytes(finished: Run, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "small-ensemble")
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors") if "models" not in path.parts}
    kept = {path: content for path, content in kept.items() if "checkpoints" not in path.parts}
    taught = {"large", "other", "distilled"}
    teaching = [arm for arm in finished.result["arms"] if arm["arm"] in taught]
    assert len(kept) == len(finished.result["arms"]) + len(teaching) + 1, "predictions, temperatures, sample images"
    for path in (*tmp_path.rglob("done.json"), *tmp_path.rglob("result.json"), *kept):
        path.unlink()
    real_run(tmp_path)
    assert {path: path.read_bytes() for path in kept} == kept


def test_damaged_predictions_are_named_and_left_out(copied: Path) -> None:
    path = copied / "predictions" / "large-seed0.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    (copied / "sample-images.safetensors").write_bytes(b"")
    record = read_run(copied)
    assert [line.split(":")[0] for line in record.problems] == [str(path), str(copied / "sample-images.safetensors")]
    assert ("large", 0) not in record.predictions and ("large", 1) in record.predictions
    assert record.sample_images is None
    assert read_run(copied, with_predictions=False).problems == ()
    shutil.rmtree(copied / "predictions")
    assert read_run(copied).predictions == {}, "a run of an earlier version"


def test_directories_that_hold_no_run_are_skipped_and_named(finished: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    wrong = [tmp_path / "empty", tmp_path / "file", tmp_path / "missing"]
    records, skipped = read_runs([wrong[0], finished.folder, *wrong[1:]])
    assert [record.folder for record in records] == [finished.folder]
    assert len(skipped) == 3
    for path, line in zip(wrong, skipped, strict=True):
        assert str(path) in line and "\n" not in line
    with pytest.raises(LimbeckError, match="missing"):
        read_runs(wrong)


def scalars(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from scalars(value, (*path, key))


RESULT = result_of(three_arms(seeds=2, classes=3))
PLACES = list(scalars(RESULT))
JUNK = st.sampled_from([None, True, -1, 1.5, 10**30, "x", "", [], [[]], {}, {"name": 1}, [None], [{"name": "a"}]])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(PLACES), junk=JUNK, drop=st.booleans())
def test_no_changed_value_is_fatal(tmp_path: Path, place: tuple[Any, ...], junk: Any, drop: bool) -> None:
    result = copy.deepcopy(RESULT)
    node: Any = result
    for key in place[:-1]:
        node = node[key]
    if drop:
        del node[place[-1]]
    else:
        node[place[-1]] = junk
    (tmp_path / "result.json").write_text(json.dumps(result))
    (tmp_path / "recipe.json").write_text(json.dumps(result.get("recipe")))
    try:
        record = read_run(tmp_path)
    except LimbeckError:
        return
    for arm in record.arms:
        compare(arm, record.arms)
        _ = arm.confusion, arm.at_chance, arm.failed
    _ = record.options, record.class_names, record.split, record.name, record.environment


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_no_flipped_byte_is_fatal(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    content = bytearray(json.dumps(RESULT).encode())
    for _ in range(draw.randint(1, 20)):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    (tmp_path / "result.json").write_bytes(content[: draw.choice([len(content), draw.randrange(len(content))])])
    (tmp_path / "recipe.json").write_text(json.dumps({"name": "run", "students": {}}))
    record = read_run(tmp_path)
    assert record.arms or record.problems


def test_torch_is_not_imported(finished: Run) -> None:
    code = (
        "import sys; from pathlib import Path; from limbeck.report.run_data import read_run; "
        f"assert read_run(Path({str(finished.folder)!r})).arms; "
        "print(sorted({'torch', 'torchvision', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


def test_runs_of_one_name_get_distinct_labels(tmp_path: Path) -> None:
    for name in ("a/run", "b/run"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "result.json").write_text(json.dumps(RESULT))
    records = [read_run(tmp_path / name) for name in ("a/run", "b/run", "b/run")]
    assert labels(records[:1]) == ["run"]
    assert len(set(labels(records[:2]))) == 2
    assert len(set(labels(records))) == 3


def test_options_are_flat_and_losses_are_named() -> None:
    recipe: dict[str, Any] = {"precision": "fp32", "views": {"batch_size": 64, "mixing": None}, "students": {}}
    for name, beta in (("none", 1.0), ("two", 2.0), ("eight", 8.0)):
        recipe["students"][name] = {
            "model": {"name": "resnet20"},
            "loss": [{"name": "dkd", "weight": 0.5, "beta": beta}, {"name": "cross_entropy", "weight": 1.0}],
            "views": None,
            "baseline": "other",
        }
    recipe["students"]["twice"] = {"loss": [{"name": "dkd", "beta": 1.0}, {"name": "dkd", "beta": 3.0}]}
    options = options_of(recipe)
    assert options["eight"] == {
        "model.name": "resnet20",
        "loss": ["dkd", "cross_entropy"],
        "loss.dkd.weight": 0.5,
        "loss.dkd.beta": 8.0,
        "loss.cross_entropy.weight": 1.0,
        "precision": "fp32",
        "views.batch_size": 64,
    }
    assert options["twice"]["loss.dkd(2).beta"] == 3.0
    del options["twice"]
    assert differing(options) == ["loss.dkd.beta"]
    assert one_option_apart(options) == [OneOption("loss.dkd.beta", (1.0, 2.0, 8.0), ("none", "two", "eight"))]


def test_an_option_that_some_arms_lack_is_an_effect_too() -> None:
    options = {"on": {"lr": 1, "views.mixing.mixup": 0.2}, "off": {"lr": 1}, "other": {"lr": 2}}
    effects = one_option_apart(options)
    assert OneOption("views.mixing.mixup", (None, 0.2), ("off", "on")) in effects
    assert OneOption("lr", (1, 2), ("off", "other")) in effects
    assert len(effects) == 2


def test_learner_names_are_those_of_files() -> None:
    assert (str(LearnerId("a", 1)), str(LearnerId("a"))) == ("a-seed1", "a")
