"""`limbeck predict` on many files: folders, spoilt ones, and answers that programs can read."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_loaded_model import saved

import limbeck
from folder_of_colours import write_folder
from limbeck import load
from limbeck.commands.predict import BATCH, predict_files
from limbeck.commands.test_time import views_of_words
from limbeck.data.decode import read
from limbeck.errors import LimbeckError

Limbeck = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a folder with junk and a spoilt image in it, and nothing else."""
    home = tmp_path_factory.mktemp("home")
    saved(home / "model")
    photos = write_folder(home / "photos", side=20, count=3)
    (photos / "red" / "spoilt.jpg").write_bytes(b"not an image")
    (photos / "red" / ".hidden.png").write_bytes(b"")
    (photos / "red" / "notes.txt").write_text("red", encoding="utf-8")
    (photos / ".cache").mkdir()
    Image.new("RGB", (9, 9)).save(photos / ".cache" / "thumbnail.png")
    return home


def test_a_folder_is_walked_and_a_spoilt_file_passed_over(home: Path, limbeck: Limbeck) -> None:
    done = limbeck("predict", "model", "photos", "--top", 2, "--csv", cwd=home)
    assert done.returncode == 4, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert list(rows[0]) == ["file", "rank", "class", "probability"]
    files = [f"photos/{name}/00{number}.png" for name in ("blue", "green", "red") for number in range(3)]
    assert [(row["file"], row["rank"]) for row in rows] == [(file, rank) for file in files for rank in "12"]
    assert done.stderr.count("\n") == 1
    assert "photos/red/spoilt.jpg: not a supported image" in done.stderr


def test_json_has_all_files_and_why_one_is_missing(home: Path, limbeck: Limbeck) -> None:
    done = limbeck("predict", "model", "photos/red", "nowhere.png", "--json", cwd=home)
    assert done.returncode == 4, done.stderr
    found = json.loads(done.stdout)
    assert [entry["file"] for entry in found][-2:] == ["photos/red/spoilt.jpg", "nowhere.png"]
    assert [bool(entry.get("error")) for entry in found] == [False, False, False, True, True]
    for entry in found[:3]:
        assert sum(one["probability"] for one in entry["predictions"]) == pytest.approx(1, abs=1e-5)
        assert {one["class"] for one in entry["predictions"]} == set("abcd")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.png"], "nowhere.png: no such file or folder"),
        (["empty"], "empty: this folder has no images"),
        (["photos/red/spoilt.jpg"], "not a supported image"),
        (["photos", "--json", "--csv"], "give one of them"),
    ],
)
def test_nothing_to_predict_is_an_error(home: Path, limbeck: Limbeck, words: list[str], said: str) -> None:
    (home / "empty").mkdir(exist_ok=True)
    done = limbeck("predict", "model", *words, cwd=home)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_files_are_answered_in_batches_as_they_are_one_by_one(home: Path, tmp_path: Path) -> None:
    model = limbeck.load(home / "model")
    write_folder(tmp_path / "many", side=10, count=BATCH // 2, seed=3)
    (tmp_path / "many" / "green" / "005.png").write_bytes(b"")
    found = list(predict_files(model, [tmp_path / "many"], top=4))
    assert len(found) == 3 * (BATCH // 2) > BATCH
    assert [one.file for one in found if one.error] == [tmp_path / "many" / "green" / "005.png"]
    for one in found[:: BATCH // 3]:
        pixels = torch.from_numpy(read(one.file, size=8)).permute(2, 0, 1)[None]
        wanted = model(pixels).softmax(dim=1)[0]
        assert dict(one.classes) == pytest.approx(dict(zip("abcd", wanted.tolist(), strict=True)), abs=1e-6)


def test_probabilities_are_averaged_over_views(home: Path, limbeck: Limbeck) -> None:
    words = ["--test-time", "flip", "--test-time", "shifts=1", "--test-time", "scales=0.9,1.1"]
    done = limbeck("predict", "model", "photos/green", "--json", *words, cwd=home)
    assert done.returncode == 0, done.stderr
    averaged = load(home / "model").with_test_time(flip=True, shifts=1, scales=[0.9, 1.1])
    for entry in json.loads(done.stdout):
        pixels = torch.from_numpy(read(home / entry["file"], size=8)).permute(2, 0, 1)[None]
        wanted = dict(zip("abcd", averaged(pixels).exp()[0].tolist(), strict=True))
        found = {one["class"]: one["probability"] for one in entry["predictions"]}
        assert found == pytest.approx(wanted, abs=1e-6)
        assert sum(found.values()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["flp"], "--test-time: there is no 'flp'; did you mean 'flip'?"),
        (["translate=2"], "did you mean 'shifts'?"),
        (["noise"], "there is no 'noise'; takes flip, shifts=PIXELS and scales=0.9,1.1"),
        (["shifts"], "--test-time: shifts needs a value"),
        (["shifts=1.5"], "--test-time: shifts: expected an integer; got 1.5"),
        (["shifts=8"], "--test-time: shifts: a shift of 8 px leaves nothing of images of 8 x 8 px; takes at most 7"),
        (["scales=3"], "--test-time: scales.0: expected a number of at most 2; got 3"),
        (["scales=["], "--test-time: scales"),
        (["flip", "flip=false"], "--test-time: flip is given twice"),
        (["flip=false"], "--test-time: expected `flip`, `shifts` or `scales`"),
        (["\x1b[2J"], "--test-time: there is no"),
    ],
)
def test_a_wrong_word_about_views_is_one_line(words: list[str], said: str) -> None:
    with pytest.raises(LimbeckError) as caught:
        views_of_words(words, (3, 8, 8))
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_bomb_is_refused(home: Path, tmp_path: Path) -> None:
    from zlib import compress, crc32

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + crc32(kind + body).to_bytes(4, "big")

    header = (50_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(bomb)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "sound.png")
    bad, good = predict_files(limbeck.load(home / "model"), [tmp_path])
    assert "megapixels" in str(bad.error)
    assert good.classes


def test_a_name_that_is_no_text_is_passed_on(home: Path, limbeck: Limbeck, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name)
    words: list[Any] = ["predict", home / "model", tmp_path]
    for form in ([], ["--json"], ["--csv"]):
        done = limbeck(*words, *form, cwd=home)
        assert done.returncode == 0, done.stderr
        assert "caf" in done.stdout
