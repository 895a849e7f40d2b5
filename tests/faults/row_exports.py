"""Exports, pages and cards that are killed or meet a full disk: what is left is whole, and the next one works."""

from __future__ import annotations

import importlib
import importlib.util
import json
import mmap
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from limbeck_process import Limbeck, Prepare
from processes import in_a_process
from rows import NotHere, Trials

from limbeck.storage.atomic import TEMPORARY, path_digest

NAME = "exports"
HOLDS = "export, demo, card: killed or on a full disk, the old or the new one is there whole; the next one works"
CI, CHAOS = 60, 6_000
EACH = 6
KILLS = ((signal.SIGKILL, -9), (signal.SIGTERM, -15), (signal.SIGKILL, -9), (signal.SIGINT, 130))
"""Signals in turns, and the exit code of the process that gets one."""
RECIPE = """\
name: run
threads: 1
precision: fp32
evaluation: {latency_batch: 0}
data: {source: digits}
views: {batch_size: 64}
students:
  net:
    model: {name: resnet, depth: 8, widths: [8, 16, 32]}
    epochs: 1
    optimizer: {name: adam, lr: 3e-3}
    loss: [{name: cross_entropy}]
"""
MODEL = Path("runs/run/models/net-seed0")
PACKAGES = ("onnx", "onnxscript", "onnxruntime", "onnxruntime.quantization.shape_inference", "openvino")
CHANGES_FILES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir")
PAGE = 4096


@dataclass(frozen=True)
class Command:
    """A command that writes `written`, a file or a folder, and, if it is an export, its proof beside it."""

    words: tuple[object, ...]
    written: str
    proven: bool = False

    def start(self, place: Path, folder: Path, *prepare: Prepare) -> Limbeck:
        """Begin to write into a folder."""
        out = folder if self.proven else folder / self.written
        return Limbeck([*self.words, "--out", out], place, prepare=[lambda: _quickly(place), *prepare])

    def names(self) -> list[str]:
        """All that lies in the folder in the end."""
        return [self.written, f"{self.written}.json"] if self.proven else [self.written]

    def content(self, folder: Path) -> str | None:
        """The SHA-256 of what is there under the final name."""
        path = folder / self.written
        return path_digest(path).sha256 if path.exists() else None

    def must_succeed(self, place: Path, folder: Path, expected: str | None = None) -> None:
        """Run it undisturbed: it leaves what it should, a proof that passes, and nothing else."""
        process = self.start(place, folder)
        assert process.wait() == 0, process.err
        assert sorted(os.listdir(folder)) == self.names(), f"left over: {sorted(os.listdir(folder))}"
        content = self.content(folder)
        assert content == (expected or content), f"{self.written}: not as the one that nobody disturbed"
        if self.proven:
            proof = json.loads((folder / f"{self.written}.json").read_text())
            assert proof["sha256"] == content and not proof["failures"], proof


def _export(to: str, written: str) -> Command:
    return Command(("export", MODEL, "--to", to, "--largest-drop", 1), written, proven=True)


COMMANDS = (
    _export("onnx", "student.onnx"),
    _export("onnx-int8", "student.int8.onnx"),
    _export("openvino", "student.openvino"),
    Command(("demo", MODEL), "page"),
    Command(("card", MODEL), "card"),
)


@dataclass(frozen=True)
class Undisturbed:
    """What a command does where nobody disturbs it: SHA-256 of what it writes, changes of files, and what it takes."""

    content: str
    changes: int
    pages: int
    inodes: int


def prepare(place: Path) -> Trials:
    """A trained student, exported once for its page and its card; then each command is run once."""
    for package in ("onnxscript", "onnxruntime", "openvino"):
        if importlib.util.find_spec(package) is None:
            raise NotHere(f"needs {package}")
    (place / "run.yaml").write_text(RECIPE)
    run = Limbeck(["run", "run.yaml"], place)
    assert run.wait() == 0, run.err
    found = in_a_process(lambda: _undisturbed(place), seconds=300.0)

    def trial(number: int, chance: random.Random) -> str:
        command = COMMANDS[number % len(COMMANDS)]
        fault = (_killed, _full_disks)[number // len(COMMANDS) % 2]
        told = in_a_process(
            lambda: _broken(fault, command, Undisturbed(**found[command.written]), place, chance), 300.0
        )
        if told["missing"]:
            raise NotHere(told["missing"])
        return f"{command.words[0]} {command.written}: {told['seen']}"

    return Trials(trial, ci=CI, chaos=CHAOS, each=EACH)


def _import_packages() -> None:
    """In a process of its own: some of them start threads, and a fork of a process with threads is less than it."""
    from limbeck.deployment import openvino_file  # noqa: F401

    for package in PACKAGES:
        importlib.import_module(package)
    for module in ("commands.export_model", "deployment.onnx_int8", "deployment.demo", "deployment.card"):
        importlib.import_module(f"limbeck.{module}")


def _quickly(place: Path) -> None:
    """Do without what takes long and writes nothing: tracing, latencies, the browser's 12 MB."""
    import onnx

    from limbeck.deployment import demo, onnx_file, proof

    interleaved = proof.interleaved_latencies
    proof.interleaved_latencies = lambda calls, **_: interleaved(calls, repeats=1)
    demo.RUNTIME = ()  # type: ignore[assignment]
    traced = place / MODEL / "export" / "student.onnx"
    if traced.exists():
        onnx_file._exported = lambda job: onnx.load(traced)


def _undisturbed(place: Path) -> dict[str, Any]:
    _import_packages()
    first = Limbeck(["export", MODEL, "--to", "onnx"], place, prepare=[lambda: _quickly(place)])
    assert first.wait() == 0, first.err
    found = {}
    for command in COMMANDS:
        folder = place / "undisturbed" / command.written
        folder.mkdir(parents=True)
        changes = Changes(folder)
        process = command.start(place, folder, changes.attach)
        assert process.wait() == 0, process.err
        command.must_succeed(place, folder, command.content(folder))
        paths = list(folder.rglob("*"))
        pages = sum(-(-path.stat().st_size // PAGE) for path in paths if path.is_file())
        content = command.content(folder)
        assert content
        found[command.written] = asdict(Undisturbed(content, changes.count, pages, len(paths)))
    return found


class Changes:
    """Counts how often a process is about to change, or to flush, a file or folder; at one of them it gets a signal."""

    def __init__(self, folder: Path, at: int = 0, number: int = 0) -> None:
        self._folder, self._at, self._number = str(folder), at, number
        self._page = mmap.mmap(-1, 8)

    @property
    def count(self) -> int:
        """How many there were, from the first in the folder."""
        return struct.unpack("=q", self._page[:8])[0]

    def attach(self) -> None:
        """To be called in the process."""
        fsync = os.fsync

        def flushed(descriptor: int) -> None:
            self._count("")
            fsync(descriptor)

        os.fsync = flushed
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in CHANGES_FILES:
            self._count(str(arguments[0]))

    def _count(self, path: str) -> None:
        if not self.count and not path.startswith(self._folder):
            return
        self._page[:8] = struct.pack("=q", self.count + 1)
        if self.count == self._at:
            os.kill(os.getpid(), self._number)


Fault = Callable[[Command, Undisturbed, Path, Path, random.Random], str]


def _broken(fault: Fault, command: Command, usual: Undisturbed, place: Path, chance: random.Random) -> dict[str, str]:
    _import_packages()
    folder = place / "out"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        seen = fault(command, usual, place, folder, chance)
    except NotHere as reason:
        return {"seen": "", "missing": str(reason)}
    return {"seen": seen, "missing": ""}


def _killed(command: Command, usual: Undisturbed, place: Path, folder: Path, chance: random.Random) -> str:
    """Begun and killed again and again, each time further on; in every other trial there is an older one."""
    older = _older(command, place, folder) if chance.random() < 0.5 else None
    killed = []
    for part in range(EACH):
        before = command.content(folder)
        at = 1 + int((part + chance.random()) / EACH * usual.changes)
        number, expected = KILLS[part % len(KILLS)]
        process = command.start(place, folder, Changes(folder, at, number).attach)
        code = process.wait()
        assert code in (expected, 0) and "Traceback" not in process.err, f"{code}: {process.err}"
        killed += [str(at)] * (code != 0)
        _must_be_whole(command, folder, usual, before, older)
    command.must_succeed(place, folder, usual.content)
    return f"killed before change {', '.join(killed)} of {usual.changes}{' of an older one' if older else ''}"


def _older(command: Command, place: Path, folder: Path) -> str | None:
    """Put there what an earlier command wrote, which is not what this one will write."""
    for name in command.names():
        source = place / "undisturbed" / command.written / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, folder / name)
    path = folder / command.written
    with (min(path.iterdir()) if path.is_dir() else path).open("ab") as file:
        file.write(b"older")
    return command.content(folder)


def _must_be_whole(command: Command, folder: Path, usual: Undisturbed, before: str | None, older: str | None) -> None:
    content = command.content(folder)
    if content is None:  # of a folder, the older one is moved away before the new one takes its place
        assert before is None or (folder / command.written).suffix == ".openvino" or not command.proven
    else:
        assert content in (usual.content, older), f"{command.written}: neither the older one nor the new one"
    proof = folder / f"{command.written}.json"
    if proof.exists():
        json.loads(proof.read_text())
    others = {name for name in os.listdir(folder) if not name.startswith(TEMPORARY)} - set(command.names())
    assert not others, f"left over: {others}"


def _full_disks(command: Command, usual: Undisturbed, place: Path, folder: Path, chance: random.Random) -> str:
    """Disks too small in bytes or in inodes; then the last one grows."""
    if os.geteuid() or not shutil.which("mount"):
        raise NotHere("needs root, to mount a small disk")
    limits = []
    for part in range(EACH):
        short = f"size={PAGE * chance.randrange(1, usual.pages)}"
        few = f"nr_inodes={chance.randrange(2, usual.inodes + 1 + command.proven)}"  # an export writes in a folder more
        limits.append(few if part % 2 else short)
        with _small_disk(folder, limits[-1]):
            process = command.start(place, folder)
            code = process.wait()
            assert code == 2, f"{limits[-1]}: {code}: {process.err}"
            told = process.err.rstrip().split("\n")[-1]
            assert told.startswith("limbeck: ") and told.endswith("No space left on device"), f"{limits[-1]}: {told}"
            assert not os.listdir(folder), f"{limits[-1]}: left over: {os.listdir(folder)}"
            if part == EACH - 1:
                _mount(folder, "remount,size=64m,nr_inodes=1000")
                command.must_succeed(place, folder, usual.content)
    return f"full with {', '.join(limits)}"


@contextmanager
def _small_disk(folder: Path, limit: str) -> Iterator[None]:
    _mount(folder, limit)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(folder: Path, options: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NotHere(f"a small disk cannot be mounted: {done.stderr.strip()}")
