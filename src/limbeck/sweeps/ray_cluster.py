"""The adapter to Ray: cohorts of a plan as tasks on a cluster, one task a cohort, tried again when a worker dies.

A task needs nothing from the driver's disk: images, teachers and the recipe travel to it, and every file that it makes
travels back. The driver lays a cohort's files down with its `done.json` last, so a cohort is there once or not at all,
however many workers tried it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from limbeck.building.data import Images
from limbeck.errors import LimbeckError, one_line
from limbeck.experiment.cohort import run_cohort
from limbeck.experiment.cohorts import MakeStopRule, MakeWatcher, is_ready
from limbeck.experiment.context import RunContext
from limbeck.experiment.plan import CohortPlan, Plan, make_plan
from limbeck.experiment.signals import GracefulShutdown
from limbeck.experiment.train_cohort import Watcher
from limbeck.recipes.paths import with_absolute_paths
from limbeck.recipes.recipe import CustomFunctions, Recipe
from limbeck.storage.atomic import make_folder, read_json, replace, saying_where
from limbeck.storage.run_directory import RunDirectory
from limbeck.training.device import choose_device
from limbeck.types import Normalisation, Split

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_ANSWER = 5.0
Files = dict[str, bytes]
"""By path below a run directory."""


def train_cohorts_on_cluster(
    run_context: RunContext,
    plan: Plan,
    make_watcher: MakeWatcher | None,
    stop: GracefulShutdown,
    make_stop_rule: MakeStopRule,
    *,
    most: int | None,
    address: str,
) -> dict[str, dict[str, Any]]:
    """`train_cohorts` on a Ray cluster: as many cohorts at once as it has room for.

    address: of the cluster (`auto`, `ray://…`), or `local` for workers on this machine alone.
    Raises LimbeckError where Ray or the cluster is not there, and for what a task raises.
    """
    ray = _connected(address)
    task = ray.remote(num_cpus=_cpus(run_context), num_gpus=int(run_context.device.type == "cuda"), max_retries=-1)(
        _taught
    )
    images = ray.put(_plain(run_context.images))
    recipe = with_absolute_paths(run_context.recipe.to_dict())  # a worker has a working directory of its own
    trained_in = {learner.name: cohort.key for cohort in plan.cohorts for learner in cohort.learners}
    done = {
        cohort.key: known for cohort in plan.cohorts if (known := run_context.directory.cohort(cohort.key).finished())
    }
    running: dict[Any, CohortPlan] = {}
    try:
        while len(done) < len(plan.cohorts):
            for cohort in plan.cohorts:
                waiting = cohort.key not in done and cohort not in running.values()
                if waiting and is_ready(cohort, trained_in, done):
                    about = (recipe, most, cohort.key, _needed(run_context, cohort), make_stop_rule(cohort))
                    running[task.remote(images, *about, dict(run_context.losses), dict(run_context.models))] = cohort
            ended, _ = ray.wait(list(running), num_returns=1, timeout=SECONDS_BETWEEN_LOOKS)
            for reference in ended:
                cohort = running.pop(reference)
                done[cohort.key] = _laid_down(run_context.directory, cohort, _answer(ray, reference))
                _tell(run_context.directory, cohort, make_watcher)
            stop.check()
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
    return done


def _connected(address: str) -> Any:
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise LimbeckError("--ray: takes Ray: pip install 'limbeck[ray]'") from error
    if not ray.is_initialized():
        try:
            _knock(address)
            with _own_signals():
                where = {} if address == "local" else {"address": address}
                ray.init(**where, log_to_driver=False, include_dashboard=False, logging_level="ERROR")
        except (OSError, ValueError, RuntimeError) as error:
            raise LimbeckError(f"--ray {address}: no cluster answers there: {one_line(error)}") from error
    return ray


def _knock(address: str) -> None:
    """See whether anything answers at `host:port`: Ray itself would try for minutes. Raises OSError."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_ANSWER).close()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray puts a SIGTERM handler of its own in place of ours, which would end the sweep without a word."""
    here = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if here else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _cpus(run_context: RunContext) -> int:
    return run_context.recipe.threads or 1


def _answer(ray: Any, reference: Any) -> Files:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause if isinstance(getattr(error, "cause", None), LimbeckError) else error
        raise LimbeckError(f"--ray: a task failed: {' '.join(str(cause).split())[-300:]}") from error


def _plain(images: Images) -> dict[str, Any]:
    """Images as arrays that Ray hands over without a copy."""
    splits = {name: getattr(images, name) for name in ("train", "validation", "test")}
    return {
        "splits": {name: (split.images.cpu().numpy(), split.labels.cpu().numpy()) for name, split in splits.items()},
        "name": images.name,
        "class_names": images.class_names,
        "fingerprint": images.fingerprint,
        "normalisation": asdict(images.normalisation),
        "notes": images.notes,
    }


def _images(plain: Mapping[str, Any]) -> Images:
    def split(name: str) -> Split:
        pixels, labels = (torch.from_numpy(array.copy()) for array in plain["splits"][name])
        return Split(pixels.contiguous(memory_format=torch.channels_last), labels)

    return Images(
        plain["name"],
        plain["class_names"],
        split("train"),
        split("validation"),
        split("test"),
        plain["fingerprint"],
        Normalisation(**plain["normalisation"]),
        plain["notes"],
    )


def _needed(run_context: RunContext, cohort: CohortPlan) -> Files:
    """The files of the trained models that a cohort listens to, and what is there of the cohort itself."""
    root = run_context.directory.root
    folders = [*map(run_context.directory.model, cohort.teachers), run_context.directory.cohort(cohort.key).root]
    found = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in found if path.suffix != ".lock"}


def _taught(
    images: Mapping[str, Any],
    recipe: Mapping[str, Any],
    most: int | None,
    key: str,
    needed: Files,
    rule: Any,
    losses: CustomFunctions,
    models: CustomFunctions,
) -> Files:
    """What a worker does: one cohort, in a folder of its own; gives all files of it."""
    checked = Recipe.model_validate(recipe)
    torch.set_num_threads(checked.threads or 1)
    device = choose_device(checked.device)
    with tempfile.TemporaryDirectory(prefix="limbeck-task-") as folder:
        directory = RunDirectory(Path(folder))
        _write(directory.root, needed)
        there = _images(images)
        train = there.train.to(device)
        run_context = RunContext(checked, there, train, device, directory, losses, models)
        (cohort,) = [cohort for cohort in make_plan(checked, most).cohorts if cohort.key == key]
        files = directory.cohort(key)
        with _no_signals() as stop:
            files.finish(run_cohort(run_context, cohort, files, Watcher(), stop, rule))
        made = [path for path in sorted(directory.root.rglob("*")) if path.is_file() and path.suffix != ".lock"]
        teachers = {learner.role for learner in cohort.learners} == {"teacher"}  # others may take them over
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in made
            if teachers or "checkpoints" not in path.parts
        }


@contextlib.contextmanager
def _no_signals() -> Iterator[GracefulShutdown]:
    """A stop that nobody asks for: a worker is stopped by Ray, and its task tried elsewhere."""
    yield GracefulShutdown()


def _laid_down(directory: RunDirectory, cohort: CohortPlan, files: Files) -> dict[str, Any]:
    """Put a cohort's files into the run directory, `done.json` last."""
    last = os.path.join("cohorts", cohort.key, "done.json")
    _write(directory.root, {path: content for path, content in files.items() if path != last})
    _write(directory.root, {last: files[last]})
    return read_json(directory.root / last)


def _write(root: Path, files: Files) -> None:
    for name, content in files.items():
        path = root / name
        with saying_where(path):
            make_folder(path.parent)
        replace(path, content)


def _tell(directory: RunDirectory, cohort: CohortPlan, make_watcher: MakeWatcher | None) -> None:
    if make_watcher:
        watcher = make_watcher(cohort.key, [learner.name for learner in cohort.learners])
        for learner in cohort.learners:
            for row in directory.cohort(cohort.key).metrics(learner.name).rows()[-1:]:
                watcher.epoch(learner.name, row)
