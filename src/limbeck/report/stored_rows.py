"""Whether what a run has stored has the types that reports count on; each check returns what is wrong, or nothing.

A damaged file may still be valid JSON: a flipped bit changes a key or a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Fraction = Annotated[float, Field(ge=0, le=1)]
Difference = Annotated[float, Field(ge=-1, le=1)]
Natural = Annotated[int, Field(ge=0)]
Cost = Annotated[float, Field(ge=0)]


class _Stored(BaseModel):
    """Keys of later versions are allowed; all of this version's may be absent in earlier ones."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=True)


class _Evaluation(_Stored):
    n: Natural = 0
    unanswered: Natural | None = None
    top1: Fraction | None = None
    top5: Fraction | None = None
    loss: float | None = None
    expected_calibration_error: Fraction | None = None
    balanced_accuracy: Fraction | None = None
    per_class: list[Fraction | None] | None = None
    agreement: Fraction | None = None
    kl_to_reference: float | None = None
    confusion: list[list[Natural]] | None = None


class _Efficiency(_Stored):
    parameters: Natural | None = None
    megabytes: Cost | None = None
    multiply_adds: Natural | None = None
    image_ms_median: Cost | None = None
    image_ms_p95: Cost | None = None
    batch_ms_median: Cost | None = None
    batch_ms_p95: Cost | None = None
    batch_size: Natural | None = None
    image_shape: list[Natural] | None = None
    load: float | None = None
    cores: Natural | None = None
    cpu_share: float | None = None


class _Ensemble(_Stored):
    teachers: list[str] = []
    weights: list[float] = []
    validation: _Evaluation | None = None
    test: _Evaluation | None = None
    agreement: dict[str, list[list[Fraction]]] | None = None


class _Paired(_Stored):
    n: Natural
    difference: Difference
    low: Difference
    high: Difference


class _Failure(_Stored):
    epoch: Natural
    step: Natural
    term: str
    value: Any


class _Limit(_Stored):
    measured: Cost | None
    allowed: Cost | None
    met: bool | None


class _Budget(_Stored):
    limits: dict[str, _Limit] = {}


class _TestTime(_Stored):
    options: dict[str, Any]
    validation: _Evaluation | None = None
    test: _Evaluation | None = None
    gain: dict[str, _Paired] = {}
    efficiency: _Efficiency | None = None
    efficiency_alone: _Efficiency | None = None


class _Learner(_Stored):
    arm: Annotated[str, Field(min_length=1)]
    role: Annotated[str, Field(pattern="^(teacher|student)$")]
    seed: int
    model: str | None = None
    teacher: list[str] | str | None = None
    baseline: str | None = None
    epochs: Natural | None = None
    epochs_run: Natural | None = None
    ended: str = ""
    chosen_epoch: Natural | None = None
    failure: _Failure | None = None
    validation: _Evaluation | None = None
    test: _Evaluation | None = None
    train_sample: _Evaluation | None = None
    efficiency: _Efficiency | None = None
    ensemble: _Ensemble | None = None
    against_baseline: dict[str, _Paired] | None = None
    budget: _Budget | None = None
    test_time: _TestTime | None = None
    measured_precision: str | None = None
    cohort_seconds: Cost | None = None
    cohort_learners: Natural | None = None
    correct: dict[str, str] | None = None


class _Result(_Stored):
    recipe: dict[str, Any]
    environment: dict[str, Any] | None = None
    started: str | None = None
    ended: str | None = None
    wall_seconds: Cost | None = None
    compute_seconds: Cost | None = None
    class_names: list[str] | None = None
    images: dict[str, Natural] | None = None
    data_notes: list[str] | None = None
    command: str | None = None
    arms: list[Any]


class _Sweep(_Stored):
    recipe: dict[str, Any] | None = None
    axes: list[str]
    settings: Annotated[list[dict[str, Any]], Field(min_length=1)]
    validation: dict[str, list[list[Fraction | None]]]
    ended: dict[str, list[str]]
    swept: list[str]
    best: dict[str, Natural]
    standard: Natural | None
    search_seeds: list[int]
    search_seconds: Cost
    search_compute_seconds: Cost | None = None
    views_seed: int | None = None
    chosen: dict[str, Any]


class _Settings(_Stored):
    settings: Annotated[list[dict[str, Any]], Field(min_length=1)]
    variants: list[dict[str, str]] | None = None


class _Epoch(_Stored):
    epoch: Annotated[int, Field(ge=1)]
    train_loss: float | None = None
    train_accuracy: Fraction | None = None
    validation_loss: float | None = None
    validation_accuracy: Fraction | None = None
    lr: float | None = None
    seconds: Cost | None = None


def check_learner(row: object) -> str:
    """What is wrong with the measurements of one learner."""
    return _wrong(_Learner, row)


def check_epoch(row: object) -> str:
    """What is wrong with one row of metrics."""
    return _wrong(_Epoch, row)


def check_result(result: object) -> str:
    """What is wrong with the result of a run, apart from its learners."""
    return _wrong(_Result, result)


def check_sweep(result: Mapping[str, Any]) -> str:
    """What is wrong with the result of a sweep, apart from that of its final runs."""
    if wrong := _wrong(_Sweep, result):
        return wrong
    trials, axes = len(result["settings"]), result["axes"]
    if any(axis not in trial for trial in result["settings"] for axis in axes):
        return "settings: a trial lacks an axis"
    for arm in result["swept"]:
        if len(result["validation"].get(arm, ())) != trials or len(result["ended"].get(arm, ())) != trials:
            return f"validation: {arm}: expected {trials} trials"
        if result["best"].get(arm, trials) >= trials:
            return f"best: {arm}: expected one of {trials} trials"
    return "standard: expected one of the trials" if (result["standard"] or 0) >= trials else ""


def check_settings(decided: Mapping[str, Any]) -> str:
    """What is wrong with `settings.json` of a batch of trials."""
    if wrong := _wrong(_Settings, decided):
        return wrong
    variants = decided.get("variants")
    same = variants is None or len(variants) == len(decided["settings"])
    return "" if same else f"variants: expected {len(decided['settings'])} trials"


def _wrong(model: type[BaseModel], value: object) -> str:
    try:
        model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        return " ".join(f"{place}: {first['msg']}".split())[:120]
    except RecursionError:
        return "nested too deeply"
    return ""
