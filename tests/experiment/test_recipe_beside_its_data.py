"""A recipe beside its images and its weights runs from anywhere, and goes on from anywhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from limbeck.experiment.run import run
from limbeck.experiment.train_cohort import Watcher
from limbeck.models import lightweight_cnn

TEXT = """name: beside
threads: 1
precision: fp32
evaluation: {latency_batch: 0}
data: {source: folder:photos, validation: 0.3}
views: {batch_size: 4}
students:
  a:
    model: lightweight_cnn
    weights: start.safetensors
    epochs: 1
    optimizer: {name: sgd, lr: 0.01}
    loss: [{name: cross_entropy}]
"""


def test_a_recipe_runs_from_elsewhere_and_goes_on_beside_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (project / "photos" / name).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(project / "photos" / name / f"{i}.png")
    torch.manual_seed(0)
    save_file(lightweight_cnn.build(2).state_dict(), project / "start.safetensors")
    (project / "r.yaml").write_text(TEXT)
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    first = run("project/r.yaml", folder="runs")
    for path in (first.folder / "result.json", *first.folder.glob("cohorts/*/done.json")):
        path.unlink()
    monkeypatch.chdir(project)
    said: list[str] = []
    again = run("r.yaml", folder="../runs", make_watcher=lambda key, learners: Watcher(say=said.append))
    assert any(line.startswith("continuing from") for line in said)
    measured = [[arm["test"]["top1"] for arm in done.result["arms"]] for done in (first, again)]
    assert measured[0] == measured[1]
