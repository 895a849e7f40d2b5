"""Runs with `quantise: int8`: killed and continued, together and alone, they end in the same bits."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from final_weights import weights

pytestmark = pytest.mark.middle

RECIPE = """\
name: quantised
threads: 1
precision: fp32
save_every_seconds: 0.1
evaluation: {latency_batch: 0}
data: {source: digits, train_images: 400}
views: {batch_size: 32}
students:
  defaults:
    model: {name: resnet, depth: 8, widths: [4, 8, 16]}
    epochs: 4
    optimizer: {name: adam, lr: 0.003}
    loss: [{name: cross_entropy}]
  float: {}
  averaged: {quantise: int8, ema: {decay: 0.9}}
  best: {quantise: int8, choose: best, model: {name: lightweight_cnn}}
"""


@pytest.fixture(scope="module")
def whole(limbeck, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    (folder / "recipe.yaml").write_text(RECIPE)
    done = limbeck("run", "recipe.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "quantised"


def test_killed_it_ends_in_the_same_bits(whole: Path, start, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    for pause in (0.0, 1.5):
        process = start("run", "recipe.yaml", cwd=tmp_path)
        deadline = time.monotonic() + 120
        while not list((tmp_path / "runs").glob("quantised/cohorts/*/checkpoints/step-*")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    process = start("run", "recipe.yaml", cwd=tmp_path)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert weights(tmp_path / "runs" / "quantised") == weights(whole)


def test_each_ends_as_it_does_alone(whole: Path, limbeck, tmp_path: Path) -> None:
    together = weights(whole)
    lines = RECIPE.splitlines(keepends=True)
    (tmp_path / "recipe.yaml").write_text("".join([*lines[:-3], lines[-2]]))
    done = limbeck("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    alone = weights(tmp_path / "runs" / "quantised")
    assert alone and all(name.startswith("averaged") for name in alone)
    assert alone == {name: value for name, value in together.items() if name in alone}
