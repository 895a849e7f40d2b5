"""A saved model, or one from a weights file, measured on a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from torch import Tensor

from limbeck.building.data import Images
from limbeck.building.evaluation_data import check_images, check_split_name, images_for, is_own, was_seen
from limbeck.building.model_from_file import model_of_file, model_of_recipe
from limbeck.building.saved_model import LoadedModel, load
from limbeck.errors import LimbeckError
from limbeck.evaluation.efficiency import Efficiency, measure
from limbeck.evaluation.evaluate import evaluate_logits, logits_of
from limbeck.evaluation.metrics import accuracy
from limbeck.evaluation.paired import paired_difference
from limbeck.recipes.recipe import Data
from limbeck.recipes.yaml_file import parse
from limbeck.report.formatting import format_signed
from limbeck.training.device import choose_device
from limbeck.types import Split


def measure_saved(
    checkpoint: str | Path,
    source: str | None,
    options: Sequence[str],
    split: str,
    *,
    against: Path | None = None,
    arm: str | None = None,
    model: str | None = None,
    device: str = "auto",
) -> list[tuple[str, str]]:
    """Pairs of a measure and its value, as text. Which splits may be measured: see `measured_images`.

    checkpoint: a model's folder; with `arm` a recipe; with `model` a safetensors file of that model.
    source: of the images; None takes those that the model was trained on, or the recipe's.
    options: key=value; of the source (of the recipe, with `arm`). against: another saved model's folder; it answers
    the same images. device: as in a recipe.

    Raises LimbeckError where the data do not fit the model: other classes, another size, a split cut anew.
    """
    check_split_name(split)
    if source is not None and "=" in source.partition(":")[0]:
        source, options = None, [source, *options]  # DATA was left out
    subject = (
        _saved(checkpoint, source, options, split)
        if arm is None and model is None
        else _ready(checkpoint, source, options, arm, model)
    )
    images, place = subject.images, choose_device(device)
    other = None
    if against is not None:
        other = load(against)
        check_images(other, images, split, str(against), same_source=is_own(other, subject.source))
        other = other.in_order_of(images.class_names, str(against)).to(place)
    measured = subject.model.in_order_of(images.class_names, subject.where).to(place)
    part = getattr(images, split)
    logits = logits_of(measured, part)
    lines = _measures(measured, logits, images, part, split, subject.seen)
    lines += [("remark", remark) for remark in subject.remarks]
    return lines + (_compared(logits, other, str(against), part) if other is not None else [])


@dataclass(frozen=True)
class Subject:
    """What is measured, and on what. where: what errors call the model. seen: whether it saw the images in training."""

    model: LoadedModel
    where: str
    images: Images
    source: str
    seen: str
    remarks: tuple[str, ...] = ()


def _saved(checkpoint: str | Path, source: str | None, options: Sequence[str], split: str) -> Subject:
    model, where, data = _load(checkpoint), str(checkpoint), data_of(source, options)
    images = images_for(model, data, split, where)
    return Subject(model, where, images, source or model.about["data"]["source"], was_seen(model, images, split))


def _ready(
    checkpoint: str | Path, source: str | None, options: Sequence[str], arm: str | None, model: str | None
) -> Subject:
    if arm is not None:
        if source is not None or model is not None:
            raise LimbeckError("--arm: the recipe says which model and data; data.source=… names other data")
        found, where = model_of_recipe(str(checkpoint), arm, options), f"{arm} of {checkpoint}"
    else:
        if source is None:
            raise LimbeckError(f"{checkpoint}: weights do not say on which data; name them, as in folder:photos")
        found, where = model_of_file(Path(checkpoint), str(model), source, options), str(checkpoint)
    seen = "unknown: nobody says on what it was trained"
    return Subject(found.model, where, found.images, found.source, seen, found.remarks)


def data_of(source: str | None, options: Sequence[str]) -> Data | None:
    """The words of a command line as `data:` of a recipe; None where no source is named.

    Raises LimbeckError for what is no key=value.
    """
    values = {}
    for option in options:
        key, equals, text = option.partition("=")
        if not equals:
            raise LimbeckError(f"{option!r}: an option is key=value, as in test=0.3")
        values[key] = parse(text, f"command line: {key}")[0]
    if source is None:
        if values:
            raise LimbeckError(f"{options[0]!r}: an option is of a data source; name it too, as in folder:photos")
        return None
    try:
        return Data(source=source, **values)
    except ValidationError as error:
        first = error.errors()[0]
        raise LimbeckError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}; got {first['input']!r}") from error


def _load(checkpoint: str | Path) -> LoadedModel:
    path = Path(checkpoint)
    if path.suffix == ".safetensors" and path.is_file() and not (path.parent / "model.json").is_file():
        raise LimbeckError(f"{path}: a weights file alone; say whose weights, as in --model resnet20")
    if path.suffix in (".yaml", ".yml"):
        raise LimbeckError(f"{path}: a recipe; say which of its arms, as in --arm teacher")
    return load(path)


def _measures(
    saved: LoadedModel, logits: Tensor, images: Images, part: Split, split: str, seen: str
) -> list[tuple[str, str]]:
    found = evaluate_logits(logits, part, num_classes=len(images.class_names))
    cost = measure(saved.model, saved.input_shape)
    return [
        ("images", f"{found.n:,} ({split} split of {images.name})"),
        ("seen in training", seen),
        ("top-1", f"{found.top1:.2%}"),
        *([("top-5", f"{found.top5:.2%}")] if found.top5 is not None else []),
        ("balanced accuracy", f"{found.balanced_accuracy:.2%}"),
        ("loss", f"{found.loss:.4f}"),
        ("expected calibration error", f"{found.expected_calibration_error:.4f}"),
        *([("unanswered", f"{found.unanswered:,} images, whose logits are not finite")] if found.unanswered else []),
        ("computed in", f"float32 on {cost.device}"),
        ("parameters", f"{cost.parameters:,}"),
        ("size", f"{cost.megabytes:.2f} MB"),
        ("multiply-adds", f"{cost.multiply_adds / 1e6:.1f} M"),
        *_latencies(cost),
    ]


def _latencies(cost: Efficiency) -> list[tuple[str, str]]:
    def spread(least: float, median: float, p95: float) -> str:
        return f"{median:.2f} ms (fastest {least:.2f}, p95 {p95:.2f})"

    lines = [
        ("latency, one image", spread(cost.image_ms_min, cost.image_ms_median, cost.image_ms_p95)),
        (f"latency, {cost.batch_size} images", spread(cost.batch_ms_min, cost.batch_ms_median, cost.batch_ms_p95)),
    ]
    if cost.disturbed:
        load = "" if cost.load is None else f"load {cost.load:.1f} on {cost.cores} cores, "
        told = (
            f"measured on a busy machine ({load}the process ran {cost.cpu_share:.0%} of the time): too long, repeat it"
        )
        lines.append(("latencies", told))
    return lines


def _compared(logits: Tensor, other: LoadedModel, where: str, part: Split) -> list[tuple[str, str]]:
    labels, theirs = part.labels.cpu().long(), logits_of(other, part)
    found = paired_difference(logits, theirs, labels)
    low, high = (format_signed(100 * bound) for bound in (found.low, found.high))
    return [
        ("against", where),
        ("its top-1", f"{accuracy(theirs, labels):.2%}"),
        ("difference", f"{format_signed(100 * found.difference)} points, 95 % {low} to {high} over images like these"),
        ("right alone", f"{found.only_first:,} images, the other {found.only_second:,}"),
        ("same answer", f"{found.agreement:.2%}"),
    ]
