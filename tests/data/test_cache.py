from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings

import numpy as np
import pytest
import torch
from data_samples import pixels

from limbeck.data import cache
from limbeck.data.cache_writer import Contents
from limbeck.errors import LimbeckError
from limbeck.storage import default_folders
from limbeck.storage.atomic import remove_leftovers

KEY = "0123456789abcdef" * 2


def contents(count: int = 20, test: int = 6, salt: int = 0, **changes) -> Contents:
    """Random images in blocks of 3, two classes in turn."""
    images = np.stack([pixels(salt, i, height=4, width=5) for i in range(count)])
    labels = np.arange(count) % 2
    fields = {
        "class_names": ("cat", "dog"),
        "sizes": {"train": count - test, "test": test},
        "shape": (4, 5),
        "blocks": [(images[i : i + 3], labels[i : i + 3]) for i in range(0, count, 3)],
        "source": "a test",
    }
    return Contents(**(fields | changes))


def never():
    raise AssertionError("the cache should have served this")


def files_in(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_what_goes_in_comes_out_and_the_second_time_from_the_disk():
    first = cache.dataset("mine", KEY, contents)
    again = cache.dataset("mine", KEY, never)
    images = np.concatenate([block for block, _ in contents().blocks])
    for data in (first, again):
        both = torch.cat([data.train.images, data.test.images])
        np.testing.assert_array_equal(both.permute(0, 2, 3, 1).numpy(), images)
        assert torch.cat([data.train.labels, data.test.labels]).tolist() == [i % 2 for i in range(20)]
        assert data.train.images.dtype == torch.uint8
        assert data.train.images.is_contiguous(memory_format=torch.channels_last)
        assert (len(data.train), data.validation, len(data.test)) == (14, None, 6)
        assert data.class_names == ("cat", "dog")
    assert first.fingerprint == again.fingerprint
    assert first.normalisation == again.normalisation


def test_normalisation_is_that_of_the_training_images():
    data = cache.dataset("mine", KEY, contents)
    train = data.train.images.double() / 255
    mean = train.mean(dim=(0, 2, 3))
    sd = train.std(dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(torch.tensor(data.normalisation.mean).double(), mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(torch.tensor(data.normalisation.sd).double(), sd, rtol=1e-6, atol=0)


def test_a_channel_that_never_changes_divides_by_nothing_near_zero():
    flat = np.full((4, 4, 5, 3), 9, np.uint8)
    data = cache.dataset("flat", KEY, lambda: contents(4, 2, blocks=[(flat, np.array([0, 1, 0, 1]))]))
    assert min(data.normalisation.sd) >= 1 / 255


def test_the_fingerprint_follows_pixels_labels_names_and_sizes():
    blocks = list(contents().blocks)
    other_pixel = blocks[0][0].copy()
    other_pixel[0, 0, 0, 0] ^= 1
    variants = [
        contents(),
        contents(blocks=[(other_pixel, blocks[0][1]), *blocks[1:]]),
        contents(blocks=[*blocks[:-1], (blocks[-1][0], 1 - blocks[-1][1])]),
        contents(class_names=("cat", "wolf")),
        contents(test=5),
        contents(sizes={"train": 8, "validation": 6, "test": 6}),
    ]
    prints = [cache.dataset("x", f"{i:032x}", lambda v=v: v).fingerprint for i, v in enumerate(variants)]
    assert len(set(prints)) == len(variants)
    same = cache.dataset("another name", "f" * 32, lambda: contents(source="another place"))
    assert same.fingerprint == prints[0]


def test_a_set_that_is_too_large_for_memory_is_mapped_without_a_warning(monkeypatch):
    in_memory = cache.dataset("mine", KEY, contents)
    monkeypatch.setattr(cache, "IN_MEMORY", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mapped = cache.dataset("mine", KEY, never)
    assert torch.equal(mapped.train.images, in_memory.train.images)
    assert torch.equal(mapped.test.labels, in_memory.test.labels)
    images = str((cache.location() / KEY / "images.npy").resolve())
    with open("/proc/self/maps") as maps:
        assert any(images in line for line in maps)


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "meta.json"])
@pytest.mark.parametrize("damage", ["cut", "gone", "flipped", "emptied"])
def test_a_damaged_entry_is_made_again(name, damage, capsys):
    first = cache.dataset("mine", KEY, contents)
    file = cache.location() / KEY / name
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "flipped":
        # The first byte of a JSON file, a bit of the last value of the others.
        place = 0 if name == "meta.json" else len(data) - 8
        file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    else:
        file.write_bytes(data[: len(data) // 2] if damage == "cut" else b"")
    again = cache.dataset("mine", KEY, contents)
    assert torch.equal(first.train.images, again.train.images)
    assert again.fingerprint == first.fingerprint
    assert "damaged" in capsys.readouterr().err
    cache.dataset("mine", KEY, never)


def test_a_source_that_fails_half_way_leaves_nothing():
    def failing():
        yield from list(contents().blocks)[:2]
        raise LimbeckError("photo.png: cannot be read")

    with pytest.raises(LimbeckError, match=r"photo\.png"):
        cache.dataset("mine", KEY, lambda: contents(blocks=failing()))
    assert files_in(cache.location()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sizes": {"train": 14, "test": 9}}, "20 images, but 23 were expected"),
        ({"class_names": ("cat",)}, "label 1 is invalid; there are 1 classes"),
        ({"class_names": ("cat", "dog", "eel")}, "class 'eel' has no training images"),
    ],
)
def test_a_source_that_contradicts_itself_is_refused(changes, words):
    with pytest.raises(LimbeckError, match=words):
        cache.dataset("mine", KEY, lambda: contents(**changes))
    assert files_in(cache.location()) == []


def test_test_images_that_training_sees_are_counted(capsys):
    blocks = list(contents().blocks)
    images = np.concatenate([b for b, _ in blocks])
    images[16], images[19] = images[0], images[1]
    cache.dataset("mine", KEY, lambda: contents(blocks=[(images, np.arange(20) % 2)]))
    assert "2 of 6 test images" in capsys.readouterr().err
    meta = json.loads((cache.location() / KEY / "meta.json").read_text())
    assert meta["test_images_also_in_train"] == 2


def test_a_cache_that_cannot_be_written_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "file"))
    with pytest.raises(LimbeckError, match="set LIMBECK_CACHE to another folder") as refused:
        cache.dataset("mine", KEY, contents)
    assert "make room" not in str(refused.value)  # it would not help


def test_a_source_that_cannot_be_read_is_told_as_such_and_not_as_a_full_disk():
    def failing():
        yield from list(contents().blocks)[:2]
        raise OSError(errno.EIO, os.strerror(errno.EIO), "photo.bin")

    with pytest.raises(LimbeckError, match=r"^photo\.bin: cannot be read: Input/output error$"):
        cache.dataset("mine", KEY, lambda: contents(blocks=failing()))
    assert files_in(cache.location()) == []


def test_a_full_disk_says_what_to_do_and_leaves_nothing():
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, limits[1]))  # a file may not grow beyond 600 bytes
    try:
        with pytest.raises(LimbeckError, match="make room or set LIMBECK_CACHE"):
            cache.dataset("mine", KEY, contents)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert files_in(cache.location()) == []


WRITER = """
    import sys, time
    sys.path.insert(0, {folder!r})
    from test_cache import KEY, contents
    from limbeck.data import cache

    def slowly():
        for place, block in enumerate(contents().blocks):
            if place == {stop}:
                print("half", flush=True)
                time.sleep({pause})
            yield block

    data = cache.dataset("mine", KEY, lambda: contents(blocks=slowly()))
    print(data.fingerprint, flush=True)
"""


def writer(stop: int, pause: float) -> subprocess.Popen:
    code = textwrap.dedent(WRITER).format(folder=os.path.dirname(__file__), stop=stop, pause=pause)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_a_writer_that_is_killed_leaves_nothing_that_is_read():
    process = writer(stop=3, pause=60)
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    # While it lives, its folder is left alone ...
    remove_leftovers(cache.location(), shared=True)
    (half,) = cache.location().iterdir()
    assert half.name.startswith(".tmp-")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    # ... and once it is dead, it is no entry, and the next writer removes it.
    assert half.exists()
    assert cache.entries() == []
    data = cache.dataset("mine", KEY, contents)
    assert torch.equal(data.train.images, cache.dataset("mine", KEY, never).train.images)
    assert files_in(cache.location()) == [
        KEY,
        *(f"{KEY}/{n}" for n in ("images.npy", "labels.npy", "meta.json")),
    ]


def test_two_processes_that_race_both_end_well():
    racers = [writer(stop=4, pause=0.3) for _ in range(2)]
    ends = [racer.communicate(timeout=60)[0].split()[-1] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert ends == [cache.dataset("mine", KEY, never).fingerprint] * 2
    assert [path.name for path in cache.location().iterdir()] == [KEY]


def test_threads_that_race_both_end_well():
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(cache.dataset("mine", KEY, contents).fingerprint))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_the_key_follows_options_and_files(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(b"one")
    first = cache.key("folder", {"image_size": 32}, [file])
    assert cache.key("folder", {"image_size": 32}, [file]) == first
    assert cache.key("folder", {"image_size": 64}, [file]) != first
    assert cache.key("parquet", {"image_size": 32}, [file]) != first
    os.utime(file, ns=(time.time_ns(), time.time_ns() + 1))
    assert cache.key("folder", {"image_size": 32}, [file]) != first


def test_the_cache_says_what_it_holds_and_can_be_cleaned():
    cache.dataset("one", "1" * 32, contents)
    cache.dataset("two", "2" * 32, lambda: contents(salt=1))
    assert [(entry.name, entry.images, entry.source) for entry in cache.entries()] == [
        ("one", 20, "a test"),
        ("two", 20, "a test"),
    ]
    on_disk = sum(p.stat().st_size for p in cache.location().rglob("*") if p.is_file())
    assert cache.size() == on_disk == sum(entry.size for entry in cache.entries())
    keepsake = cache.location() / "notes.txt"
    keepsake.write_text("someone's")
    (cache.location() / "photos").mkdir()
    assert cache.clean() == on_disk
    assert (cache.size(), cache.entries()) == (0, [])
    assert files_in(cache.location()) == ["notes.txt", "photos"]


def test_an_empty_cache_is_no_trouble():
    assert (cache.size(), cache.entries(), cache.clean()) == (0, [], 0)


def test_folders_follow_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "c"))
    monkeypatch.setenv("LIMBECK_DATA", str(tmp_path / "d"))
    assert default_folders.cache_folder() == tmp_path / "c"
    assert default_folders.data_folder() == tmp_path / "d"
    monkeypatch.setenv("LIMBECK_CACHE", "")
    monkeypatch.delenv("LIMBECK_DATA")
    for folder in (default_folders.cache_folder(), default_folders.data_folder()):
        assert folder.is_absolute()
        assert "limbeck" in folder.parts
