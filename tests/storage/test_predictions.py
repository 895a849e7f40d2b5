"""Kept predictions come back as they were, and no damage to their file goes unnoticed."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from limbeck.errors import LimbeckError
from limbeck.storage.predictions import (
    Predictions,
    SampleImages,
    read_predictions,
    read_sample_images,
    write_predictions,
    write_sample_images,
)


def some(images: int, seed: int = 0) -> Predictions:
    draw = np.random.default_rng(seed)
    classes = draw.integers(0, 10, (images, 3), dtype=np.uint16)
    return Predictions(
        draw.integers(0, 10, images, dtype=np.uint16), classes, draw.random((images, 3)).astype(np.float16)
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    by_split = {"validation": some(7), "test": some(5, 1)}
    path = tmp_path / "predictions" / "arm-seed0.safetensors"
    write_predictions(path, by_split)
    found = read_predictions(path)
    assert set(found) == {"validation", "test"}
    for split, kept in by_split.items():
        assert (found[split].labels == kept.labels).all()
        assert (found[split].classes == kept.classes).all()
        assert (found[split].probabilities == kept.probabilities).all()
        assert found[split].classes.dtype == np.uint16 and found[split].probabilities.dtype == np.float16
    first = path.read_bytes()
    write_predictions(path, {"test": by_split["test"], "validation": by_split["validation"]})
    assert path.read_bytes() == first, "equal predictions, equal bytes"


def test_it_is_small(tmp_path: Path) -> None:
    write_predictions(tmp_path / "file", {"validation": some(5_000), "test": some(10_000)})
    assert (tmp_path / "file").stat().st_size < 15_000 * 14 + 2_000


def test_sample_images_come_back(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    write_sample_images(tmp_path / "file", SampleImages("test", np.array([3, 9], dtype=np.uint32), images))
    found = read_sample_images(tmp_path / "file")
    assert (found.split, found.places.tolist()) == ("test", [3, 9])
    assert (found.images == images).all()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), cut=st.booleans())
def test_no_flipped_bit_goes_unnoticed(tmp_path: Path, seed: int, cut: bool) -> None:
    draw, path = random.Random(seed), tmp_path / "file"
    write_predictions(path, {"test": some(20)})
    content = bytearray(path.read_bytes())
    if cut:
        content = content[: draw.randrange(len(content))]
    else:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    with pytest.raises(LimbeckError, match=r"file: damaged|is of format") as caught:
        read_predictions(path)
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    save_file({"test.labels": np.zeros(3)}, tmp_path / "file")
    with pytest.raises(LimbeckError, match="checksum"):
        read_predictions(tmp_path / "file")
    with pytest.raises(LimbeckError, match="missing"):
        read_predictions(tmp_path / "absent")
    write_predictions(tmp_path / "predictions", {"test": some(3)})
    with pytest.raises(LimbeckError, match="not sample images"):
        read_sample_images(tmp_path / "predictions")
    write_sample_images(tmp_path / "images", SampleImages("test", np.zeros(1), np.zeros((1, 2, 2, 3), dtype=np.uint8)))
    with pytest.raises(LimbeckError, match="not complete"):
        read_predictions(tmp_path / "images")
