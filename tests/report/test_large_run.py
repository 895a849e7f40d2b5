"""The report of 50 arms over 200 epochs and 3 seeds takes under 20 seconds and 1 GB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sample_results import curve, evaluation, learner, result_of

from limbeck.storage.atomic import make_folder, write_json
from limbeck.storage.run_directory import RunDirectory

ARMS, EPOCHS, SEEDS = 50, 200, 3
SECONDS, MEGABYTES = 20.0, 1000.0
MEASURED = """
import json, re, sys, time
from pathlib import Path
begun = time.process_time()
from limbeck.cli import app
app(["report", *sys.argv[1:]], standalone_mode=False)
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(json.dumps({"cpu_seconds": time.process_time() - begun, "megabytes": int(peak[1]) / 1024}))
"""
"""The peak is not `ru_maxrss`, which begins at that of the process that started this one."""


def large_run(folder: Path) -> Path:
    """The directory of a run with many arms, written as a run writes it."""
    arm: dict[str, Any] = {"model": {"name": "lightweight_cnn"}, "epochs": EPOCHS}
    names = [f"kd-{number:02d}" for number in range(ARMS - 2)]
    recipe = {
        "name": "large",
        "seeds": list(range(SEEDS)),
        "teachers": {"resnet": {**arm, "model": {"name": "resnet"}, "loss": [{"name": "cross_entropy"}]}},
        "students": {
            "plain": {**arm, "loss": [{"name": "cross_entropy"}]},
            **{
                name: {
                    **arm,
                    "teacher": [{"name": "resnet", "weight": 1.0}],
                    "baseline": "plain",
                    "loss": [{"name": "soft_targets", "temperature": float(1 + number % 12)}],
                    "optimizer": {"name": "sgd", "lr": 0.01 * (1 + number // 12)},
                }
                for number, name in enumerate(names)
            },
        },
    }
    learners = [learner("resnet", seed, 0.80, 100, role="teacher", epochs=EPOCHS) for seed in range(SEEDS)]
    learners += [learner("plain", seed, 0.70, 100, epochs=EPOCHS) for seed in range(SEEDS)]
    for number, name in enumerate(names):
        for seed in range(SEEDS):
            more = {"agreement": 0.8, "kl_to_reference": 0.2}
            top1 = 0.70 + 0.001 * number + 0.002 * seed
            learners.append(
                learner(name, seed, top1, 100, teacher=["resnet"], baseline="plain", epochs=EPOCHS)
                | {"test": evaluation(top1, 100, **more)}
            )
    directory = RunDirectory(folder)
    make_folder(folder)
    write_json(directory.recipe, recipe)
    for one in learners:
        log = directory.cohort("students-0").metrics(f"{one['arm']}-seed{one['seed']}")
        make_folder(log.path.parent)
        rows = curve(one["test"]["top1"], epochs=EPOCHS)
        log.path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))  # `append` flushes 30,000 times
    write_json(directory.result, result_of(learners, 100) | {"recipe": recipe})
    return folder


@pytest.mark.middle
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to measure the peak")
def test_a_large_run_is_reported_in_seconds(tmp_path: Path) -> None:
    folder = large_run(tmp_path / "large")
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(folder), "--out", str(tmp_path / "out")],
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "nothing was left out"
    used = json.loads(done.stdout.splitlines()[-1])
    table = (tmp_path / "out/tables/results.csv").read_text(encoding="utf-8").splitlines()
    assert len(table) == 1 + ARMS
    assert (tmp_path / "out/index.html").stat().st_size < 5_000_000
    assert used["megabytes"] < MEGABYTES, used
    assert used["cpu_seconds"] < SECONDS, used
