"""Real runs whose optimizers have several groups of parameters: learning rates by layer, no decay for some."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from final_weights import weights

RECIPE = """\
name: groups
seeds: [0]
threads: 1
precision: fp32
save_every_seconds: 0.05
evaluation: {latency_batch: 0}
data: {source: digits, train_images: 512}
views: {batch_size: 64, crop: {padding: 1}, flip: true}
students:
  defaults:
    model: lightweight_cnn
    epochs: 5
    schedule: {name: cosine, warmup_epochs: 1}
    clip_norm: 1.0
    loss: [{name: cross_entropy}]
  sgd:
    optimizer: {name: sgd, lr: 0.05, weight_decay: 0.05, layer_decay: 0.7, decay_norms_and_biases: false}
  adam:
    optimizer: {name: adam, lr: 3e-3, weight_decay: 0.05, no_weight_decay: ["head.*"]}
  adamw:
    optimizer: {name: adamw, lr: 3e-3, weight_decay: 0.5, layer_decay: 0.8, no_weight_decay: ["stages.0.*"],
                decay_norms_and_biases: false}
  muon:
    optimizer: {name: muon, lr: 0.02, weight_decay: 0.5, layer_decay: 0.7, no_weight_decay: ["stages.0.*"]}
"""
PLAIN = [
    "students.sgd.optimizer={name: sgd, lr: 0.05, weight_decay: 0.05}",
    "students.adam.optimizer={name: adam, lr: 3e-3, weight_decay: 0.05}",
    "students.adamw.optimizer={name: adamw, lr: 3e-3, weight_decay: 0.5}",
    "students.muon.optimizer={name: muon, lr: 0.02, weight_decay: 0.5}",
]
ARMS = ("adam", "adamw", "muon", "sgd")


@pytest.mark.middle
def test_a_killed_run_goes_on_bit_for_bit(limbeck, start, tmp_path: Path) -> None:
    (tmp_path / "groups.yaml").write_text(RECIPE)
    for name, overrides in (("whole", []), ("plain", PLAIN)):
        done = limbeck("run", "groups.yaml", *overrides, "--name", name, cwd=tmp_path)
        assert done.returncode == 0, done.stderr

    killed = tmp_path / "runs" / "killed"

    def newest() -> int:
        """The number of the newest checkpoint: steps, and one for the end of each epoch."""
        return max(
            (int(path.name.removeprefix("step-")) for path in killed.glob("cohorts/*/checkpoints/step-*")), default=0
        )

    for least in (8, 20):  # of 45: in the second epoch, then in the third or later
        process = start("run", "groups.yaml", "--name", "killed", cwd=tmp_path)
        deadline = time.monotonic() + 120
        while newest() < least:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not list(killed.glob("cohorts/*/done.json")), "killed on its way"
    done = limbeck("run", "groups.yaml", "--name", "killed", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "continuing from step-" in done.stderr

    expected, without = weights(tmp_path / "runs" / "whole"), weights(tmp_path / "runs" / "plain")
    assert weights(killed) == expected
    changed = {name.partition("-seed0/")[0] for name in expected if expected[name] != without[name]}
    assert changed == set(ARMS), "each optimizer's options change what is learned"


def test_a_pattern_that_matches_no_parameter_ends_a_run_before_it_trains(limbeck, tmp_path: Path) -> None:
    (tmp_path / "groups.yaml").write_text(RECIPE)
    wrong = "students.adam.optimizer.no_weight_decay=['*.positions']"
    done = limbeck("run", "groups.yaml", wrong, "--name", "a", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "limbeck: adam: optimizer.no_weight_decay: no parameter of the model matches '*.positions'; its parameters are "
        "stages.0.0.weight, …, head.4.bias\n"
    )
    assert not list(tmp_path.glob("runs/a/cohorts/*/*"))
