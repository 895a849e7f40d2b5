"""One run by several processes of a real `torchrun`, on loopback: what comes out, what stops it, what kills it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import run_together

import limbeck
from final_weights import weights
from limbeck.storage.run_directory import RunDirectory

pytestmark = pytest.mark.middle

SCRIPT = Path(run_together.__file__)
IMAGES_SEEN = 400
"""In an epoch: whole batches of 50."""


def torchrun(count: int, *words: object) -> subprocess.Popen[str]:
    """So many processes that teach together."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen(
        [*command, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )


def said(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """What the processes printed until their end."""
    out, err = process.communicate(timeout=240)
    found = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert found, err
    return found


def together(count: int, folder: Path, **more: Any) -> list[dict[str, Any]]:
    """Run it to the end."""
    return said(torchrun(count, SCRIPT, folder, json.dumps(more)))


def rows(folder: Path, learner: str) -> list[dict[str, Any]]:
    """Its metrics, but for the time they took."""
    (found,) = folder.glob(f"together/cohorts/*/metrics/{learner}.jsonl")
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in found.read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by two processes, to its end."""
    folder = tmp_path_factory.mktemp("whole")
    assert together(2, folder) == [{"finished": 2}, {"finished": 2}]
    return folder


def test_two_processes_make_one_run_as_one_process_would(whole: Path, tmp_path: Path) -> None:
    limbeck.run(run_together.recipe(), folder=tmp_path, models={"group_norm_net": run_together.group_norm_net})
    for learner in ("big-seed0", "dist-seed0"):
        alone, both = rows(tmp_path, learner), rows(whole, learner)
        assert len(both) == len(alone)
        for one, two in zip(alone, both, strict=True):
            # Sums in another order move logits by 1e-7 or so: losses hardly change, and an image whose two likeliest
            # classes are as good as tied may be counted right in one and wrong in the other.
            assert two.pop("train_accuracy") == pytest.approx(one.pop("train_accuracy"), abs=1 / IMAGES_SEEN)
            assert two == pytest.approx(one, abs=2e-4)
    result = json.loads((whole / "together" / "result.json").read_text())
    assert [arm["arm"] for arm in result["arms"]] == ["big", "dist", "small"]
    assert "Processes" in (whole / "together" / "report.md").read_text()


def test_stopped_and_gone_on_with_bit_for_bit(whole: Path, tmp_path: Path) -> None:
    for epochs in (2, 5):
        process = torchrun(2, SCRIPT, tmp_path, "{}")
        _wait_for_students(tmp_path, process, epochs)
        process.send_signal(signal.SIGTERM)
        assert said(process) == [{"stopped": 15}, {"stopped": 15}]
    assert together(2, tmp_path) == [{"finished": 2}, {"finished": 2}]
    _must_be_alike(tmp_path, whole)


def test_one_of_two_killed(whole: Path, tmp_path: Path) -> None:
    process = torchrun(2, SCRIPT, tmp_path, json.dumps({"save_every_seconds": 0.2}))
    _wait_for_students(tmp_path, process, 4)
    os.kill(_workers(process)[1], signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode
    assert not RunDirectory(tmp_path / "together").result.exists()
    assert together(2, tmp_path, save_every_seconds=0.2) == [{"finished": 2}, {"finished": 2}]
    _must_be_alike(tmp_path, whole)


def test_what_cannot_be_done_together_is_said(tmp_path: Path) -> None:
    (first, *_) = together(2, tmp_path, outputs_bank={})
    assert "outputs_bank: is written and read by one process" in first["error"]
    (first, *_) = together(2, tmp_path, views={"batch_size": 1})
    assert "a batch of 1 has no image for each of 2 processes" in first["error"]


def test_the_command_line_speaks_once(tmp_path: Path) -> None:
    words = ["-m", "limbeck", "run", "quickstart", "--folder", str(tmp_path), "seeds=[0]"]
    words += [f"{part}.epochs=1" for part in ("teachers.resnet", "students.defaults")]
    process = torchrun(2, *words)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert out.count("report: ") == 1
    assert err.count("measuring distilled-seed0") == 1
    assert "each of 2 processes takes those of its own part of a batch" in err


def test_a_sweep_needs_no_torchrun(tmp_path: Path) -> None:
    process = torchrun(2, "-m", "limbeck", "sweep", "cifar10-grid-small", "--folder", tmp_path)
    _, err = process.communicate(timeout=120)
    assert process.returncode
    assert "limbeck: sweep: torchrun is for `limbeck run`" in err


def _wait_for_students(folder: Path, process: subprocess.Popen[str], epochs: int) -> None:
    until = time.monotonic() + 120
    while (
        not list(folder.glob("together/cohorts/*/metrics/dist-seed0.jsonl")) or len(rows(folder, "dist-seed0")) < epochs
    ):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)


def _workers(process: subprocess.Popen[str]) -> list[int]:
    """The processes that torchrun has started."""
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in found]


def _must_be_alike(one: Path, other: Path) -> None:
    for learner in ("big-seed0", "dist-seed0", "small-seed0"):
        assert rows(one, learner) == rows(other, learner)
    assert weights(one / "together") == weights(other / "together")
