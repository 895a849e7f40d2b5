"""What else a model from a file may have been trained with: the usual normalisations, sizes and channel orders."""

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
"""A model that takes longer for the whole sample is asked about a hundred images first."""
SECONDS_IN_ALL = 30.0
LEAST_GAIN = 0.02
LEAST_SHARE = 0.2
"""Of the way from chance to perfect: what a model near chance must reach in another way of asking."""


@dataclass(frozen=True)
class Alternative:
    """Another way of asking the same model.

    input_format: normalisation and size. stands_for: the class of each of its outputs, where their order changes.
    mirrored: channels in the order blue, green, red. logits: its answers to the sample, in the order of the classes.
    """

    input_format: InputFormat
    logits: Tensor
    stands_for: tuple[int, ...] | None = None
    mirrored: bool = False


def find_better(
    ask: Callable[[InputFormat], Predict],
    model: nn.Module,
    input_format: InputFormat,
    data: Normalisation,
    sample: Split,
    logits: Tensor,
    class_names: Sequence[str],
    *,
    ordered: bool,
    lost: bool,
) -> Alternative | None:
    """The best of the usual input formats in which a model is clearly better than in `input_format`; None without one.

    ask: gives the predictor for an input format. data: the normalisation of the data. logits: the model's logits
    `[N, K]` for `sample` in `input_format`. ordered: the recipe gives the order of the classes. lost: the model is near
    chance, so more is tried.
    Clearly: on the same images the 95 % interval of the difference is above 0 and the difference 2 points or more.
    """
    labels = sample.labels.cpu().long()
    orders = [] if ordered else _natural(class_names)
    began = time.monotonic()
    few = sample if len(sample) <= FEW_IMAGES else sample.part(torch.arange(FEW_IMAGES))
    whole: list[Alternative] = [Alternative(input_format, logits)]
    slow = False
    for other_input_format, mirrored in _input_formats(model, input_format, data, sample, lost):
        if time.monotonic() - began > SECONDS_IN_ALL:
            break
        predict = ask(other_input_format)
        predict = _mirrored(predict) if mirrored else predict
        started = time.monotonic()
        try:
            first = logits_of(predict, few)
            slow = slow or (time.monotonic() - started) * len(sample) / len(few) > SECONDS_FOR_ALL
            if slow and not _promising(first, logits[: len(few)], labels[: len(few)], orders):
                continue
            answers = first if len(few) == len(sample) else logits_of(predict, sample)
        except LimbeckError:  # it does not take this size
            continue
        whole.append(Alternative(other_input_format, answers, mirrored=mirrored))
    candidates = [*whole[1:], *(other for one in whole for other in _with_orders(one, labels, orders))]
    best = max(candidates, key=lambda one: accuracy(one.logits, labels), default=None)
    if best is None or not _clearly(best, logits, labels):
        return None
    chance = 1 / len(class_names)
    if lost and accuracy(best.logits, labels) < chance + LEAST_SHARE * (1 - chance):
        return None  # the luckiest of many guessers
    return best


def _input_formats(
    model: nn.Module, input_format: InputFormat, data: Normalisation, sample: Split, lost: bool
) -> Iterator[tuple[InputFormat, bool]]:
    """Formats to try, each with whether the channels are mirrored."""
    channels, side, _ = sample.image_shape
    own = next((_of_config(module) for module in model.modules() if hasattr(module, "pretrained_cfg")), None)
    normalisations = [input_format.normalisation, *([own] if own else []), data]
    normalisations += [norm for norm in NORMALISATIONS.values() if channels == 3]
    present = input_format.resolution or side
    native = expected_image_size(model)
    tries = [(present, norm) for norm in normalisations]
    if native is not None:
        tries += [(native, norm) for norm in (normalisations if lost else [own or input_format.normalisation])]
    if lost:
        tries += [(usual, norm) for usual in USUAL_SIDES for norm in normalisations]
    seen = {(present, input_format.normalisation)}
    for resolution, norm in tries:
        if len(norm.mean) == channels and (resolution, norm) not in seen:
            seen.add((resolution, norm))
            size = input_format.resolution if resolution == present else resolution
            yield replace(input_format, normalisation=norm, resolution=size), False
    if channels == 3:
        yield input_format, True


def _of_config(module: nn.Module) -> Normalisation | None:
    config = getattr(module, "pretrained_cfg", None)
    if not isinstance(config, dict) or not config.get("mean") or not config.get("std"):
        return None
    return Normalisation(tuple(map(float, config["mean"])), tuple(map(float, config["std"])))


def _natural(class_names: Sequence[str]) -> list[list[int]]:
    natural = natural_order(class_names)
    return [] if natural == list(class_names) else [[list(class_names).index(name) for name in natural]]


def _with_orders(one: Alternative, labels: Tensor, orders: Sequence[Sequence[int]]) -> Iterator[Alternative]:
    """The same answers with their columns in other orders: usual ones, else what the confusion tells."""
    usual = [
        Alternative(one.input_format, reordered(one.logits, order), tuple(order), one.mirrored) for order in orders
    ]
    yield from usual
    order = order_by_confusion(one.logits, labels)
    if order is not None and list(order) not in [list(other) for other in orders]:
        yield Alternative(one.input_format, reordered(one.logits, order), tuple(order), one.mirrored)


def _promising(first: Tensor, now: Tensor, labels: Tensor, orders: Sequence[Sequence[int]]) -> bool:
    best = max(accuracy(logits, labels) for logits in (first, *(reordered(first, order) for order in orders)))
    return best >= accuracy(now, labels) + LEAST_GAIN


def _clearly(other: Alternative, logits: Tensor, labels: Tensor) -> bool:
    found = paired_difference(other.logits, logits, labels)
    swapped = other.stands_for is not None and sum(k != c for k, c in enumerate(other.stands_for)) == 2
    if swapped and other.stands_for is not None and found.low > 0:
        return is_significant_swap(logits, labels, other.stands_for)
    return found.low > 0 and found.difference >= LEAST_GAIN


def _mirrored(predict: Predict) -> Predict:
    return lambda images: predict(images.flip(1))
