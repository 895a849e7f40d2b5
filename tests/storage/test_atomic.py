"""A file that is put in place is the old one or the new one, never a part of either."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import textwrap
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.errors import LimbeckError
from limbeck.storage.atomic import (
    Digest,
    WriteError,
    atomic_file,
    atomic_folder,
    check_file_name,
    copy_folder,
    digest,
    explain_os_errors,
    file_digest,
    finite,
    make_folder,
    publish,
    read_json,
    remove_leftovers,
    temporary_folder,
    write_file,
    write_json,
    write_new,
)


def test_json_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"a": 1, "ä": (1, math.inf)})
    assert read_json(path) == {"a": 1, "ä": [1, None]}
    inode = path.stat().st_ino
    write_json(path, [])
    assert path.stat().st_ino != inode, "a reader of the old file keeps the old file"
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == []
    assert [p.name for p in tmp_path.iterdir()] == ["value.json"]
    with pytest.raises(LimbeckError, match="cannot be written: No such file or directory"):
        write_json(tmp_path / "nowhere" / "value.json", 1)
    with pytest.raises(LimbeckError, match="cannot be read: No such file or directory"):
        read_json(tmp_path / "missing.json")


def test_a_failed_replacement_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "value.json").mkdir()
    with pytest.raises(LimbeckError, match=r"value\.json: cannot be written"):
        write_file(tmp_path / "value.json", b"1")
    assert [p.name for p in tmp_path.iterdir()] == ["value.json"]


def test_folders_are_made_with_those_above(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b" / "c")
    make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_a_file_in_the_way_of_a_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(WriteError, match=f"^{path}: cannot be written: Not a directory$"):
            make_folder(path)
    assert (tmp_path / "file").read_text() == "mine"


def test_nothing_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_new(path, b"first")
    with pytest.raises(FileExistsError):
        write_new(path, b"second")
    assert path.read_bytes() == b"first"


def test_an_error_of_the_system_becomes_one_line(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError) as caught, explain_os_errors(tmp_path / "f"):
        (tmp_path / "nowhere" / "f").write_bytes(b"")
    assert str(caught.value) == f"{tmp_path / 'f'}: cannot be written: No such file or directory"
    with pytest.raises(KeyError), explain_os_errors(tmp_path):
        raise KeyError


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_file(path, b"0" * 50_000)
    done = threading.Event()

    def write() -> None:
        for digit in b"123456789" * 4:
            write_file(path, bytes([digit]) * 50_000)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        content = path.read_bytes()
        assert len(content) == 50_000
        assert len(set(content)) == 1, "half of one, half of another"
        seen.add(content[0])
    writer.join()
    assert path.read_bytes() == b"9" * 50_000
    assert len(seen) > 1, "the reader was never there: the test tests nothing"


REPLACER = """
import sys
import tempfile
from pathlib import Path
from limbeck.storage.atomic import write_file
for count in range(int(sys.argv[2]), 10**9):
    write_file(Path(sys.argv[1]), b"%09d" % count * 5000)
    print(count, flush=True)
"""


def test_a_writer_killed_at_any_time_leaves_a_whole_file(tmp_path: Path) -> None:
    path, draw, first = tmp_path / "f", random.Random(2), 0
    for _ in range(5):
        command = [sys.executable, "-c", REPLACER, str(path), str(first)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        told = int(writer.stdout.readline())
        try:
            writer.wait(timeout=draw.uniform(0.0, 0.03))
        except subprocess.TimeoutExpired:
            writer.kill()
        told = max([told, *map(int, writer.stdout.read().split())])
        writer.wait()
        content = path.read_bytes()
        first = int(content[:9])
        assert content == b"%09d" % first * 5000
        assert first in (told, told + 1), "what was reported as written is there"


def test_a_full_disk_keeps_the_old_file(small_disk: Path) -> None:
    path = small_disk / "value.json"
    write_json(path, {"old": True})
    with pytest.raises(LimbeckError, match=r"value\.json: cannot be written: No space left on device$"):
        write_json(path, "x" * 2_000_000)
    assert read_json(path) == {"old": True}
    assert os.listdir(small_disk) == ["value.json"], "what did not fit takes up no room"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"\x00" * 10])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "value.json"
    path.write_bytes(content)
    with pytest.raises(LimbeckError) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path}: damaged, not readable as JSON")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a", "model.safetensors", "students-0-views1", "a+b", "_x", "A" * 200])
def test_a_plain_name_is_itself(name: str) -> None:
    assert check_file_name(name) == name


@given(st.text(max_size=12) | st.sampled_from(["..", "a/..", "a\n", "a\\b"]))
@settings(deadline=None)
def test_any_other_name_is_refused(name: str) -> None:
    try:
        check_file_name(name)
    except LimbeckError:
        return
    assert os.path.basename(name) == name
    assert name.isascii() and name.isprintable() and not name.startswith(".")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(values)
@settings(deadline=None)
def test_json_holds_all_but_what_is_not_finite(value: Any) -> None:
    def expected(node: Any) -> Any:
        if isinstance(node, float) and not math.isfinite(node):
            return None
        if isinstance(node, list):
            return [expected(item) for item in node]
        return {key: expected(item) for key, item in node.items()} if isinstance(node, dict) else node

    assert json.loads(json.dumps(finite(value), allow_nan=False)) == expected(value)


@given(values)
@settings(deadline=None)
def test_written_json_reads_as_it_was(value: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder) / "value.json", value)
        assert read_json(Path(folder) / "value.json") == json.loads(json.dumps(finite(value)))


def test_a_list_of_numbers_takes_one_line(tmp_path: Path) -> None:
    write_json(tmp_path / "m.json", {"matrix": [[1, 2], [-3.5e-9, None]], "words": ["[", "1"], "none": []})
    lines = (tmp_path / "m.json").read_text(encoding="utf-8").splitlines()
    assert "    [1, 2]," in lines
    assert "    [-3.5e-09, null]" in lines
    assert read_json(tmp_path / "m.json")["words"] == ["[", "1"]


def test_content_in_chunks_is_the_content(tmp_path: Path) -> None:
    chunks = [b"a" * 100_000, memoryview(b"bc"), b"", memoryview(bytes(200_000))]
    whole = b"".join(chunks)
    expected = Digest(len(whole), hashlib.sha256(whole).hexdigest())
    assert write_file(tmp_path / "f", lambda: chunks) == expected
    assert (tmp_path / "f").read_bytes() == whole
    assert write_new(tmp_path / "g", whole) == digest(lambda: chunks) == file_digest(tmp_path / "f") == expected


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_file(tmp_path / "file") as temporary:
        assert temporary.write_bytes(b"half") / 0
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "folder") as temporary:
        assert (temporary / "file").write_bytes(b"half") / 0
    with pytest.raises(WriteError, match="folder: cannot be written: No such file"), atomic_folder(tmp_path / "folder"):
        (tmp_path / "nowhere" / "file").write_bytes(b"")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("existing", "left"), [("refuse", b"old"), ("keep", b"old"), ("replace", b"new")])
def test_a_folder_that_is_there_already(tmp_path: Path, existing: Any, left: bytes) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "file").write_bytes(b"old")
    refused = existing == "refuse"
    with (
        pytest.raises(WriteError, match="folder: cannot be written: Directory not empty") if refused else nullcontext(),
        atomic_folder(path, existing=existing) as temporary,
    ):
        (temporary / "file").write_bytes(b"new")
    assert (path / "file").read_bytes() == left
    assert os.listdir(tmp_path) == ["folder"]


def test_a_file_takes_the_place_of_a_file_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, new = tmp_path / "file", tmp_path / "new"
    path.write_bytes(b"old")
    new.write_bytes(b"new")
    moves: list[tuple[str, str]] = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: moves.append((self.name, to.name)) or replace(self, to))
    publish(new, path, existing="replace")
    assert moves == [("new", "file")]
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_bytes() == b"new"


def test_a_folder_is_copied_whole(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"x" * 300_000)
    (tmp_path / "a" / "empty").write_bytes(b"")
    copy_folder(tmp_path / "a", tmp_path / "copy")
    found = {str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy").rglob("*")}
    assert found == {"b", "b/file", "empty"}
    assert (tmp_path / "copy" / "b" / "file").read_bytes() == b"x" * 300_000


def test_a_copy_on_a_full_disk_says_so(tmp_path: Path, small_disk: Path) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "file").write_bytes(b"x" * 2_000_000)
    with pytest.raises(WriteError, match=r"copy: cannot be written: No space left on device$"):
        copy_folder(folder, small_disk / "copy")
    assert os.listdir(small_disk) == []


def test_everything_is_flushed_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}")).relative_to(tmp_path)
        seen.append(re.sub(r"\.tmp-\w+", "temporary", str(path)) + " named" * (tmp_path / "done").exists())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    with atomic_folder(tmp_path / "done") as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "file").write_bytes(b"x")
    assert seen == ["temporary/inner/file", "temporary/inner", "temporary", ". named"]
    seen.clear()
    write_file(tmp_path / "done" / "later", b"x")
    assert seen == ["done/temporary named", "done named"]


CLAIMS = textwrap.dedent("""
    import sys
    from pathlib import Path

    from limbeck.storage.atomic import remove_leftovers, temporary_folder

    parent, lost = Path(sys.argv[1]), 0
    for number in range(400):
        remove_leftovers(parent, shared=True)
        try:
            with temporary_folder(parent) as folder:
                (folder / "image").write_bytes(b"pixels")
                remove_leftovers(parent, shared=True)
                if number % 2:
                    folder.rename(parent / f"{sys.argv[2]}-{number}")
                elif not (folder / "image").is_file():
                    lost += 1
        except FileNotFoundError:
            lost += 1
    print(lost)
""")


def test_processes_that_clear_away_beside_each_other_lose_no_folder(tmp_path: Path) -> None:
    words = [sys.executable, "-c", CLAIMS, str(tmp_path)]
    writers = [
        subprocess.Popen([*words, str(i)], env={"PYTHONPATH": ":".join(sys.path)}, stdout=subprocess.PIPE, text=True)
        for i in range(4)
    ]
    lost = [writer.communicate(timeout=60)[0] for writer in writers]
    assert lost == ["0\n"] * 4
    assert len(os.listdir(tmp_path)) == 800  # those that were renamed; nothing is left of the others


def test_a_folder_that_nobody_holds_is_removed_and_one_in_work_stays(tmp_path: Path) -> None:
    left = tmp_path / ".tmp-left"
    left.mkdir()
    (tmp_path / "photos").mkdir()
    with temporary_folder(tmp_path) as mine:
        remove_leftovers(tmp_path, shared=True)
        assert mine.is_dir()
        assert not left.exists()
    assert os.listdir(tmp_path) == ["photos"]
