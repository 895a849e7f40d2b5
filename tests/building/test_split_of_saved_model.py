"""The images of a run are parted without a copy: a mapped set stays on the disk."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from limbeck.building.data import split_dataset
from limbeck.data.sources import digits
from limbeck.errors import LimbeckError
from limbeck.experiment.estimate import describe_plan
from limbeck.experiment.run import run
from limbeck.recipes.load import load_recipe
from limbeck.types import Dataset, Normalisation, Split

MAPPED = textwrap.dedent("""
    import sys
    from pathlib import Path

    import numpy as np
    import torch

    from limbeck.data import cache
    from limbeck.data.cache_writer import Contents
    from limbeck.evaluation.evaluate import evaluate
    from limbeck.building.data import split_dataset
    from limbeck.recipes.views import Views
    from limbeck.views.epoch import epoch_of_views
    from limbeck.views.plan import ViewPlanner

    COUNT, SIDE = 1200, 128  # 56 MiB


    def anonymous():
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


    def contents():
        draw = np.random.default_rng(0)
        blocks = (
            (draw.integers(0, 256, (50, SIDE, SIDE, 3), np.uint8), np.arange(50) % 2) for _ in range(COUNT // 50)
        )
        return Contents(("cat", "dog"), {"train": COUNT - 100, "test": 100}, (SIDE, SIDE), blocks, "a test")


    def predict(images):
        return torch.stack([images[:, 0, 0, 0], images[:, 1, 0, 0]], 1).float()


    def touch(split):
        planner = ViewPlanner("f", len(split), Views(batch_size=8), 0, (SIDE, SIDE))
        for step, view in epoch_of_views(split, planner, 0):
            if step > 3:
                break
        evaluate(predict, split, num_classes=2, batch_size=8)


    cache.IN_MEMORY = 100
    dataset = cache.dataset("large", "0" * 32, contents)
    touch(dataset.train)  # what these need once is no copy of the images
    before = anonymous()
    images = split_dataset(dataset, 0.1, 900)
    touch(images.train)
    touch(images.validation)
    assert len(images.train) > 850 and len(images.validation) == 110
    print(anonymous() - before)
""")


def test_parting_a_mapped_set_copies_no_pixels(tmp_path):
    environment = {"LIMBECK_CACHE": str(tmp_path), "PATH": "", "PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", MAPPED], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 12  # MiB; a copy of the images is 52, buffers of a batch a few


def copied(split: Split) -> Split:
    return Split(split.images.clone(memory_format=torch.channels_last), split.labels.clone())


def test_a_part_gives_the_very_images_that_a_copy_of_it_would():
    images = split_dataset(digits.build(), 0.2, 900)
    for split in (images.train, images.validation):
        whole = copied(split)
        places = torch.tensor([5, 0, 77, 5])
        assert torch.equal(split.take(places), whole.take(places))
        assert torch.equal(split.take(places), whole.images[places])
        assert split.take(places).is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(split.first(7), whole.images[:7])
        assert torch.equal(torch.cat(list(split.batches(50))), torch.cat(list(whole.batches(50))))
        assert [len(batch) for batch in split.batches(100)] == [len(batch) for batch in whole.batches(100)]
        some = split.part(places)
        assert torch.equal(some.images, whole.images[places])
        assert torch.equal(some.labels, whole.labels[places])
        assert torch.equal(some.part(torch.tensor([2])).images, whole.images[[77]])
        assert split.to(torch.device("cpu")) is split
        moved = split.to(torch.device("meta"))
        assert moved.image_shape == split.image_shape
        assert len(moved) == len(split)


def small_classes(**changes) -> Dataset:
    labels = torch.tensor([0] * 20 + [1] * 20 + [2] * 2 + [3])
    split = Split(torch.zeros(43, 3, 4, 4, dtype=torch.uint8), labels)
    grey = Normalisation((0.5,) * 3, (0.2,) * 3)
    return replace(Dataset("mine", ("cat", "dog", "eel", "emu"), split, None, split, "f" * 64, grey), **changes)


def test_a_class_that_is_too_small_trains_with_all_of_it_and_that_is_said(capsys):
    images = split_dataset(small_classes(notes=("as they are",)), 0.1)
    assert images.train.labels.bincount().tolist() == [18, 18, 2, 1]
    assert images.validation.labels.bincount().tolist() == [2, 2]
    said = "2 classes have too few images for the validation split; all of them are used for training: 'eel', 'emu'"
    assert images.notes == ("as they are", said)
    assert capsys.readouterr().err == f"mine: {said}\n"
    assert split_dataset(small_classes(), 0.1, 10).train.labels.bincount().tolist() == [5, 5, 1, 1]


def test_nothing_is_held_out_where_the_source_has_validation_images_and_else_that_is_refused():
    with pytest.raises(LimbeckError, match=r"^data\.validation: 0 holds nothing out, and mine brings no"):
        split_dataset(small_classes(), 0)
    dataset = small_classes(validation=Split(torch.zeros(4, 3, 4, 4, dtype=torch.uint8), torch.arange(4)))
    images = split_dataset(dataset, 0)
    assert (len(images.train), len(images.validation)) == (43, 4)
    assert images.fingerprint == dataset.fingerprint
    assert load_recipe("quickstart", ["data.validation=0"]).data.validation == 0


def test_the_key_decides_what_is_held_out_and_the_fingerprint_says_so():
    plain, keyed, other = (split_dataset(small_classes(split_key=key), 0.3) for key in ("", "a" * 64, "b" * 64))
    assert plain.fingerprint == f"{'f' * 64}/validation=0.3"
    assert keyed.fingerprint == f"{plain.fingerprint}/split={'a' * 16}"
    assert plain.dataset_fingerprint == keyed.dataset_fingerprint == "f" * 64
    rows = [images.validation.rows.tolist() for images in (plain, keyed, other)]
    assert len({tuple(of) for of in rows}) == 3
    bigger = split_dataset(small_classes(split_key="a" * 64, fingerprint="e" * 64), 0.3)
    assert bigger.validation.rows.tolist() == rows[1]


def test_what_was_held_out_of_digits_stays_so_in_every_version():
    # Published numbers rest on it.
    images = split_dataset(digits.build(), 0.1)
    assert images.validation.rows[:8].tolist() == [22, 40, 45, 53, 56, 73, 74, 85]
    assert "/split=" not in images.fingerprint


def test_what_was_left_out_reaches_result_and_report(tmp_path, monkeypatch):
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    photos = tmp_path / "photos"
    for name in ("cat", "dog"):
        (photos / name).mkdir(parents=True)
        for i in range(10):
            Image.fromarray(np.random.default_rng([ord(name[0]), i]).integers(0, 256, (8, 8, 3), np.uint8)).save(
                photos / name / f"{i}.png"
            )
    (photos / "cat" / "bad.png").write_bytes(b"rubbish")
    (photos / "cat" / "notes.txt").write_text("hello")
    recipe = {
        "name": "skipping",
        "data": {"source": f"folder:{photos}", "validation": 0.2, "spoilt": "skip"},
        "views": {"batch_size": 8},
        "seeds": [0],
        "students": {
            "only": {
                "model": "lightweight_cnn",
                "epochs": 1,
                "loss": [{"name": "cross_entropy"}],
                "optimizer": {"name": "sgd", "lr": 0.1},
            }
        },
        "evaluation": {"latency_batch": 0},
    }
    done = run(recipe, folder=tmp_path / "runs")
    passed_over, left_out = done.result["data_notes"]
    assert passed_over == "ignored 1 file that is not an image: 1 .txt"
    assert left_out.startswith("1 of 21 images are unreadable and were skipped")
    report = done.report.read_text()
    assert passed_over in report
    assert "1 of 21 images are unreadable" in report
    assert passed_over in "\n".join(describe_plan(load_recipe(recipe), timed=False))
