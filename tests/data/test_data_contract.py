"""What every data source owes to the rest of the house. A new source is found by its file and needs one
maker here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from data_samples import class_folders, parquet_folder, small, small_tinyimagenet

from limbeck.data import cache
from limbeck.data.sources import cifar10, cifar100, tinyimagenet
from limbeck.data.sources.cifar_archive import Archive, dataset
from limbeck.data.splits import stratified_split
from limbeck.recipes import registry
from limbeck.types import Dataset

ENTRIES = registry.entries("data")


def _cifar(archive: Archive, folder: Path) -> Callable[[], Dataset]:
    # `build` knows the official checksum, which a small archive has not: the reader behind it takes another.
    known, _ = small(archive, folder / "small.tar.gz")
    return lambda: dataset(known, str(folder / "small.tar.gz"))


def _tinyimagenet(folder: Path) -> Callable[[], Dataset]:
    known, _ = small_tinyimagenet(folder / "small.zip")
    return lambda: tinyimagenet.dataset(known, str(folder / "small.zip"))


def _digits(folder: Path) -> Callable[[], Dataset]:
    pytest.importorskip("sklearn")
    return registry.load(ENTRIES["digits"])


def _parquet(folder: Path) -> Callable[[], Dataset]:
    pytest.importorskip("pyarrow")
    path = str(parquet_folder(folder / "parquet"))
    return lambda: registry.load(ENTRIES["parquet"])(path)


def _folder(folder: Path) -> Callable[[], Dataset]:
    path = str(class_folders(folder / "photos", count=10))
    return lambda: registry.load(ENTRIES["folder"])(path)


MAKERS: dict[str, Callable[[Path], Callable[[], Dataset]]] = {
    "cifar10": lambda folder: _cifar(cifar10.ARCHIVE, folder),
    "cifar100": lambda folder: _cifar(cifar100.ARCHIVE, folder),
    "digits": _digits,
    "folder": _folder,
    "parquet": _parquet,
    "tinyimagenet": _tinyimagenet,
}
every = pytest.mark.parametrize("name", ENTRIES)


@pytest.fixture
def load(name, tmp_path) -> Callable[[], Dataset]:
    assert name in MAKERS, f"a new data source, {name}: give it a maker of tiny real inputs here"
    return MAKERS[name](tmp_path)


def test_the_sources_are_found():
    assert set(ENTRIES) >= {"digits", "cifar10", "cifar100", "tinyimagenet", "parquet", "folder"}
    assert [name for name, entry in ENTRIES.items() if entry.argument] == ["folder", "parquet"]


@every
def test_options_are_keywords_with_defaults_and_the_first_line_describes(name):
    build = registry.load(ENTRIES[name])
    for parameter in inspect.signature(build).parameters.values():
        if parameter.name == ENTRIES[name].argument:
            assert parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        else:
            assert parameter.kind is parameter.KEYWORD_ONLY
            assert parameter.default is not parameter.empty
        assert parameter.annotation is not parameter.empty
    assert 20 <= len(ENTRIES[name].summary) <= 100
    assert "Raises LimbeckError" in (inspect.getdoc(build) or "")


@every
def test_images_labels_and_names_are_as_the_types_say(load):
    data = load()
    parts = [part for part in (data.train, data.validation, data.test) if part is not None]
    assert isinstance(data, Dataset)
    for part in parts:
        assert part.images.dtype == torch.uint8
        assert part.images.ndim == 4
        assert part.images.shape[1] == 3
        assert part.images.is_contiguous(memory_format=torch.channels_last)
        assert part.images.shape[1:] == data.train.images.shape[1:]
        assert part.labels.dtype == torch.int64
        assert part.labels.shape == part.images.shape[:1]
        assert len(part) > 0
        assert int(part.labels.min()) >= 0
        assert int(part.labels.max()) < len(data.class_names)
    assert data.train.labels.unique().numel() == len(data.class_names) == len(set(data.class_names))
    assert len(data.normalisation.mean) == len(data.normalisation.sd) == 3
    assert all(0 <= mean <= 1 and 0 < sd <= 1 for mean, sd in zip(*vars(data.normalisation).values(), strict=True))


@every
def test_the_second_call_is_served_from_the_cache_and_equal(load):
    first = load()
    (entry,) = cache.entries()
    images = cache.location() / entry.key / "images.npy"
    before = images.stat()
    again = load()
    assert (images.stat().st_ino, images.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert again.fingerprint == first.fingerprint
    assert len(first.fingerprint) == 64
    assert torch.equal(again.train.images, first.train.images)
    assert torch.equal(again.test.labels, first.test.labels)


@every
def test_decoding_again_gives_the_same_fingerprint(load):
    first = load()
    assert cache.clean() > 0
    again = load()
    assert again.fingerprint == first.fingerprint
    assert torch.equal(again.train.images, first.train.images)


@every
def test_a_validation_part_can_be_held_out(load):
    data = load()
    kept, held = stratified_split(data.train, 0.5, data.fingerprint)
    assert len(kept) + len(held) == len(data.train)
    assert held.labels.unique().numel() == len(data.class_names)


@every
def test_nothing_is_said_about_small_sets(load, capsys):
    load()
    assert capsys.readouterr() == ("", "")
