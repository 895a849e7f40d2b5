"""`limbeck check`: what a source holds, and everything that is wrong with it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from limbeck.cli import app
from limbeck.commands.check_data import check_source
from limbeck.errors import LimbeckError


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def png(*key: int, side: int = 12) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(key).integers(0, 256, (side, side + 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """train with 6 cats and 5 dogs, test with 2 dogs."""
    for split, name, count in (("train", "cat", 6), ("train", "dog", 5), ("test", "dog", 2)):
        folder = tmp_path / "photos" / split / name
        folder.mkdir(parents=True)
        for i in range(count):
            (folder / f"{i}.png").write_bytes(png(len(split), ord(name[0]), i, side=12 + i))
    return tmp_path / "photos"


def test_a_sound_folder_is_counted_and_nothing_is_stored(photos: Path, tmp_path: Path) -> None:
    (photos / "train" / "cat" / "notes.txt").write_text("hello")
    found = check_source("folder:photos")
    said = "\n".join(found.lines)
    assert found.sound
    assert found.lines[0] == "folder:photos: 2 classes, 13 usable images"
    assert [line.split() for line in found.lines if line[:3] in ("cat", "dog", "all")] == [
        ["cat", "6", "0"], ["dog", "5", "2"], ["all", "11", "2"]
    ]  # fmt: skip
    assert "ignored 1 file that is not an image: 1 .txt" in said
    assert "the test split has no image of 'cat'" in said
    assert "6 different sizes; shorter side 12 to 17 px (median 14), longest side 21 px" in said
    assert "duplicates: none" in said
    assert "problems: none" in said
    assert not (tmp_path / "cache").exists()


def test_duplicates_are_told_those_across_classes_first(photos: Path) -> None:
    first = (photos / "train" / "cat" / "0.png").read_bytes()
    (photos / "train" / "cat" / "copy.png").write_bytes(first)
    (photos / "train" / "dog" / "copy.png").write_bytes(first)
    (photos / "test" / "dog" / "copy.png").write_bytes((photos / "train" / "dog" / "1.png").read_bytes())
    lines = check_source("folder:photos").lines
    place = next(i for i, line in enumerate(lines) if line.startswith("duplicates"))
    assert lines[place] == (
        "duplicates: 3 images are identical to an earlier one, pixel for pixel: 1 of them in another split, "
        "1 in another class"
    )
    assert lines[place + 1] == "  photos/train/cat/0.png = photos/train/dog/copy.png (cat and dog)"
    assert lines[place + 2] == "  photos/train/dog/1.png = photos/test/dog/copy.png"


def test_all_that_is_spoilt_is_told_and_written_where_that_is_wanted(photos: Path, tmp_path: Path) -> None:
    for i in range(30):
        (photos / "train" / "cat" / f"bad{i:02d}.png").write_bytes(b"rubbish" if i else b"")
    (photos / "train" / "eel").mkdir()
    out = tmp_path / "spoilt.txt"
    found = check_source("folder:photos", (), out)
    assert not found.sound
    said = "\n".join(found.lines)
    assert "31 images or folders cannot be used" in said
    assert f"and 11 more; all of them are in {out}" in said
    written = out.read_text().splitlines()
    assert len(written) == 31
    assert "photos/train/eel: this class has no images" in written
    assert "photos/train/cat/bad00.png: the file is empty" in written
    (photos / "train" / "eel").rmdir()
    for path in (photos / "train" / "cat").glob("bad*"):
        path.unlink()
    assert check_source("folder:photos", (), out).sound
    assert out.read_text() == ""


def test_other_sources_are_checked_as_they_are_stored() -> None:
    found = check_source("digits")
    assert found.sound
    assert found.lines[0] == "digits: 10 classes, 1,797 usable images"
    assert "sizes: all 8 × 8 px" in found.lines


def test_words_that_fit_no_source_are_refused_in_a_line(photos: Path) -> None:
    for source, options in (("folder:nowhere", []), ("foldr:photos", []), ("folder:photos", ["tset=0.3"])):
        with pytest.raises(LimbeckError) as refused:
            check_source(source, options)
        assert "\n" not in str(refused.value)


def test_the_command_ends_with_2_where_something_is_spoilt(photos: Path) -> None:
    done = CliRunner().invoke(app, ["check", "folder:photos", "image_size=16", "spoilt=skip"])
    assert (done.exit_code, "problems: none" in done.stdout) == (0, True)
    (photos / "train" / "cat" / "bad.png").write_bytes(b"rubbish")
    done = CliRunner().invoke(app, ["check", "folder:photos"])
    assert done.exit_code == 2
    assert "photos/train/cat/bad.png: not a supported image" in done.stdout


def test_parquet_is_checked_row_by_row(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    kind = pa.struct([("bytes", pa.binary())])
    images = [{"bytes": None if i == 3 else png(i)} for i in range(12)]
    table = pa.table({"image": pa.array(images, kind), "label": pa.array(["cat", "dog"] * 6)})
    pq.write_table(table, tmp_path / "pets.parquet")
    found = check_source("parquet:pets.parquet", ["test=0.5"])
    assert any(line.startswith("  pets.parquet: row 3: contains no image bytes") for line in found.lines)
    assert found.lines[0].endswith("11 usable images")
