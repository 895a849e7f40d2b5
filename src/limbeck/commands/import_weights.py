"""`limbeck import`: convert weights from other programs to safetensors, and check that they fit a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.building.models import build_model
from limbeck.errors import LimbeckError, printable
from limbeck.recipes import registry
from limbeck.recipes.overrides import apply_override
from limbeck.recipes.recipe import NameWithOptions
from limbeck.weights.import_checkpoint import Imported, import_weights
from limbeck.weights.load import classes_of_head, mismatch

MAX_NAMES = 4
ANY_CLASSES = 2  # to build a model if the file determines the number of classes
PRECISIONS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def import_file(
    file: Path,
    out: Path | None,
    *,
    key: str | None = None,
    model: str | None = None,
    options: Sequence[str] = (),
    classes: int | None = None,
    dry_run: bool = False,
) -> list[str]:
    """Import a file; returns a description, one string per line.

    out: the file to write (None: the file's name with `.safetensors`, in the working directory).
    model: the name of a model that the weights must fit. options: of this model, such as `depth=20`. classes: its
    number of classes (None: that of the file). dry_run: write nothing.

    Raises LimbeckError, without writing anything, if the file cannot be imported or the weights do not fit.
    """
    if model is None and (options or classes is not None):
        given = options[0] if options else f"--classes {classes}"
        raise LimbeckError(f"{given}: needs a model, as in --model resnet20")
    check_lines: list[str] = []
    check = None if model is None else _check(file, model, options, classes, check_lines)
    target = out or Path(f"{file.stem}.safetensors")
    done = import_weights(file, target, key=key, check=check, dry_run=dry_run)
    return [printable(line) for line in [*_describe(done, dry_run), *check_lines]]


def _describe(done: Imported, dry_run: bool) -> list[str]:
    by_count = sorted(done.precisions.items(), key=lambda item: -item[1])
    precisions = [PRECISIONS.get(name, name) for name, _ in by_count if name[0] in "FB" and name != "BOOL"]
    lines = [
        f"{done.path}: {done.tensors} tensors, {done.parameters:,} parameters, {' and '.join(precisions)}"
        + ("; not written (--dry-run)" if dry_run else "")
    ]
    if done.key:
        lines.append(f"  imported key: {done.key}")
    lines += [f"  other weights in the file: {other} (import them with --key {other})" for other in done.others]
    if done.prefix:
        lines.append(f"  prefix removed from all names: {done.prefix}")
    lines.append(f"  names: {_some(done.names, MAX_NAMES)}")
    if done.left_out:
        lines.append(f"  left out: {_some(done.left_out, 5)}")
    if done.dropped:
        lines.append(f"  ignored objects of unknown classes: {_some(done.dropped, 5)}")
    return lines


def _check(
    file: Path, model: str, options: Sequence[str], classes: int | None, lines: list[str]
) -> Callable[[Path], None]:
    """Make a check of the written file against a model. The check adds its result to `lines`."""
    built = _build(model, options, classes or ANY_CLASSES)

    def check(written: Path) -> None:
        wrong = mismatch(built, written, new_head=classes is None)
        if wrong:
            raise LimbeckError(f"{file}: {model}: {wrong}")
        found = classes_of_head(built, written) or classes or ANY_CLASSES
        lines.append(f"  fits: {model}, {found} classes")

    return check


def _build(model: str, options: Sequence[str], classes: int) -> nn.Module:
    given: dict[str, Any] = {}
    for option in options:
        apply_override(given, option)
    wrong = registry.check_options(registry.find("models", model), given)
    if wrong:
        raise LimbeckError(f"--model {model}: {wrong[0][0]}: {wrong[0][1]}")
    return build_model(NameWithOptions(name=model, **given), classes, {}, pretrained=False)


def _some(names: Sequence[str], most: int) -> str:
    return ", ".join(names[:most]) + (f", … ({len(names)} in total)" if len(names) > most else "")
