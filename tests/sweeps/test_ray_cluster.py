"""A sweep on a local Ray of two workers, one of them killed in the middle: every setting ends exactly once."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_sweep import AXES, recipe

from final_weights import weights
from limbeck.errors import LimbeckError
from limbeck.sweeps.sweep import sweep

pytestmark = pytest.mark.middle

ray = pytest.importorskip("ray")


@pytest.fixture
def two_workers() -> Iterator[None]:
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        ray.shutdown()


def working() -> list[int]:
    """Processes that are at a task now."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if title.startswith("ray::_train_cohort"):
            found.append(int(entry.name))
    return found


def test_a_worker_is_killed_and_every_setting_ends_once(two_workers: None, tmp_path: Path) -> None:
    asked = recipe(sweep={**AXES, "cohort": 2}, seeds=[0])
    for group in ("teachers", "students"):
        for arm in asked[group].values():
            arm["epochs"] = 6 if "epochs" in arm else arm.get("epochs", 6)
    killed: list[int] = []

    def kill_one() -> None:
        deadline = time.monotonic() + 300
        while not killed and time.monotonic() < deadline:
            there = list((tmp_path / "grid/search/000/cohorts").glob("wide-seed0/done.json"))
            if there and (pids := working()):
                time.sleep(0.3)
                os.kill(pids[0], signal.SIGKILL)
                killed.append(pids[0])
            time.sleep(0.02)

    killer = threading.Thread(target=kill_one)
    killer.start()
    on_cluster = sweep(asked, folder=tmp_path, ray="local")
    killer.join()
    assert killed, "nobody was killed: nothing was tested"
    here = sweep(asked, folder=tmp_path / "here")
    assert weights(on_cluster.folder / "search/000") == weights(here.folder / "search/000")
    assert weights(on_cluster.folder / "chosen") == weights(here.folder / "chosen")
    assert on_cluster.result["validation"] == here.result["validation"]
    cohorts = (on_cluster.folder / "search/000/cohorts").glob("*/done.json")
    ended = [arm["arm"] for path in cohorts for arm in json.loads(path.read_text())["arms"]]
    assert sorted(ended) == sorted(["wide", "baseline", *(f"distilled.{n:03d}" for n in range(6))])


def test_no_cluster_is_told(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=r"--ray 127\.0\.0\.1:1: cannot reach a cluster") as caught:
        sweep(recipe(), folder=tmp_path, ray="127.0.0.1:1")
    assert "\n" not in str(caught.value)
