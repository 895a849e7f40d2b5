"""Other input formats in which a model from a file may have been trained: normalisations, sizes, channel orders."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.evaluation.evaluate import logits_of
from limbeck.evaluation.metrics import accuracy
from limbeck.evaluation.paired import paired_difference
from limbeck.training.model_errors import expected_image_size
from limbeck.types import Normalisation, Predict, Split
from limbeck.views.preprocess import InputFormat

from .class_order import is_significant_swap, natural_order, order_by_confusion, reordered

NORMALISATIONS = {
    "ImageNet's": Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "0.5": Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "CIFAR-10's": Normalisation((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)),
    "pixels from 0 to 1": Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "pixels from 0 to 255": Normalisation((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
}
USUAL_SIDES = (32, 64)
FEW_IMAGES = 100
SECONDS_FOR_ALL = 3.0
"""If a model takes longer for the whole sample, it is first run on a hundred images."""
MAX_SECONDS = 30.0
"""No further input format is tried after this time."""
MIN_GAIN = 0.02
"""The least gain in accuracy for which another input format is reported."""
MIN_SHARE = 0.2
"""How far from chance to perfect accuracy a model near chance must get in another input format."""


@dataclass(frozen=True)
class Alternative:
    """Another way to use the same model.

    input_format: normalisation and size. logits: for the sample, in the order of the classes.
    stands_for: the class of each output, if the order of the outputs changes.
    swapped_channels: whether the channels are in the order blue, green, red.
    """

    input_format: InputFormat
    logits: Tensor
    stands_for: tuple[int, ...] | None = None
    swapped_channels: bool = False


def find_better(
    make_predict: Callable[[InputFormat], Predict],
    model: nn.Module,
    input_format: InputFormat,
    data: Normalisation,
    sample: Split,
    logits: Tensor,
    class_names: Sequence[str],
    *,
    order_is_known: bool,
    near_chance: bool,
) -> Alternative | None:
    """The best of the usual input formats in which a model is clearly better than in `input_format`, or None.

    make_predict: makes the predictor for an input format. data: the normalisation of the data. logits: the model's
    logits `[N, K]` for `sample` in `input_format`. order_is_known: the recipe gives the order of the classes.
    near_chance: the model is hardly better than chance, so more formats are tried.
    Clearly better: on the same images, the difference is at least 2 points and its 95 % interval is above 0.
    """
    labels = sample.labels.cpu().long()
    orders = [] if order_is_known else _natural_order(class_names)
    began = time.monotonic()
    few = sample if len(sample) <= FEW_IMAGES else sample.part(torch.arange(FEW_IMAGES))
    tried: list[Alternative] = [Alternative(input_format, logits)]
    slow = False
    for other_input_format, swap in _input_formats(model, input_format, data, sample, near_chance):
        if time.monotonic() - began > MAX_SECONDS:
            break
        predict = make_predict(other_input_format)
        predict = _with_swapped_channels(predict) if swap else predict
        started = time.monotonic()
        try:
            first_logits = logits_of(predict, few)
            slow = slow or (time.monotonic() - started) * len(sample) / len(few) > SECONDS_FOR_ALL
            if slow and not _is_promising(first_logits, logits[: len(few)], labels[: len(few)], orders):
                continue
            new_logits = first_logits if len(few) == len(sample) else logits_of(predict, sample)
        except LimbeckError:  # the model does not take this size
            continue
        tried.append(Alternative(other_input_format, new_logits, swapped_channels=swap))
    candidates = [*tried[1:], *(other for one in tried for other in _with_orders(one, labels, orders))]
    best = max(candidates, key=lambda one: accuracy(one.logits, labels), default=None)
    if best is None or not _is_clearly_better(best, logits, labels):
        return None
    chance = 1 / len(class_names)
    if near_chance and accuracy(best.logits, labels) < chance + MIN_SHARE * (1 - chance):
        return None  # no more than the luckiest of many guesses
    return best


def _input_formats(
    model: nn.Module, input_format: InputFormat, data: Normalisation, sample: Split, near_chance: bool
) -> Iterator[tuple[InputFormat, bool]]:
    """The input formats to try, each with whether to swap the channels."""
    channels, side, _ = sample.image_shape
    own = next((_timm_normalisation(module) for module in model.modules() if hasattr(module, "pretrained_cfg")), None)
    normalisations = [input_format.normalisation, *([own] if own else []), data]
    normalisations += [norm for norm in NORMALISATIONS.values() if channels == 3]
    current = input_format.resolution or side
    native = expected_image_size(model)
    formats = [(current, norm) for norm in normalisations]
    if native is not None:
        formats += [(native, norm) for norm in (normalisations if near_chance else [own or input_format.normalisation])]
    if near_chance:
        formats += [(usual, norm) for usual in USUAL_SIDES for norm in normalisations]
    seen = {(current, input_format.normalisation)}
    for resolution, norm in formats:
        if len(norm.mean) == channels and (resolution, norm) not in seen:
            seen.add((resolution, norm))
            size = input_format.resolution if resolution == current else resolution
            yield replace(input_format, normalisation=norm, resolution=size), False
    if channels == 3:
        yield input_format, True


def _timm_normalisation(module: nn.Module) -> Normalisation | None:
    """The normalisation in the configuration of a timm model."""
    config = getattr(module, "pretrained_cfg", None)
    if not isinstance(config, dict) or not config.get("mean") or not config.get("std"):
        return None
    return Normalisation(tuple(map(float, config["mean"])), tuple(map(float, config["std"])))


def _natural_order(class_names: Sequence[str]) -> list[list[int]]:
    natural = natural_order(class_names)
    return [] if natural == list(class_names) else [[list(class_names).index(name) for name in natural]]


def _with_orders(one: Alternative, labels: Tensor, orders: Sequence[Sequence[int]]) -> Iterator[Alternative]:
    """The same logits with their columns in other orders: the usual ones, and the one that the confusion suggests."""
    confused = order_by_confusion(one.logits, labels)
    if confused is not None and list(confused) not in [list(order) for order in orders]:
        orders = [*orders, confused]
    for order in orders:
        yield Alternative(one.input_format, reordered(one.logits, order), tuple(order), one.swapped_channels)


def _is_promising(new: Tensor, current: Tensor, labels: Tensor, orders: Sequence[Sequence[int]]) -> bool:
    """Whether the new logits, in their best order, are more accurate than the current ones by `MIN_GAIN`."""
    best = max(accuracy(logits, labels) for logits in (new, *(reordered(new, order) for order in orders)))
    return best >= accuracy(current, labels) + MIN_GAIN


def _is_clearly_better(other: Alternative, logits: Tensor, labels: Tensor) -> bool:
    found = paired_difference(other.logits, logits, labels)
    two_swapped = other.stands_for is not None and sum(k != c for k, c in enumerate(other.stands_for)) == 2
    if two_swapped and other.stands_for is not None and found.low > 0:
        return is_significant_swap(logits, labels, other.stands_for)
    return found.low > 0 and found.difference >= MIN_GAIN


def _with_swapped_channels(predict: Predict) -> Predict:
    return lambda images: predict(images.flip(1))
