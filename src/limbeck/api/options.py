"""The options of a `distill` call, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.errors import LimbeckError, did_you_mean, short_repr
from limbeck.recipes.calls import Distillation
from limbeck.recipes.load import check, plain
from limbeck.recipes.recipe import CustomFunctions
from limbeck.recipes.views import Crop, Views
from limbeck.types import Normalisation

DEFAULT_LOSS = ({"name": "soft_targets", "temperature": 4.0, "weight": 0.7}, {"name": "cross_entropy", "weight": 0.3})
DEFAULT_OPTIMIZER = {"name": "sgd", "lr": 0.05, "weight_decay": 5e-4}
OPTIONS = ("clip_norm", "ema", "patience", "choose")
PRECISIONS = ("auto", "bf16", "fp16", "fp32")


def check_call(
    options: Mapping[str, Any],
    further: Mapping[str, Any],
    *,
    data: Mapping[str, Any] | None,
    teachers: Sequence[str],
    losses: CustomFunctions,
    arguments: Sequence[str],
) -> Distillation:
    """The options of a `distill` call, checked together; None stands for a default.

    options: those that are arguments of `distill`. further: all others. data: the source, if the data have one.
    teachers: their names. arguments: all arguments of `distill`, for hints. Raises LimbeckError.
    """
    for option in further:
        if option not in OPTIONS:
            raise LimbeckError(f"distill takes no {option!r}{did_you_mean(option, (*OPTIONS, *arguments))}")
    defaults = {
        "loss": DEFAULT_LOSS if teachers else ({"name": "cross_entropy"},),
        "schedule": {"name": "one_cycle"},
        "views": {},
    }
    given = {**options, **further, "data": data, "teacher": teachers}
    tree = {key: defaults.get(key) if value is None else value for key, value in given.items()}
    terms = [tree["loss"]] if isinstance(tree["loss"], Mapping | str) else tree["loss"]
    if not isinstance(terms, list | tuple):
        raise LimbeckError(f"loss takes a name, a mapping or a list of mappings; got {type(terms).__name__}")
    tree["loss"] = [{"name": term} if isinstance(term, str) else term for term in terms]
    return check(plain(tree, source="distill"), "distill", {}, Distillation, losses=losses)


def default_views(height: int) -> Views:
    """Crops of an eighth of the image, and flips."""
    return Views(crop=Crop(padding=min(max(1, height // 8), 4096)), flip=True)


def check_numbers(seed: Any, precision: Any, device: Any, **resolutions: Any) -> None:
    """Raises LimbeckError for an invalid seed, precision, device or resolution."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise LimbeckError(f"seed takes an integer from 0 to 4294967295; got {short_repr(seed)}")
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise LimbeckError(f"precision takes {', '.join(PRECISIONS)}; got {short_repr(precision)}")
    if not isinstance(device, str):
        raise LimbeckError(f"device takes a string, such as 'auto', 'cpu' or 'cuda'; got {short_repr(device)}")
    for name, value in resolutions.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 4096):
            raise LimbeckError(f"{name} takes a side length in pixels from 1 to 4096; got {short_repr(value)}")


def check_normalisation(name: str, given: Any) -> Normalisation | None:
    """The normalisation with its values as floats; None for None. Raises LimbeckError."""
    if given is None:
        return None
    if isinstance(given, Normalisation) and _numbers(given.mean) and _numbers(given.sd):
        mean, sd = tuple(map(float, given.mean)), tuple(map(float, given.sd))
        if len(mean) == len(sd) and min(sd) > 0:
            return Normalisation(mean, sd)
    raise LimbeckError(
        f"{name} takes limbeck.Normalisation(mean=(0.5, 0.5, 0.5), sd=(0.25, 0.25, 0.25)), one number per "
        f"channel and standard deviations above 0; got {short_repr(given, 100)}"
    )


def check_views(views: Views, channels: int) -> None:
    """Raises LimbeckError for views that need three channels."""
    if channels == 3:
        return
    if views.policy is not None:
        raise LimbeckError(f"views.policy: its operations need 3 channels, the images have {channels}; leave it out")
    if views.erasing is not None and views.erasing.fill == "noise":
        raise LimbeckError(f"views.erasing: noise needs 3 channels, the images have {channels}; use fill: mean")


def _numbers(values: Any) -> bool:
    if not isinstance(values, tuple | list) or not values:
        return False
    return all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values)
