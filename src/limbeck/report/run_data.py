"""A run directory as plain data: what tables, figures and pages are made of. Reads files only, and needs no torch.

`read_run` takes a directory as it is: finished, in progress, extended, of an earlier version, or damaged. What cannot
be read is left out and named in `RunRecord.problems`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from limbeck.errors import LimbeckError, one_line, printable
from limbeck.storage.atomic import read_json
from limbeck.storage.lock import is_locked
from limbeck.storage.predictions import (
    Predictions,
    SampleImages,
    Softened,
    read_predictions,
    read_sample_images,
    read_softened,
)
from limbeck.storage.run_directory import LearnerId, RunDirectory

from .arms import Arm, Learner, arms_of, learner_id, reported_split
from .options import Options, options_of
from .statistics import mean
from .stored_rows import check_epoch, check_learner, check_result, check_settings, check_sweep

Curves = Mapping[tuple[str, int], Sequence[Mapping[str, Any]]]
"""One row of metrics per epoch, by (arm, seed): `epoch` from 1, `train_loss`, `train_accuracy`, `validation_loss`,
`validation_accuracy`, `lr`, `seconds`, and `train_TERM` for each term of the loss. Accuracies are fractions."""
State = Literal["finished", "running", "stopped", "unknown"]
"""stopped: not finished, and no process works on it. unknown: not finished, and the system does not tell."""


@dataclass(frozen=True)
class Progress:
    """How far one learner is. epochs: those planned. epochs_done: those in the metrics log. Both are 0 for an arm from
    a file, whose seed is 0 too.

    state: `waiting`, `training` (begun, not measured yet), `finished` (measured) or `failed`.
    """

    arm: str
    seed: int
    role: str
    epochs: int
    epochs_done: int
    state: Literal["waiting", "training", "finished", "failed"]


@dataclass(frozen=True)
class SweepRecord:
    """The trials of a sweep.

    axes: their names. settings: the value of each axis, one mapping for each trial. validation, ended: by arm, for each
    trial, the validation accuracies (fractions, one for each seed) and how training ended; arms that no axis changes
    have a single entry. swept: the arms that differ between trials. best: by arm, the number of the selected trial.
    standard: the number of the trial as written in the recipe, if it is one. search_seeds, search_seconds: of the
    search, the seconds of all processes together.
    While the sweep goes on, `validation` is empty where nothing was measured yet, and there is no `best`.
    """

    axes: tuple[str, ...]
    settings: tuple[Mapping[str, Any], ...]
    validation: Mapping[str, Sequence[Sequence[float]]]
    ended: Mapping[str, Sequence[str]]
    swept: tuple[str, ...]
    best: Mapping[str, int]
    standard: int | None
    search_seeds: tuple[int, ...] = ()
    search_seconds: float | None = None

    def accuracies(self, arm: str, number: int) -> list[float]:
        """The validation accuracies of a trial that are known, fractions, one for each seed."""
        of_trials = self.validation.get(arm) or ()
        return [value for value in of_trials[number] if value is not None] if number < len(of_trials) else []

    def ranked(self, arm: str) -> list[int]:
        """The numbers of all trials, best first; those without a result last."""
        means = [mean(known) if (known := self.accuracies(arm, n)) else -math.inf for n in range(len(self.settings))]
        return sorted(range(len(means)), key=lambda number: -means[number])


@dataclass(frozen=True)
class RunRecord:
    """Everything that a run directory says. The fields of a sweep are those of its final runs, in `chosen/`.

    folder: the directory as given. state: see `State`. recipe: as stored, with all defaults of the version that wrote
    it; of a sweep, the one with its axes. result: as `result.json`; while the run is not finished, the same from the
    cohorts that are, without times. arms: teachers first, each with its measured learners. curves: also of learners
    that are still training. progress: every learner that the recipe plans. sweep: its trials; None for a run.
    problems: what is missing or damaged and was left out, one line each.
    predictions: what each measured learner predicts for single images, by (arm, seed) and split; runs of earlier
    versions have none. softened: what temperatures do to the probabilities of each teacher, by (arm, seed), on the
    reported split. sample_images: images on which students and teachers disagree, and where they are in the split.
    """

    folder: Path
    state: State
    recipe: Mapping[str, Any]
    result: Mapping[str, Any]
    arms: tuple[Arm, ...]
    curves: Curves
    progress: tuple[Progress, ...]
    sweep: SweepRecord | None = None
    problems: tuple[str, ...] = ()
    predictions: Mapping[tuple[str, int], Mapping[str, Predictions]] = field(default_factory=dict, repr=False)
    sample_images: SampleImages | None = field(default=None, repr=False)
    softened: Mapping[tuple[str, int], Softened] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The name of the recipe."""
        return str(self.recipe.get("name") or self.folder.name)

    @property
    def models_folder(self) -> Path:
        """The directory that holds `cohorts/` and `models/`: the run's own, or that of the final runs of a sweep."""
        return self.folder / "chosen" if self.sweep else self.folder

    @property
    def split(self) -> str:
        """The split of the reported accuracies, `test` or `validation`; `Arm` calls its values `test` either way."""
        return reported_split(self.result)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes in the order of the labels; empty if unknown."""
        return tuple(map(str, self.result.get("class_names") or ()))

    def class_name(self, number: int) -> str:
        """The name of a class, or `class 3` if it is unknown."""
        return self.class_names[number] if number < len(self.class_names) else f"class {number}"

    @property
    def environment(self) -> Mapping[str, Any]:
        """Versions and hardware; empty while the run is not finished."""
        return self.result.get("environment") or {}

    @cached_property
    def options(self) -> dict[str, Options]:
        """The options of each arm of the runs that were measured, as flat names and values; see `options_of`."""
        return options_of(self.measured_recipe)

    @property
    def measured_recipe(self) -> Mapping[str, Any]:
        """The recipe of the runs that were measured: of a sweep, the one with the values that were chosen."""
        return self.result.get("recipe") or self.recipe

    def arm(self, name: str) -> Arm | None:
        """An arm by its name."""
        return next((arm for arm in self.arms if arm.name == name), None)

    def learner(self, arm: str, seed: int) -> Learner | None:
        """The measurements of one learner."""
        rows = (row for one in self.arms if one.name == arm for row in one.learners)
        return next((row for row in rows if row.get("seed") == seed), None)


def read_run(folder: Path, *, with_predictions: bool = True) -> RunRecord:
    """Read the directory of a run or a sweep.

    with_predictions: read what was kept of single images too: about 180 kB for each learner and 15,000 images.
    Raises LimbeckError if it holds neither a readable recipe nor a readable result.
    """
    if not folder.is_dir():
        raise LimbeckError(f"{folder}: {'is not a folder' if folder.exists() else 'does not exist'}; expected a run")
    problems: list[str] = []
    directory = RunDirectory(folder)
    recipe = _read_mapping(directory.recipe, problems)
    result = _read_mapping(directory.result, problems)
    if recipe is None and result is None:
        reason = "; ".join(problems) or "holds neither recipe.json nor result.json"
        raise LimbeckError(f"{folder}: cannot be reported: {reason}")
    if recipe is None and not (problems or isinstance((result or {}).get("recipe"), Mapping)):
        problems.append(f"{directory.recipe}: is missing")
    if (result or {}).get("chosen") is not None or (recipe or {}).get("sweep"):
        record = _read_sweep(folder, recipe, result, problems)
    else:
        record = _record(folder, recipe, result, problems)
    return with_kept(record) if with_predictions else record


def with_kept(record: RunRecord) -> RunRecord:
    """The record with what was kept of single images, read from its folder; files that are damaged are problems."""
    directory, problems = RunDirectory(record.models_folder), list(record.problems)
    found: dict[tuple[str, int], Mapping[str, Predictions]] = {}
    softened: dict[tuple[str, int], Softened] = {}
    for arm in record.arms:
        for learner in arm.learners:
            with _named(problems):
                path = directory.predictions(learner_id(learner))
                if path.exists():
                    found[arm.name, learner["seed"]] = read_predictions(path)
            with _named(problems):
                path = directory.softened(learner_id(learner))
                if path.exists():
                    softened[arm.name, learner["seed"]] = read_softened(path)
    sample = None
    with _named(problems):
        if directory.sample_images.exists():
            sample = read_sample_images(directory.sample_images)
    return replace(record, predictions=found, softened=softened, sample_images=sample, problems=tuple(problems))


@contextlib.contextmanager
def _named(problems: list[str]) -> Iterator[None]:
    """What is wrong with a file is one more problem, and the block ends there."""
    try:
        yield
    except LimbeckError as error:
        problems.append(one_line(error))


def read_runs(folders: Sequence[Path]) -> tuple[list[RunRecord], list[str]]:
    """The records of several directories, and a line about each that is skipped.

    Raises LimbeckError if none of them can be read.
    """
    records: list[RunRecord] = []
    skipped: list[str] = []
    for folder in folders:
        try:
            records.append(read_run(folder))
        except LimbeckError as error:
            skipped.append(str(error))
    if not records:
        raise LimbeckError("\n".join(skipped) or "no run directories were given")
    return records, skipped


def record_of_result(folder: Path, result: Mapping[str, Any], curves: Curves) -> RunRecord:
    """The record of a finished run whose results are in memory, as `read_run` would read it."""
    recipe = result.get("recipe") or {}
    progress = _progress(recipe, result.get("arms") or (), curves)
    return RunRecord(folder, "finished", recipe, result, tuple(arms_of(result)), curves, tuple(progress))


def record_of_sweep_result(folder: Path, result: Mapping[str, Any], curves: Curves) -> RunRecord:
    """The record of a finished sweep whose results are in memory. curves: of its final runs."""
    final = record_of_result(folder, result["chosen"], curves)
    return replace(final, recipe=result.get("recipe") or final.recipe, sweep=sweep_of_result(result))


def sweep_of_result(result: Mapping[str, Any]) -> SweepRecord:
    """The trials of a finished sweep, from its `result.json`."""
    return SweepRecord(
        axes=tuple(result["axes"]),
        settings=tuple(result["settings"]),
        validation=result["validation"],
        ended=result.get("ended") or {},
        swept=tuple(result["swept"]),
        best=result["best"],
        standard=result.get("standard"),
        search_seeds=tuple(result.get("search_seeds") or ()),
        search_seconds=result.get("search_compute_seconds", result.get("search_seconds")),
    )


def labels(records: Sequence[RunRecord]) -> list[str]:
    """A short distinct name for each run of a comparison: its folder's, or its path where two share one."""
    names = [record.folder.resolve().name for record in records]
    if len(set(names)) == len(names):
        return names
    paths = [str(record.folder) for record in records]
    numbered = [f"{path} ({paths[:place].count(path) + 1})" for place, path in enumerate(paths)]
    return paths if len(set(paths)) == len(paths) else numbered


def _record(
    folder: Path, recipe: Mapping[str, Any] | None, result: Mapping[str, Any] | None, problems: list[str]
) -> RunRecord:
    directory = RunDirectory(folder)
    is_finished = result is not None
    if result is not None and (wrong := check_result(result)):
        problems.append(f"{directory.result}: damaged: {wrong}")
        result = None
    if result is None:
        result = {"recipe": recipe or {}, "arms": _finished_learners(directory, problems)}
    known = result.get("recipe") or recipe or {}
    rows, source = [], f"{directory.result}: " if is_finished else ""
    for row in result["arms"]:
        if wrong := check_learner(row):
            problems.append(f"{source}a learner is damaged: {wrong}")
        else:
            rows.append(row)
    result = {**result, "recipe": known, "arms": rows}
    learners = [LearnerId(row["arm"], row["seed"]) for row in rows]
    learners += [LearnerId(arm, seed) for arm, seed, *_ in planned(known)]
    curves = dict(_curves(directory, dict.fromkeys(learners), problems))
    state: State = "finished" if is_finished else _state(folder)
    progress = _progress(known, rows, curves)
    arms = tuple(arms_of(result))
    return RunRecord(folder, state, recipe or known, result, arms, curves, tuple(progress), None, tuple(problems))


def _state(folder: Path) -> State:
    held = is_locked(folder / "run.lock")
    return "unknown" if held is None else "running" if held else "stopped"


def _read_sweep(
    folder: Path, recipe: Mapping[str, Any] | None, result: Mapping[str, Any] | None, problems: list[str]
) -> RunRecord:
    is_finished, chosen, trials = result is not None, None, None
    if result is not None:
        wrong = check_sweep(result)
        if wrong:
            problems.append(f"{folder / 'result.json'}: damaged: {wrong}")
        else:
            trials = sweep_of_result(result)
            chosen = result["chosen"]
    if chosen is None:
        chosen = _read_mapping(folder / "chosen" / "result.json", problems)
    known = _read_mapping(folder / "chosen" / "recipe.json", problems) or (chosen or {}).get("recipe")
    final = _record(folder / "chosen", known or {}, chosen, problems)
    state: State = "finished" if is_finished else _state(folder)
    sweep = trials or _trials_so_far(folder, recipe or {}, problems)
    return RunRecord(
        folder, state, recipe or (result or {}).get("recipe") or {}, final.result, final.arms, final.curves,
        final.progress, sweep, tuple(problems),
    )  # fmt: skip


def _trials_so_far(folder: Path, recipe: Mapping[str, Any], problems: list[str]) -> SweepRecord:
    """The trials of the batches that exist, with what has been measured.

    `variants` in `settings.json` names the arm of each trial; sweeps of earlier versions lack it, so that only their
    settings are known until they end.
    """
    settings: list[Mapping[str, Any]] = []
    names: list[Mapping[str, str]] = []  # for each trial, the name of each arm's variant
    measured: dict[tuple[int, str], list[Learner]] = {}  # by the number of the trial and the name of the arm
    for path in sorted(folder.glob("search/*/settings.json")):
        decided = _read_mapping(path, problems) or {}
        if wrong := check_settings(decided):
            problems.append(f"{path}: damaged: {wrong}")
            continue
        by_name: dict[str, list[Learner]] = {}
        for row in _finished_learners(RunDirectory(path.parent), problems):
            if not check_learner(row):
                by_name.setdefault(row["arm"], []).append(row)
        trials = decided["settings"]
        for of_trial in decided.get("variants") or [{}] * len(trials):
            for arm, name in of_trial.items():
                if name in by_name:
                    measured[len(names), arm] = by_name[name]
            names.append(of_trial)
        settings += trials
    arms = dict.fromkeys(arm for of_trial in names for arm in of_trial)
    swept = tuple(arm for arm in arms if len({of_trial.get(arm) for of_trial in names}) > 1)
    trials_of = {arm: range(len(names) if arm in swept else 1) for arm in arms}
    sections = recipe.get("sweep")
    axes = sections.get("axes") if isinstance(sections, Mapping) else None
    return SweepRecord(
        axes=tuple(axes) if isinstance(axes, Mapping) else tuple(settings[0]) if settings else (),
        settings=tuple(settings),
        validation={arm: [_accuracies(measured.get((trial, arm), ())) for trial in trials_of[arm]] for arm in arms},
        ended={arm: [_ended(measured.get((trial, arm), ())) for trial in trials_of[arm]] for arm in arms},
        swept=swept,
        best={},
        standard=None,
    )


def _accuracies(learners: Sequence[Learner]) -> list[float]:
    values = [(learner.get("validation") or {}).get("top1") for learner in learners]
    return [value for value in values if value is not None]


def _ended(learners: Sequence[Learner]) -> str:
    """How training ended: of several seeds, the worst."""
    words = [str(learner.get("ended") or "") for learner in learners]
    return next((word for word in ("failed", "not started", "pruned") if word in words), words[0] if words else "")


def _read_mapping(path: Path, problems: list[str]) -> Mapping[str, Any] | None:
    """The content of a JSON file; None if there is none, or if it is damaged, which is recorded."""
    if not path.exists():
        return None
    try:
        value = read_json(path)
    except LimbeckError as error:
        problems.append(one_line(error))
        return None
    if isinstance(value, Mapping):
        return value
    problems.append(f"{path}: damaged, expected a JSON object")
    return None


def _finished_learners(directory: RunDirectory, problems: list[str]) -> list[Any]:
    """The learners of every finished cohort, from `done.json`; an arm from a file is its only one."""
    learners: list[Any] = []
    for path in sorted(directory.root.glob("cohorts/*/done.json")):
        done = _read_mapping(path, problems)
        if done is not None:
            of_cohort = done.get("arms", [done])
            if isinstance(of_cohort, list):
                learners += of_cohort
            else:
                problems.append(f"{path}: damaged, expected a list of learners")
    return learners


def planned(recipe: Mapping[str, Any]) -> Iterator[tuple[str, int, str, int]]:
    """Every learner of a recipe: its arm, seed, role and number of epochs; (name, 0, role, 0) for one from a file.

    The order is that of the recipe, seeds within arms. What is not as a recipe has it is left out.
    """
    seeds, teacher_seed = recipe.get("seeds"), recipe.get("teacher_seed")
    seeds = [seed for seed in seeds if isinstance(seed, int)] if isinstance(seeds, list | tuple) else [0]
    for group, role in (("teachers", "teacher"), ("students", "student")):
        arms = recipe.get(group)
        for name, arm in arms.items() if isinstance(arms, Mapping) else ():
            if not isinstance(arm, Mapping):
                continue
            if not arm.get("loss"):
                yield str(name), 0, role, 0
                continue
            epochs = arm.get("epochs")
            for seed in [teacher_seed] if role == "teacher" and isinstance(teacher_seed, int) else seeds:
                yield str(name), seed, role, epochs if isinstance(epochs, int) else 0


def _progress(recipe: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], curves: Curves) -> Iterator[Progress]:
    measured = {(row["arm"], row["seed"]): row for row in rows}
    for arm, seed, role, epochs in planned(recipe):
        row = measured.get((arm, seed))
        done = max((int(line["epoch"]) for line in curves.get((arm, seed), ())), default=0)
        state = "failed" if row and row.get("failure") else "finished" if row else "training" if done else "waiting"
        yield Progress(arm, seed, role, epochs, done, state)


def _curves(
    directory: RunDirectory, learners: Mapping[LearnerId, None], problems: list[str]
) -> Iterator[tuple[tuple[str, int], list[dict[str, Any]]]]:
    files: dict[str, list[Path]] = {}
    for path in sorted(directory.root.glob("cohorts/*/metrics/*.jsonl")):
        files.setdefault(path.name, []).append(path)
    for learner in learners:
        of_learner = [_epochs(path, problems) for path in files.get(f"{learner}.jsonl", ())]
        if of_learner:
            yield (learner.arm, learner.seed or 0), max(of_learner, key=len)


def _epochs(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    """The epochs of a metrics log up to the first damaged line; an incomplete last line is one being written."""
    rows: list[dict[str, Any]] = []
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        problems.append(f"{path}: cannot be read: {os.strerror(error.errno or 0)}")
        return rows
    for number, line in enumerate(lines[:-1], 1):
        try:
            row = json.loads(line)
            wrong = check_epoch(row)
        except (ValueError, RecursionError) as error:
            row, wrong = None, one_line(error, 80)
        if row is None or wrong:
            problems.append(printable(f"{path}:{number}: damaged, this and later epochs are left out: {wrong}"))
            break
        rows.append(row)
    return rows
