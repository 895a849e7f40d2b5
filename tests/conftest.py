"""A small recipe on real digits with all that a resume must bring back, and the real command line."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

RECIPE = """\
name: small
seeds: [0]
threads: 1
precision: fp32
save_every_seconds: 0.1
evaluation: {latency_batch: 0}
data: {source: digits}
views: {batch_size: 64, crop: {padding: 1}, flip: true}
teachers:
  wide:
    model: {name: lightweight_cnn, dropout: 0.1}
    epochs: 2
    optimizer: {name: adam, lr: 3e-3}
    loss: [{name: cross_entropy}]
students:
  defaults:
    model: lightweight_cnn          # batch norm, dropout 0.5 and 0.3
    epochs: 5
    optimizer: {name: sgd, lr: 0.05, weight_decay: 5e-4}
    schedule: {name: cosine, warmup_epochs: 1}
    ema: {decay: 0.95}
    clip_norm: 1.0
    patience: 4
    choose: best
  baseline:
    optimizer: {name: muon, lr: 0.02}
    loss: [{name: cross_entropy, label_smoothing: 0.1}]
  distilled:
    teacher: wide
    loss: [{name: soft_targets, weight: 0.7}, {name: cross_entropy, weight: 0.3}]
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="session")
def recipe_text() -> str:
    return RECIPE


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def start(cache: Path) -> Start:
    """`limbeck` as a process of its own."""

    def begin(*words: Any, cwd: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "limbeck", *map(str, words)],
            cwd=cwd,
            env={**os.environ, "LIMBECK_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Where the tests run in the background, Ctrl-C is ignored, which a process would inherit.
            preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )

    return begin


@pytest.fixture(scope="session")
def limbeck(start: Start) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run it to its end."""

    def call(*words: Any, cwd: Path) -> subprocess.CompletedProcess[str]:
        process = start(*words, cwd=cwd)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return call


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own with room for one megabyte."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("needs root to mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)
