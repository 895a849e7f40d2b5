"""A run that was killed ends in the same weights, bit for bit, as one that never was."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

import pytest

from final_weights import weights

pytestmark = pytest.mark.middle


@pytest.fixture(scope="module")
def never_killed(recipe_text: str, limbeck, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    (folder / "small.yaml").write_text(recipe_text)
    done = limbeck("run", "small.yaml", "--name", "whole", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "whole"


def rows(folder: Path) -> dict[str, list[dict]]:
    found = {}
    for path in sorted(folder.glob("cohorts/*/metrics/*.jsonl")):
        found[path.stem] = [json.loads(line) for line in path.read_text().splitlines()]
        for row in found[path.stem]:
            del row["seconds"]
    return found


def test_sigkill_at_random_steps(never_killed: Path, recipe: Path, start, tmp_path: Path) -> None:
    chance = random.Random(7)
    kills = 0
    for _ in range(60):
        process = start("run", recipe, "--name", "killed", cwd=tmp_path)
        # Let it get through its imports, then strike at a random moment of the training.
        if kills < 4:
            deadline = time.monotonic() + 120
            while not list((tmp_path / "runs").glob("killed/cohorts/*/checkpoints/step-*")):
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.02)
            time.sleep(3.0 * bool(kills) + chance.uniform(0.0, 1.5))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += process.returncode == -signal.SIGKILL
            continue
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        break
    assert kills >= 3
    killed = tmp_path / "runs" / "killed"
    assert (killed / "result.json").exists()
    assert weights(killed) == weights(never_killed)
    assert rows(killed) == rows(never_killed), "no row is lost or doubled"


def test_a_student_in_a_cohort_ends_as_it_does_alone(never_killed: Path, recipe: Path, limbeck, tmp_path: Path) -> None:
    together = weights(never_killed)
    text = recipe.read_text()
    without_baseline = text[: text.index("  baseline:")] + text[text.index("  distilled:") :]
    recipe.write_text(without_baseline)
    done = limbeck("run", recipe, "--name", "alone", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    alone = weights(tmp_path / "runs" / "alone")
    assert alone
    assert {name for name in together if name not in alone} == {n for n in together if n.startswith("baseline")}
    assert alone == {name: value for name, value in together.items() if name in alone}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_polite_stop_saves_and_says_how_to_go_on(
    number, code, never_killed, recipe, start, limbeck, tmp_path
) -> None:
    process = start("run", recipe, "--name", "stopped", cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "runs").glob("stopped/cohorts/*/checkpoints/step-*")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    assert f"limbeck run {recipe} --name stopped" in err
    done = limbeck("run", recipe, "--name", "stopped", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert weights(tmp_path / "runs" / "stopped") == weights(never_killed)


def test_again_it_says_that_it_is_finished(never_killed: Path, recipe: Path, limbeck, tmp_path: Path) -> None:
    before = weights(never_killed)
    done = limbeck("run", recipe, "--name", "whole", cwd=never_killed.parents[1])
    assert done.returncode == 0
    assert "already finished" in done.stdout
    assert weights(never_killed) == before


def test_another_recipe_is_refused_with_the_difference(
    never_killed: Path, recipe: Path, limbeck, tmp_path: Path
) -> None:
    done = limbeck("run", recipe, "students.distilled.epochs=7", "--name", "whole", cwd=never_killed.parents[1])
    assert done.returncode == 2
    assert "students.distilled.epochs: 5 -> 7" in done.stderr
    assert "--fresh" in done.stderr
    assert (never_killed / "result.json").exists()


def test_a_damaged_checkpoint_is_passed_over(recipe: Path, start, limbeck, never_killed: Path, tmp_path: Path) -> None:
    process = start("run", recipe, "--name", "damaged", cwd=tmp_path)
    pattern = "damaged/cohorts/students*/checkpoints/step-*"
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "runs").glob(pattern))) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    newest = max((tmp_path / "runs").glob(pattern))
    path = newest / "distilled-seed0.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    done = limbeck("run", recipe, "--name", "damaged", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{newest.name}/distilled-seed0.safetensors: damaged" in done.stderr
    assert weights(tmp_path / "runs" / "damaged") == weights(never_killed)
