"""`limbeck evaluate`: measure a saved model, or a model from a weights file, on a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from torch import Tensor

from limbeck.building.data import Images
from limbeck.building.evaluation_data import (
    check_images,
    check_split_name,
    evaluation_images,
    is_training_source,
    seen_in_training,
)
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

from .test_time import gain_and_cost, views_of_words


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
    test_time: Sequence[str] = (),
) -> list[tuple[str, str]]:
    """Measure a model; returns pairs of a name and a value, both text.

    checkpoint: the folder of a saved model; with `arm`, a recipe; with `model`, a safetensors file for that model.
    source: the data source; None for the data on which the model was trained, or the data of the recipe.
    options: key=value for the source, or for the recipe if `arm` is given. against: the folder of another saved model,
    to compare with on the same images. device: as in a recipe. test_time: options of `--test-time`, such as
    `shifts=2`.

    Raises LimbeckError if the data does not fit the model: other classes, another image size or another split.
    """
    check_split_name(split)
    if source is not None and "=" in source.partition(":")[0]:
        source, options = None, [source, *options]  # the source was omitted
    target = (
        _saved(checkpoint, source, options, split)
        if arm is None and model is None
        else _pretrained(checkpoint, source, options, arm, model)
    )
    images, chosen_device = target.images, choose_device(device)
    views = views_of_words(test_time, images.shape)
    other = None
    if against is not None:
        other = load(against)
        check_images(other, images, split, str(against), same_source=is_training_source(other, target.source))
        other = other.in_order_of(images.class_names, str(against)).to(chosen_device)
    measured = target.model.in_order_of(images.class_names, target.where).to(chosen_device)
    split_images = getattr(images, split)
    logits = logits_of(measured, split_images)
    cost = measure(measured.model, measured.input_shape)
    lines = _measures(cost, logits, images, split_images, split, target.seen)
    if views:
        lines += gain_and_cost(measured, logits, cost, split_images, views)
    lines += [("remark", remark) for remark in target.remarks]
    return lines + (_compared(logits, other, str(against), split_images) if other is not None else [])


@dataclass(frozen=True)
class Target:
    """A model and its images. where: its name in errors. seen: text on whether it was trained on these images."""

    model: LoadedModel
    where: str
    images: Images
    source: str
    seen: str
    remarks: tuple[str, ...] = ()


def _saved(checkpoint: str | Path, source: str | None, options: Sequence[str], split: str) -> Target:
    model, where, data = _load(checkpoint), str(checkpoint), data_of(source, options)
    images = evaluation_images(model, data, split, where)
    return Target(model, where, images, source or model.about["data"]["source"], seen_in_training(model, images, split))


def _pretrained(
    checkpoint: str | Path, source: str | None, options: Sequence[str], arm: str | None, model: str | None
) -> Target:
    if arm is not None:
        if source is not None or model is not None:
            raise LimbeckError("--arm: the recipe names the model and the data; data.source=… changes the data")
        loaded, where = model_of_recipe(str(checkpoint), arm, options), f"{arm} of {checkpoint}"
    else:
        if source is None:
            raise LimbeckError(f"{checkpoint}: a weights file names no data; add the source, as in folder:photos")
        loaded, where = model_of_file(Path(checkpoint), str(model), source, options), str(checkpoint)
    return Target(loaded.model, where, loaded.images, loaded.source, "unknown: no training data known", loaded.remarks)


def data_of(source: str | None, options: Sequence[str]) -> Data | None:
    """The source and options of the command line as the `data` section of a recipe; None without a source.

    Raises LimbeckError if an option does not have the form key=value or is not valid.
    """
    values = {}
    for option in options:
        key, equals, text = option.partition("=")
        if not equals:
            raise LimbeckError(f"{option!r}: takes the form key=value, as in test=0.3")
        values[key] = parse(text, f"command line: {key}")[0]
    if source is None:
        if values:
            raise LimbeckError(f"{options[0]!r}: options need a data source, as in folder:photos")
        return None
    try:
        return Data(source=source, **values)
    except ValidationError as error:
        first = error.errors()[0]
        raise LimbeckError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}; got {first['input']!r}") from error


def _load(checkpoint: str | Path) -> LoadedModel:
    path = Path(checkpoint)
    if path.suffix == ".safetensors" and path.is_file() and not (path.parent / "model.json").is_file():
        raise LimbeckError(f"{path}: a weights file; name its model, as in --model resnet20")
    if path.suffix in (".yaml", ".yml"):
        raise LimbeckError(f"{path}: a recipe; name one of its arms, as in --arm teacher")
    return load(path)


def _measures(
    cost: Efficiency, logits: Tensor, images: Images, part: Split, split: str, seen: str
) -> list[tuple[str, str]]:
    evaluation = evaluate_logits(logits, part, num_classes=len(images.class_names))
    return [
        ("images", f"{evaluation.n:,} ({split} split of {images.name})"),
        ("seen in training", seen),
        ("top-1", f"{evaluation.top1:.2%}"),
        *([("top-5", f"{evaluation.top5:.2%}")] if evaluation.top5 is not None else []),
        ("balanced accuracy", f"{evaluation.balanced_accuracy:.2%}"),
        ("loss", f"{evaluation.loss:.4f}"),
        ("expected calibration error", f"{evaluation.expected_calibration_error:.4f}"),
        *([("non-finite logits", f"{evaluation.unanswered:,} images")] if evaluation.unanswered else []),
        ("computed in", f"float32 on {cost.device}"),
        ("parameters", f"{cost.parameters:,}"),
        ("size", f"{cost.megabytes:.2f} MB"),
        ("multiply-adds", f"{cost.multiply_adds / 1e6:.1f} M"),
        *_latencies(cost),
    ]


def _latencies(cost: Efficiency) -> list[tuple[str, str]]:
    def spread(minimum: float, median: float, p95: float) -> str:
        return f"{median:.2f} ms (minimum {minimum:.2f}, p95 {p95:.2f})"

    lines = [
        ("latency, one image", spread(cost.image_ms_min, cost.image_ms_median, cost.image_ms_p95)),
        (f"latency, {cost.batch_size} images", spread(cost.batch_ms_min, cost.batch_ms_median, cost.batch_ms_p95)),
    ]
    if cost.disturbed:
        load = "" if cost.load is None else f"load {cost.load:.1f} on {cost.cores} cores, "
        busy = f"{load}the process had the CPU for {cost.cpu_share:.0%} of the time"
        lines.append(("latency note", f"the machine was busy ({busy}): too high, measure again"))
    return lines


def _compared(logits: Tensor, other: LoadedModel, where: str, images: Split) -> list[tuple[str, str]]:
    labels, other_logits = images.labels.cpu().long(), logits_of(other, images)
    found = paired_difference(logits, other_logits, labels)
    low, high = (format_signed(100 * bound) for bound in (found.low, found.high))
    interval = f"95 % confidence interval {low} to {high}, over images"
    return [
        ("against", where),
        ("its top-1", f"{accuracy(other_logits, labels):.2%}"),
        ("difference", f"{format_signed(100 * found.difference)} points ({interval})"),
        ("only one correct", f"this model {found.only_first:,} images, the other {found.only_second:,}"),
        ("same prediction", f"{found.agreement:.2%}"),
    ]
