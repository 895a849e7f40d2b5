"""A checkpoint is whole or it is not there, and a damaged one is never used."""

from __future__ import annotations

import errno
import json
import math
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limbeck.errors import LimbeckError
from limbeck.storage import checkpoint
from limbeck.storage.atomic import digest
from limbeck.storage.checkpoint import MANIFEST, Checkpoint, newest, read, write

FILES = {"a.safetensors": bytes(range(256)) * 40, "a.json": b'{"epoch": 3}', "empty": b""}
INFO = {"epoch": 3, "logs": {"a": 120}, "rate": 0.1, "name": "ä"}


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def contents(found: Checkpoint | None) -> dict[str, bytes]:
    """What its files hold, whose sizes and checksums are those that it says."""
    assert found is not None
    held = {name: (found.path / name).read_bytes() for name in found.files}
    assert found.files == {name: digest(content) for name, content in held.items()}
    return held


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_what_is_written_is_read(stream: Path) -> None:
    path = write(stream, 12, FILES, INFO)
    assert path.parent == stream
    found = newest(stream)
    assert found is not None
    assert (found.path, contents(found), found.info, found.skipped) == (path, FILES, INFO, ())
    assert {p.name for p in stream.iterdir()} == {path.name}


def test_whatever_a_reader_must_know_is_read(stream: Path) -> None:
    info = {"by_epoch": {10: 0.5, 9: None, "x": (1, 2)}, "worst": math.inf, "name": "\ud800"}
    path = write(stream, 1, FILES, info)
    assert read(path).info == {"by_epoch": {"10": 0.5, "9": None, "x": [1, 2]}, "worst": math.inf, "name": "\ud800"}
    inode = path.stat().st_ino
    assert write(stream, 1, FILES, info).stat().st_ino == inode, "the same again"


def test_files_in_chunks_are_the_same_files(stream: Path) -> None:
    path = write(stream, 1, FILES, INFO)
    inode = path.stat().st_ino
    chunks = {name: lambda content=content: [content[:5], memoryview(content[5:])] for name, content in FILES.items()}
    assert write(stream, 1, chunks, INFO).stat().st_ino == inode, "the same again"
    assert contents(read(write(stream, 2, chunks, INFO))) == FILES


def test_none_where_there_is_none(stream: Path) -> None:
    assert newest(stream) is None
    stream.mkdir()
    (stream / "notes.txt").write_text("mine")
    (stream / "step-1").mkdir()
    assert newest(stream) is None


def test_the_newest_by_step_and_only_the_last_are_kept(stream: Path) -> None:
    for step in (5, 9, 10, 1000, 99_999):
        write(stream, step, {"f": str(step).encode()}, {}, keep=3)
        found = newest(stream)
        assert found is not None
        assert contents(found) == {"f": str(step).encode()}
    assert sorted(p.name for p in stream.iterdir()) == [f"step-{s:012d}" for s in (10, 1000, 99_999)]


def test_the_same_again_changes_nothing(stream: Path) -> None:
    path = write(stream, 7, FILES, INFO)
    before = path.stat().st_ino, (path / MANIFEST).stat().st_mtime_ns
    assert write(stream, 7, FILES, INFO) == path
    assert (path.stat().st_ino, (path / MANIFEST).stat().st_mtime_ns) == before
    write(stream, 7, {"f": b"new"}, INFO)
    assert contents(read(path)) == {"f": b"new"}


def damage_bit(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at // 8] ^= 1 << at % 8
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("name", ["a.safetensors", "a.json", MANIFEST])
def test_every_flipped_bit_is_noticed(stream: Path, name: str) -> None:
    path = write(stream, 1, FILES, INFO)
    target = path / name
    bits = 8 * target.stat().st_size
    places = random.Random(0).sample(range(bits), min(bits, 300))
    for at in places:
        damage_bit(target, at)
        with pytest.raises(LimbeckError) as caught:
            read(path)
        assert name in str(caught.value)
        assert "damaged" in str(caught.value) or "is of format" in str(caught.value)
        assert "\n" not in str(caught.value)
        damage_bit(target, at)
    assert contents(read(path)) == FILES, "undone, it is whole again"


def spoil_truncated(path: Path) -> str:
    os.truncate(path / "a.safetensors", 100)
    return "a.safetensors: damaged (100 bytes instead of 10240)"


def spoil_longer(path: Path) -> str:
    with (path / "a.json").open("ab") as file:
        file.write(b" ")
    return "a.json: damaged (13 bytes instead of 12)"


def spoil_zeroed(path: Path) -> str:
    (path / "a.safetensors").write_bytes(bytes(10240))
    return "a.safetensors: damaged (its checksum does not match)"


def spoil_missing(path: Path) -> str:
    (path / "a.json").unlink()
    return "a.json: missing, or not part of it"


def spoil_extra(path: Path) -> str:
    (path / "extra.bin").write_bytes(b"x")
    return "extra.bin: missing, or not part of it"


def spoil_link(path: Path) -> str:
    (path / "a.json").rename(path.parent / "elsewhere")
    (path / "a.json").symlink_to(path.parent / "elsewhere")
    return "a.json: damaged (not a plain file)"


def spoil_folder(path: Path) -> str:
    (path / "empty").unlink()
    (path / "empty").mkdir()
    return "empty: damaged (not a plain file)"


def spoil_pipe(path: Path) -> str:
    (path / "empty").unlink()
    os.mkfifo(path / "empty")
    return "empty: damaged (not a plain file)"


def spoil_manifest_missing(path: Path) -> str:
    (path / MANIFEST).unlink()
    return "damaged"


def spoil_manifest_empty(path: Path) -> str:
    (path / MANIFEST).write_bytes(b"")
    return "manifest.json: damaged (not a manifest)"


def spoil_manifest_deep(path: Path) -> str:
    (path / MANIFEST).write_bytes(b"[" * 100_000)
    return "manifest.json: damaged (not a manifest)"


def spoil_manifest_shape(path: Path) -> str:
    (path / MANIFEST).write_text('{"format": 1, "files": [], "sha256": 3, "step": 1, "info": {}}')
    return "manifest.json: damaged"


def spoil_swapped(path: Path) -> str:
    other = write(path.parent.parent / "other", 1, {**FILES, "a.json": b'{"epoch": 4}'}, INFO)
    shutil.copy(other / "a.json", path / "a.json")
    return "a.json: damaged (its checksum does not match)"


SPOILERS = [value for name, value in sorted(globals().items()) if name.startswith("spoil_")]


@pytest.mark.parametrize("spoil", SPOILERS)
def test_a_damaged_one_is_named_and_the_one_before_used(stream: Path, spoil: Callable[[Path], str]) -> None:
    good = write(stream, 1, FILES, INFO)
    path = write(stream, 2, FILES, INFO)
    told = spoil(path)
    with pytest.raises(LimbeckError) as caught:
        read(path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)
    found = newest(stream)
    assert found is not None
    assert (found.path, contents(found)) == (good, FILES)
    assert found.skipped == (str(caught.value),)


def test_none_usable_is_said(stream: Path) -> None:
    for step in (1, 2):
        spoil_truncated(write(stream, step, FILES, INFO))
    with pytest.raises(LimbeckError, match=r"no checkpoint is usable: .*step-000000000002.*step-000000000001"):
        newest(stream)


def test_a_manifest_reaches_nowhere_else(stream: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    path = write(stream, 1, {"f": b"secret"}, {})
    manifest = json.loads((path / MANIFEST).read_text())
    for name in ("../../secret", str(secret), "..", "."):
        body = {key: manifest[key] for key in ("format", "step", "info")} | {"files": {name: manifest["files"]["f"]}}
        forged = body | {"sha256": checkpoint._sha256(body)}
        (path / MANIFEST).write_text(json.dumps(forged))
        (path / "f").unlink(missing_ok=True)
        with pytest.raises(LimbeckError, match="damaged"):
            read(path)


def test_a_link_is_no_checkpoint(stream: Path, tmp_path: Path) -> None:
    path = write(stream, 1, FILES, INFO)
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    with pytest.raises(LimbeckError, match="a link, not a checkpoint"):
        read(path)
    written = write(stream, 1, FILES, INFO)
    assert not written.is_symlink()
    assert contents(read(tmp_path / "moved")) == FILES, "what the link led to is left alone"


@pytest.mark.parametrize("name", ["../f", "a/b", "", ".", "..", ".hidden", "/f", "a\0b", "x" * 300])
def test_files_stay_in_their_folder(stream: Path, name: str) -> None:
    with pytest.raises(LimbeckError, match="expected a plain file name"):
        write(stream, 1, {name: b""}, {})
    assert not stream.exists()


def test_a_damaged_newer_one_does_not_cost_the_good_ones(stream: Path) -> None:
    for step in (10, 20, 30):
        write(stream, step, {"f": str(step).encode()}, {})
    damage_bit(stream / "step-000000000030" / "f", 0)
    for step in (21, 22, 23):
        write(stream, step, {"f": str(step).encode()}, {}, keep=1)
        found = newest(stream)
        assert found is not None
        assert contents(found) == {"f": str(step).encode()}
        assert found.skipped == ()


def test_a_damaged_one_is_written_anew(stream: Path) -> None:
    path = write(stream, 1, FILES, INFO)
    spoil_truncated(path)
    assert write(stream, 1, FILES, INFO) == path
    assert contents(read(path)) == FILES
    assert [p.name for p in stream.iterdir()] == [path.name]


def test_what_a_killed_writer_left_goes(stream: Path) -> None:
    write(stream, 1, FILES, INFO)
    left = stream / ".tmp-left"
    left.mkdir()
    (left / "f").write_bytes(b"half")
    write(stream, 2, FILES, INFO)
    assert not left.exists()


names = st.from_regex(r"[a-z][a-z0-9.-]{0,8}", fullmatch=True).filter(lambda name: name != MANIFEST)
some_files = st.dictionaries(names, st.binary(max_size=200), max_size=4)


@given(st.lists(st.tuples(st.integers(0, 50), some_files, st.integers(1, 3)), min_size=1, max_size=5), st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_history_ends_in_what_was_written_last(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[int, dict[str, bytes], int]], data: st.DataObject
) -> None:
    stream = tmp_path_factory.mktemp("stream")
    for step, files, keep in history:
        write(stream, step, files, {"step": step}, keep=keep)
        found = newest(stream)
        assert found is not None
        assert (contents(found), found.info) == (files, {"step": step})
        assert len(list(stream.iterdir())) <= keep
    path = data.draw(st.sampled_from([p for p in sorted(stream.rglob("*")) if p.is_file() and p.stat().st_size]))
    damage_bit(path, data.draw(st.integers(0, 8 * path.stat().st_size - 1)))
    with pytest.raises(LimbeckError):
        read(path.parent)


WRITER = """
import sys
from pathlib import Path
from limbeck.storage.checkpoint import write
stream, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
for step in range(first, last):
    write(stream, step, {"a.bin": bytes([step % 256]) * 50_000, "b.json": b"%d" % step}, {"step": step})
    print(step, flush=True)
"""


def whole(stream: Path) -> int:
    """The step of the newest checkpoint, which is as it was written."""
    found = newest(stream)
    assert found is not None
    step = found.info["step"]
    assert contents(found) == {"a.bin": bytes([step % 256]) * 50_000, "b.json": b"%d" % step}
    assert found.skipped == (), "a killed writer leaves nothing that looks like a checkpoint"
    return step


def test_a_writer_killed_at_any_time_leaves_a_whole_one(stream: Path) -> None:
    draw = random.Random(1)
    first = 0
    for _ in range(12):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(stream), str(first), "1000000"], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        told = int(writer.stdout.readline())
        try:
            writer.wait(timeout=draw.uniform(0.0, 0.05))
        except subprocess.TimeoutExpired:
            writer.kill()
        told = max([told, *map(int, writer.stdout.read().split())])
        writer.wait()
        assert whole(stream) in (told, told + 1), "nothing that was reported as saved is lost"
        first = whole(stream) + 1
    write(stream, first, {}, {})
    assert not list(stream.glob(".tmp-*"))


def strace_works() -> bool:
    if not shutil.which("strace"):
        return False
    probe = ["strace", "-qq", "-e", "inject=fsync:error=EIO:when=99", "-o", "/dev/null", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


needs_strace = pytest.mark.skipif(not strace_works(), reason="needs strace and the right to trace")
SAVE = "write(Path(sys.argv[1]), 2, {'a.bin': b'2' * 50_000, 'b.json': b'2'}, {'step': 2})"


def save_under_fault(stream: Path, call: str, at: int, fault: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys\nfrom pathlib import Path\nfrom limbeck.storage.checkpoint import write\n"
        "from limbeck.errors import LimbeckError\n"
        f"try:\n    {SAVE}\nexcept LimbeckError as error:\n    print(error)\n    sys.exit(3)\nprint('saved')\n"
    )
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:{fault}:when={at}"]
    command = ["strace", "-qq", "-o", "/dev/null", *inject, sys.executable, "-B", "-c", code, str(stream)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def first_checkpoint(stream: Path) -> None:
    write(stream, 1, {"a.bin": bytes([1]) * 50_000, "b.json": b"1"}, {"step": 1})


@needs_strace
@pytest.mark.parametrize("call", ["fsync", "rename", "mkdir"])
def test_killed_at_every_call_of_a_save(stream: Path, call: str) -> None:
    for at in range(1, 20):
        shutil.rmtree(stream, ignore_errors=True)
        first_checkpoint(stream)
        before = tree(stream / "step-000000000001")
        done = save_under_fault(stream, call, at, "signal=SIGKILL")
        found = newest(stream)
        assert found is not None
        assert found.skipped == ()
        assert found.info["step"] in (1, 2)
        assert tree(stream / "step-000000000001") == before, "the one before is as it was"
        if done.returncode == 0:
            assert at > 1, "the call was never reached: the test tests nothing"
            return
        assert done.returncode in (-9, 137)
    pytest.fail("a save has no end")


@needs_strace
@pytest.mark.parametrize("code", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("call", ["fsync", "rename", "mkdir"])
def test_an_error_at_every_call_of_a_save(stream: Path, call: str, code: str) -> None:
    for at in range(1, 20):
        shutil.rmtree(stream, ignore_errors=True)
        first_checkpoint(stream)
        done = save_under_fault(stream, call, at, f"error={code}")
        if done.returncode == 0:
            assert at > 1
            return
        reason = os.strerror(getattr(errno, code))
        assert done.returncode == 3, done.stderr
        assert done.stdout == f"{stream / 'step-000000000002'}: cannot be written: {reason}\n"
        assert not list(stream.glob(".tmp-*"))
        assert (stream / "step-000000000001").is_dir()
        found = newest(stream)
        assert found is not None
        assert found.skipped == ()
    pytest.fail("a save has no end")


def test_a_full_disk(small_disk: Path) -> None:
    stream = small_disk / "checkpoints"
    write(stream, 1, {"a.bin": b"1" * 400_000}, {})
    with pytest.raises(LimbeckError, match=r"step-000000000002: cannot be written: No space left on device$"):
        write(stream, 2, {"a.bin": b"2" * 900_000}, {})
    found = newest(stream)
    assert found is not None
    assert contents(found) == {"a.bin": b"1" * 400_000}
    assert [p.name for p in stream.iterdir()] == ["step-000000000001"], "nothing half-written takes up room"
    (stream / ".tmp-left-by-a-killed-writer").write_bytes(b"x" * 500_000)
    write(stream, 2, {"a.bin": b"2" * 400_000}, {})
    assert contents(newest(stream)) == {"a.bin": b"2" * 400_000}


def test_the_folder_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("mine")
    with pytest.raises(LimbeckError, match="cannot be written: Not a directory"):
        write(tmp_path / "checkpoints", 1, FILES, INFO)
    assert (tmp_path / "checkpoints").read_text() == "mine"
