"""The demo page in a real browser: from a server and from a file, with real images, and with what is none."""

from __future__ import annotations

import base64
import json
import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import visit
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import limbeck
from limbeck.commands.predict import predict_files
from limbeck.data.decode import resize_centre_crop
from limbeck.deployment import demo as room
from limbeck.errors import LimbeckError

pytest.importorskip("onnxruntime")
needs_runtime = pytest.mark.skipif(not (room.PAGE / room.RUNTIME[0]).is_file(), reason="`make web` was not run")


@pytest.fixture(scope="module")
def page(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> room.Demo:
    out = tmp_path_factory.mktemp("export")
    limbeck.export(trained, "onnx")
    return room.demo(trained, out / "demo")


@pytest.fixture
def address(start: Any, trained: Path, page: room.Demo, tmp_path: Path) -> Iterator[str]:
    """Of a server that `limbeck demo --serve` started."""
    process = start("demo", trained, "--out", tmp_path / "served", "--serve", "--port", 0, cwd=tmp_path)
    lines = [process.stdout.readline(), process.stdout.readline()]
    yield re.findall(r"http://127\.0\.0\.1:\d+/", "".join(lines))[0]
    process.terminate()
    process.wait()


READY = "#status:has-text('Ready'), #status.error"


@needs_runtime
@pytest.mark.middle
@pytest.mark.parametrize("served", [True, False], ids=["server", "file"])
def test_a_browser_answers_as_predict_does(
    served: bool, request: pytest.FixtureRequest, page: room.Demo, trained: Path, tmp_path: Path
) -> None:
    where = request.getfixturevalue("address") if served else page.standalone.as_uri()
    model = limbeck.load(trained)
    with visit(where, width=1280 if served else 390) as found:
        found.page.wait_for_selector(READY, timeout=60_000)
        samples = found.page.locator("#samples button")
        assert samples.count() == 12
        for index in (0, 5, 11):
            samples.nth(index).click()
            found.page.wait_for_selector(f"#samples button:nth-child({index + 1})[aria-pressed=true]")
            found.page.wait_for_selector("#result:not([hidden])")
            found.page.wait_for_timeout(300)
            source = samples.nth(index).locator("img").get_attribute("src")
            file = tmp_path / f"{index}.png"
            file.write_bytes(base64.b64decode(source.partition(",")[2]))
            (expected,) = predict_files(model, [file])
            names = found.page.locator("#student li span:first-child").all_inner_texts()
            values = [
                float(one.get_attribute("data-probability")) for one in found.page.locator("#student .value").all()
            ]
            assert names[0] == expected.classes[0][0]
            assert dict(zip(names, values, strict=True)) == pytest.approx(dict(expected.classes), abs=1e-3)
        assert found.errors == []
        elsewhere = [one for one in found.requests if not one.startswith((where.rpartition("/")[0], "data:", "blob:"))]
        assert elsewhere == []


def bomb(path: Path) -> Path:
    """A PNG of 50,000 x 50,000 black pixels, in a few kilobytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 1, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        + chunk(b"IEND", b"")
    )
    return path


@needs_runtime
@pytest.mark.middle
def test_what_is_no_image_is_refused_in_words(page: room.Demo, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "photo.jpg")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "half.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 40, 30))
    with visit(page.standalone.as_uri()) as found:
        found.page.wait_for_selector(READY, timeout=60_000)

        def give(file: Path) -> str:
            found.page.set_input_files("#file", file)
            found.page.wait_for_timeout(500)
            return found.page.inner_text("#status")

        assert "50000 × 50000 pixels; at most 64 million" in give(bomb(tmp_path / "bomb.png"))
        assert "not a PNG, JPEG" in give(tmp_path / "text.png")
        assert "damaged" in give(tmp_path / "half.png")
        assert "Predicted" in give(tmp_path / "photo.jpg")
        assert found.errors == []


@pytest.mark.skipif(shutil.which("node") is None, reason="no node")
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_the_page_resizes_as_training_images_were(width: int, height: int, side: int, seed: int) -> None:
    """To the last bit, for images that are not upright; Pillow resizes some upright ones by columns first."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    script = (room.PAGE / "fit.js").read_text().replace("export function", "function") + (
        "const [width, height, side, data] = JSON.parse(require('fs').readFileSync(0));"
        "const found = fit({rgb: Uint8Array.from(data), width, height}, side, side);"
        "console.log(JSON.stringify(Array.from(found)))"
    )
    told = json.dumps([width, height, side, pixels.ravel().tolist()])
    out = subprocess.run(["node", "-e", script], input=told, text=True, capture_output=True, check=True).stdout
    found = np.array(json.loads(out), np.uint8).reshape(side, side, 3)
    if width >= height:
        expected = resize_centre_crop(pixels, side)
    else:
        top = (height - width) / 2
        rows = Image.fromarray(pixels).resize((side, height), Image.Resampling.BICUBIC)
        box = (0, top, side, top + width)
        expected = np.asarray(rows.resize((side, side), Image.Resampling.BICUBIC, box=box))
    np.testing.assert_array_equal(found, expected)


def test_what_cannot_be_shown_is_named(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LimbeckError, match="no such file; expected an ONNX file"):
        room.demo(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(LimbeckError, match="damaged, or not an ONNX file"):
        room.demo(tmp_path / "bad.onnx")
    shutil.copytree(trained, tmp_path / "plain", ignore=shutil.ignore_patterns("export"))
    with pytest.raises(LimbeckError, match=r"was not exported yet; first: limbeck export .* --to onnx"):
        room.demo(tmp_path / "plain")
    limbeck.export(trained, "onnx")
    monkeypatch.setattr(room, "RUNTIME", ("not-there.mjs",))
    with pytest.raises(LimbeckError, match="the browser runtime is missing; `make web` brings it"):
        room.demo(trained, tmp_path / "demo")
    assert not (tmp_path / "demo").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    monkeypatch.setattr(room, "RUNTIME", ())
    with pytest.raises(LimbeckError, match="holds other files"):
        room.demo(trained, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "mine"
