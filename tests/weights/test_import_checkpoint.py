"""The one door for others' weights: what it lets in, and that a hostile file does nothing.

The checkpoints are real pickles, written here as their authors write them.
"""

from __future__ import annotations

import ast
import contextlib
import os
import pickle
import re
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import limbeck
from limbeck.errors import LimbeckError
from limbeck.models import lightweight_cnn
from limbeck.weights import checkpoint_reader, import_checkpoint
from limbeck.weights.import_checkpoint import import_weights
from limbeck.weights.load import load_weights


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(lightweight_cnn.build(10).state_dict())


def refuse(path: Path, **options) -> str:
    """The one line of the refusal; nothing may be left behind."""
    out = path.parent / "out.safetensors"
    before = sorted(path.parent.iterdir())
    with pytest.raises(LimbeckError) as raised:
        import_weights(path, out, **options)
    assert sorted(path.parent.iterdir()) == before
    said = str(raised.value)
    assert str(path) in said
    assert "\n" not in said
    return said


def read_here(path: Path, key: str | None = None, most_bytes: int = 1 << 20) -> tuple[dict, list[str]]:
    """What the reader does within its process, done in this one to save the start of another."""
    return checkpoint_reader.plain_tensors(
        checkpoint_reader.state_dict(checkpoint_reader.read(str(path)), key), most_bytes
    )


def test_a_checkpoint_of_a_wrapped_model(weights, tmp_path: Path) -> None:
    state = OrderedDict((f"module._orig_mod.{name}", tensor) for name, tensor in weights.items())
    torch.save({"epoch": 3, "arch": "cnn", "state_dict": state, "best": 0.9}, tmp_path / "c.pth.tar")
    imported = import_weights(tmp_path / "c.pth.tar", tmp_path / "out.safetensors")
    assert imported.tensors == len(weights)
    assert imported.parameters == sum(tensor.numel() for tensor in weights.values())
    found = load_file(imported.path)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in weights.items())
    load_weights(lightweight_cnn.build(10), imported.path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.pth.tar", "out.safetensors"]


def test_an_old_checkpoint_at_a_named_place_with_oddities(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    inner = {
        "transposed": base.T,
        "shared": base,
        "half": base.half(),
        "count": torch.tensor(5),
        "note": "text",
        "sparse": torch.eye(3).to_sparse(),
    }
    torch.save({"mine": {"weights": inner}}, tmp_path / "c.pt", _use_new_zipfile_serialization=False)
    found, left_out = read_here(tmp_path / "c.pt", key="mine.weights")
    assert left_out == ["note", "sparse"]
    assert all(tensor.is_contiguous() for tensor in found.values())
    assert torch.equal(found["transposed"], base.T)
    assert torch.equal(found["shared"], base)
    assert found["half"].dtype == torch.float16
    assert found["count"] == 5


def test_safetensors_are_checked_and_copied(weights, tmp_path: Path) -> None:
    save_file(weights, tmp_path / "w.bin")
    imported = import_weights(tmp_path / "w.bin", tmp_path / "out.safetensors")
    assert imported.path.read_bytes() == (tmp_path / "w.bin").read_bytes()
    assert imported.tensors == len(weights)


class Hostile:
    """Unpickled the usual way, it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return (os.system, (f"touch {self.trace}",))


def test_a_hostile_checkpoint_runs_nothing(tmp_path: Path) -> None:
    trace = tmp_path.parent / f"{tmp_path.name}-trace"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "x": Hostile(trace)}, tmp_path / "c.pth")
    assert "asks to run 'posix.system'" in refuse(tmp_path / "c.pth")
    assert not trace.exists()
    torch.load(tmp_path / "c.pth", weights_only=False)
    assert trace.exists(), "the file is hostile indeed"


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_hostile_old_checkpoint_or_bare_pickle_runs_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({"x": Hostile(trace)}, tmp_path / "c.pth", _use_new_zipfile_serialization=False)
    for protocol in (2, 4):
        (tmp_path / f"{protocol}.pth").write_bytes(pickle.dumps(Hostile(trace), protocol=protocol))
    for name, said in (("c", "posix.system"), ("2", "posix.system"), ("4", "Unsupported operand")):
        with pytest.raises(checkpoint_reader.RejectedError, match=said) as raised:
            checkpoint_reader.read(str(tmp_path / f"{name}.pth"))
        assert "False" not in str(raised.value), "torch's advice to read it all the same is not passed on"
    assert not trace.exists()


def test_a_whole_pickled_model_is_refused_with_the_remedy(tmp_path: Path) -> None:
    torch.save(lightweight_cnn.build(10), tmp_path / "c.pth")
    with pytest.raises(checkpoint_reader.RejectedError, match=r"LightweightCNN.*save `model.state_dict\(\)` instead"):
        checkpoint_reader.read(str(tmp_path / "c.pth"))


def test_damaged_files(weights, tmp_path: Path) -> None:
    torch.save(weights, tmp_path / "c.pth")
    whole = (tmp_path / "c.pth").read_bytes()
    (tmp_path / "c.pth").write_bytes(whole[: len(whole) // 2])
    assert "refused" in refuse(tmp_path / "c.pth")
    save_file(weights, tmp_path / "w.safetensors")
    whole = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(whole[:-1])
    assert "damaged" in refuse(tmp_path / "w.safetensors")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), cut=st.booleans())
def test_a_changed_byte_is_read_or_refused_with_a_reason(place, value, cut, weights, tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    small = {"head": {"bias": weights["head.4.bias"]}}
    torch.save(small, path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] = value
    path.write_bytes(content[: int(place * len(content))] if cut else content)
    with contextlib.suppress(checkpoint_reader.RejectedError):  # any other error fails the test
        tensors, _ = read_here(path, key="head")
        assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    assert "no such file" in refuse(path)
    for content in (b"", b"GIF89a" + bytes(40), b"\x00" * 100):
        path.write_bytes(content)
        assert "neither safetensors nor a PyTorch checkpoint" in refuse(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "text")
    with pytest.raises(checkpoint_reader.RejectedError, match="archive"):
        checkpoint_reader.read(str(path))
    path.unlink()
    path.mkdir()
    assert "not a regular file" in refuse(path)
    path.rmdir()
    os.mkfifo(path)
    assert "not a regular file" in refuse(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html><head>", "is a web page"),
        (b"<html lang='en'>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "is a Git LFS pointer.*git lfs pull"),
        (b"\x1f\x8b\x08" + bytes(30), "compressed with gzip"),
        (b"c.pth".ljust(257, b"\0") + b"ustar\x0000" + bytes(250), "is a tar archive"),
        (b"\x89HDF\r\n\x1a\n" + bytes(30), "Keras or TensorFlow"),
        (b"\x93NUMPY\x01\x00" + bytes(30), "is a NumPy array"),
        (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + bytes(30), "is an ONNX model"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(30), "TensorFlow Lite"),
        (b'{"metadata": {"total_size": 3}, "weight_map": {}}', "index of weights in several files"),
        (b"Access denied. Please log in.\n", "is text that begins with 'Access denied. Please log in.'"),
    ],
)
def test_what_people_take_for_a_checkpoint_is_named(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "c.pth").write_bytes(content)
    assert re.search(said, refuse(tmp_path / "c.pth"))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a/model.pth", "a/readme.txt"], "an archive that contains a/model.pth; extract and import that file"),
        (["w.npy"], "NumPy arrays"),
        (["config.json", "model.weights.h5"], "Keras archive"),
        (["a.txt"], "damaged or not written by torch"),
    ],
)
def test_archives_that_torch_did_not_write_are_named(names: list[str], said: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "c.pth", "w") as archive:
        for name in names:
            archive.writestr(name, "text")
    with pytest.raises(checkpoint_reader.RejectedError, match=said):
        checkpoint_reader.read(str(tmp_path / "c.pth"))


def test_a_torchscript_program_is_named(tmp_path: Path) -> None:
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(tmp_path / "c.pt"))
    with pytest.raises(checkpoint_reader.RejectedError, match="TorchScript program, not a checkpoint"):
        checkpoint_reader.read(str(tmp_path / "c.pt"))


def test_a_place_that_is_not_there(weights) -> None:
    with pytest.raises(checkpoint_reader.RejectedError, match="it contains no weights; it contains model, step"):
        checkpoint_reader.state_dict({"model": {"lr": 0.1}, "step": 3}, None)
    with pytest.raises(checkpoint_reader.RejectedError, match="it has no 'net'; it contains model"):
        checkpoint_reader.state_dict({"model": weights}, "net")
    with pytest.raises(checkpoint_reader.RejectedError, match="its 'step' contains no tensors"):
        checkpoint_reader.state_dict({"model": weights, "step": 3}, "step")


@pytest.mark.parametrize("place", checkpoint_reader.PLACES)
def test_usual_places(place: str, weights) -> None:
    assert checkpoint_reader.state_dict({"epoch": 3, place: weights}, None) is weights


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "c.pth", "wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(import_checkpoint.MAX_BYTES + 1)  # sparse: takes no room
    assert "16.0 GiB; at most 16 GiB" in refuse(tmp_path / "c.pth")


def test_one_number_expanded_to_fill_the_memory(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(1 << 40)}, tmp_path / "c.pth")
    assert (tmp_path / "c.pth").stat().st_size < 10_000
    with pytest.raises(checkpoint_reader.RejectedError, match="far larger than the file"):
        read_here(tmp_path / "c.pth")


def test_a_compressed_bomb_meets_the_memory_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_checkpoint, "SPARE_MEMORY", 128 << 20)
    torch.save({"a": torch.zeros(64 << 20)}, tmp_path / "large.pth")
    path = tmp_path / "c.pth"
    with (
        zipfile.ZipFile(tmp_path / "large.pth") as large,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb,
    ):
        for name in large.namelist():
            bomb.writestr(name, large.read(name))
    assert path.stat().st_size < 4 << 20
    assert "memory" in refuse(path)


def test_nothing_is_overwritten(weights, tmp_path: Path) -> None:
    save_file(weights, tmp_path / "w.safetensors")
    (tmp_path / "out.safetensors").write_text("mine")
    with pytest.raises(LimbeckError, match="already exists"):
        import_weights(tmp_path / "w.safetensors", tmp_path / "out.safetensors")
    assert (tmp_path / "out.safetensors").read_text() == "mine"
    with pytest.raises(LimbeckError, match="no such folder"):
        import_weights(tmp_path / "w.safetensors", tmp_path / "absent" / "out.safetensors")


def test_torch_load_is_called_in_one_place_alone() -> None:
    package = Path(limbeck.__file__).parent
    callers = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "torch.save", "torch.jit.load")
    }
    assert callers == {"weights/checkpoint_reader.py"}
