"""`limbeck demo`: a folder with a page in which an exported student runs in the browser."""

from __future__ import annotations

import base64
import gzip
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from limbeck.building.evaluation_data import evaluation_images
from limbeck.building.saved_model import LoadedModel, load
from limbeck.errors import LimbeckError
from limbeck.storage.atomic import atomic_folder, make_folder, read_json, remove_leftovers
from limbeck.types import Split

from .formats import format_of
from .onnx_file import open_session

PAGE = Path(__file__).parent / "page"
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
"""The two files of onnxruntime-web that a page needs. `make web` copies them from its npm package to `page/`."""
SAMPLES = 12


@dataclass(frozen=True)
class Demo:
    """A folder that was written. standalone: the page as one file, which needs no server."""

    folder: Path
    page: Path
    standalone: Path


def demo(exported: str | Path, out: str | Path | None = None, *, samples: int = SAMPLES) -> Demo:
    """Write the demo page of an exported ONNX file, or of a saved model that was exported to ONNX.

    exported: `…/export/student.onnx`, or the folder of the model. out: the folder to write, in place of an earlier demo
    (default: `demo/` beside the file). samples: how many test images to put into the page, if the model's data are at
    hand; the teacher's answer stands beside the student's if the file lies in its run.

    Raises LimbeckError for any other file, and where the browser runtime is missing.
    """
    path = _file(Path(exported))
    _, about = open_session(path, 1)
    runtime = {name: _runtime(name) for name in RUNTIME}
    folder = Path(out) if out is not None else path.parent / "demo"
    if folder.exists() and not (folder / "standalone.html").is_file() and any(folder.iterdir()):
        raise LimbeckError(f"{folder}: holds other files; a demo takes a folder of its own: give another --out")
    model = path.read_bytes()
    model_folder = path.parent.parent
    payload = {
        **{key: about[key] for key in ("class_names", "image_shape", "layout")},
        "facts": _facts(about, len(model), runtime),
        "samples": _samples(model_folder, samples) if (model_folder / "model.json").is_file() else [],
    }
    title = f"{about.get('trained_on') or 'Image'} classifier: {model_folder.name}"
    files = {"model.onnx": model, **runtime}
    make_folder(folder.parent)
    remove_leftovers(folder.parent, shared=True)
    with atomic_folder(folder, existing="replace") as temporary:
        for name, content in files.items():
            (temporary / name).write_bytes(content)
        (temporary / "index.html").write_text(_page(title, payload, {}), encoding="utf-8")
        (temporary / "standalone.html").write_text(_page(title, payload, files), encoding="utf-8")
    return Demo(folder, folder / "index.html", folder / "standalone.html")


def _file(path: Path) -> Path:
    if (path / "model.json").is_file():
        file = path / "export" / "student.onnx"
        if not file.is_file():
            raise LimbeckError(f"{path}: was not exported yet; first: limbeck export {path} --to onnx")
        return file
    if not path.is_file():
        raise LimbeckError(f"{path}: no such file; expected an ONNX file of `limbeck export`, or a model's folder")
    if not format_of(path).name.startswith("onnx"):
        raise LimbeckError(f"{path}: browsers run ONNX files; limbeck export --to onnx writes one")
    return path


def _runtime(name: str) -> bytes:
    try:
        return (PAGE / name).read_bytes()
    except OSError as error:
        raise LimbeckError(f"{PAGE / name}: the browser runtime is missing; `make web` brings it") from error


def _facts(about: Mapping[str, Any], size: int, runtime: Mapping[str, bytes]) -> str:
    packed = sum(len(gzip.compress(content, 6)) for content in runtime.values())
    network = (about.get("model") or {}).get("name", "network")
    kind = "int8" if about.get("format") == "onnx-int8" else "float32"
    return (
        f"{network}, {kind}, {len(about['class_names'])} classes · model {size / 1e6:.2f} MB · browser runtime "
        f"{packed / 1e6:.1f} MB compressed"
    )


def _samples(folder: Path, count: int) -> list[dict[str, Any]]:
    """Test images of the model's own data, spread over the classes, each with the teacher's probabilities."""
    student = load(folder)
    try:
        images = evaluation_images(student, None, "test", str(folder))
    except LimbeckError:  # the data have moved or changed: the page does without samples
        return []
    places = _spread(images.test, count)
    pixels = images.test.take(places)
    teacher = _teacher_probabilities(folder, images.class_names, pixels)
    labels = images.test.labels[places].tolist()
    order = [student.class_names.index(name) for name in images.class_names]
    return [
        {
            "png": base64.b64encode(_png(image)).decode(),
            "label": order[label],
            "teacher": None if teacher is None else teacher[index].tolist(),
        }
        for index, (image, label) in enumerate(zip(pixels, labels, strict=True))
    ]


def _spread(test: Split, count: int) -> Tensor:
    """The first test image of each class, then the second, until there are `count`; in order of their labels."""
    labels = test.labels.tolist()
    seen: dict[int, int] = {}
    rounds = []
    for place, label in enumerate(labels):
        seen[label] = seen.get(label, 0) + 1
        rounds.append((seen[label], label, place))
    chosen = sorted(rounds)[:count]
    return torch.tensor([place for _, _, place in sorted(chosen, key=lambda one: one[1:])])


def _png(image: Tensor) -> bytes:
    out = io.BytesIO()
    pixels = image.permute(1, 2, 0).numpy()
    Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0]).save(out, "PNG", optimize=True)
    return out.getvalue()


def _teacher_probabilities(folder: Path, class_names: Sequence[str], pixels: Tensor) -> Tensor | None:
    """Mean probabilities `[B, K]` of the teachers that taught a model, where they are saved in its run."""
    names = _teachers(folder)
    found = [load(one) for name in names for one in sorted(folder.parent.glob(f"{name}-seed*"))[:1]]
    if not names or len(found) != len(names):
        return None
    ordered: list[LoadedModel] = [model.in_order_of(class_names, "the teacher") for model in found]
    return torch.stack([model(pixels).softmax(dim=-1) for model in ordered]).mean(dim=0)


def _teachers(folder: Path) -> list[str]:
    recipe = folder.resolve().parent.parent / "recipe.json"
    if not recipe.is_file():
        return []
    students = read_json(recipe).get("students") or {}
    arm = max((name for name in students if folder.name.startswith(f"{name}-seed")), key=len, default=None)
    return [teacher["name"] for teacher in students[arm]["teacher"]] if arm else []


def _page(title: str, payload: Mapping[str, Any], embedded: Mapping[str, bytes]) -> str:
    """The page. embedded: files that it holds itself, so that it needs no server."""
    script = (PAGE / "fit.js").read_text(encoding="utf-8").replace("export function", "function")
    assets = "\n".join(
        f'<script type="text/plain" id="asset-{name}">{_packed(content)}</script>' for name, content in embedded.items()
    )
    parts = {
        "title": html.escape(title),
        "style": (PAGE / "demo.css").read_text(encoding="utf-8"),
        "data": json.dumps(payload, ensure_ascii=False).replace("<", "\\u003c"),
        "assets": assets,
        "script": script + (PAGE / "demo.js").read_text(encoding="utf-8"),
    }
    text = (PAGE / "demo.html").read_text(encoding="utf-8")
    pieces = text.split("{{")  # one pass: what is put in is not searched again
    return pieces[0] + "".join(parts[key] + rest for key, _, rest in (piece.partition("}}") for piece in pieces[1:]))


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
