"""The adapter to Ray: one task per cohort on a cluster, retried when a worker dies.

A task does not need the driver's disk: images, teachers and the recipe are sent to it, and its files are sent back. The
driver writes the files of a cohort with `done.json` last, so a cohort is complete or absent, however many workers tried
it.
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
from limbeck.experiment.cohorts import MakeStopRule, MakeWatcher, is_ready, train_cohorts
from limbeck.experiment.context import RunContext, open_context
from limbeck.experiment.logs import complete_logs
from limbeck.experiment.plan import CohortPlan, Plan, make_plan
from limbeck.experiment.signals import GracefulShutdown
from limbeck.experiment.train_cohort import Watcher
from limbeck.recipes.paths import with_absolute_paths
from limbeck.recipes.recipe import CustomFunctions, Recipe
from limbeck.storage.atomic import make_folder, read_json, write_file
from limbeck.storage.run_directory import RunDirectory
from limbeck.types import Normalisation, Split

POLL_SECONDS = 0.5
CONNECT_SECONDS = 5.0
Files = dict[str, bytes]
"""Contents by path relative to a run directory."""


def train_cohorts_on_cluster(
    run_context: RunContext,
    plan: Plan,
    stop: GracefulShutdown,
    make_watcher: MakeWatcher | None,
    *,
    stop_rule: MakeStopRule,
    max_learners: int | None,
    address: str,
) -> dict[str, dict[str, Any]]:
    """`train_cohorts` on a Ray cluster, with as many cohorts at once as it has resources for.

    address: of the cluster (`auto`, `ray://…`), or `local` for workers on this machine only.
    Raises LimbeckError if Ray is not installed, the cluster cannot be reached or a task fails.
    """
    ray = _connect(address)
    cpus, gpus = run_context.recipe.threads or 1, int(run_context.device.type == "cuda")
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=-1)(_train_cohort)
    images = ray.put(_images_to_arrays(run_context.images))
    recipe = with_absolute_paths(run_context.recipe.to_dict())  # a worker has another working directory
    recipe.pop("log", None)  # the driver writes the logs: the workers' stores could not be merged
    trained_by = {learner.id: cohort.key for cohort in plan.cohorts for learner in cohort.learners}
    done = {
        cohort.key: known
        for cohort in plan.cohorts
        if (known := run_context.directory.cohort(cohort.key).read_result())
    }
    running: dict[Any, CohortPlan] = {}
    try:
        while len(done) < len(plan.cohorts):
            for cohort in plan.cohorts:
                waiting = cohort.key not in done and cohort not in running.values()
                if waiting and is_ready(cohort, trained_by, done):
                    files, rule = _input_files(run_context, cohort), stop_rule(cohort)
                    functions = dict(run_context.losses), dict(run_context.models)
                    reference = task.remote(images, recipe, max_learners, cohort.key, files, rule, *functions)
                    running[reference] = cohort
            finished, _ = ray.wait(list(running), num_returns=1, timeout=POLL_SECONDS)
            for reference in finished:
                cohort = running.pop(reference)
                done[cohort.key] = _write_cohort(run_context.directory, cohort, _task_result(ray, reference))
                watcher = make_watcher(cohort.key, [one.name for one in cohort.learners]) if make_watcher else Watcher()
                _show_last_epochs(run_context.directory, cohort, watcher)
                complete_logs(run_context, [cohort], watcher.say)
            stop.check()
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
    return done


def _connect(address: str) -> Any:
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise LimbeckError("--ray: needs Ray: pip install 'limbeck[ray]'") from error
    if not ray.is_initialized():
        try:
            _check_reachable(address)
            with _keep_signal_handlers():
                options = {} if address == "local" else {"address": address}
                ray.init(**options, log_to_driver=False, include_dashboard=False, logging_level="ERROR")
        except (OSError, ValueError, RuntimeError) as error:
            raise LimbeckError(f"--ray {address}: cannot reach a cluster: {one_line(error)}") from error
    return ray


def _check_reachable(address: str) -> None:
    """Raise OSError if nothing listens at `host:port`: Ray itself would try for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()


@contextlib.contextmanager
def _keep_signal_handlers() -> Iterator[None]:
    """Restore our signal handlers: Ray installs one for SIGTERM, which would end the sweep without a message."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if in_main_thread else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _task_result(ray: Any, reference: Any) -> Files:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause if isinstance(getattr(error, "cause", None), LimbeckError) else error
        raise LimbeckError(f"--ray: a task failed: {' '.join(str(cause).split())[-300:]}") from error


def _images_to_arrays(images: Images) -> dict[str, Any]:
    """The images as arrays, which Ray shares without a copy."""
    splits = {name: getattr(images, name) for name in ("train", "validation", "test")}
    return {
        "splits": {name: (split.images.cpu().numpy(), split.labels.cpu().numpy()) for name, split in splits.items()},
        "name": images.name,
        "class_names": images.class_names,
        "fingerprint": images.fingerprint,
        "normalisation": asdict(images.normalisation),
        "notes": images.notes,
    }


def _images_from_arrays(arrays: Mapping[str, Any]) -> Images:
    """The inverse of `_images_to_arrays`."""

    def split(name: str) -> Split:
        pixels, labels = (torch.from_numpy(array.copy()) for array in arrays["splits"][name])
        return Split(pixels.contiguous(memory_format=torch.channels_last), labels)

    return Images(
        arrays["name"],
        arrays["class_names"],
        split("train"),
        split("validation"),
        split("test"),
        arrays["fingerprint"],
        Normalisation(**arrays["normalisation"]),
        arrays["notes"],
    )


def _input_files(run_context: RunContext, cohort: CohortPlan) -> Files:
    """The files of the cohort's teachers, and those of the cohort itself from an earlier start."""
    root = run_context.directory.root
    folders = [*map(run_context.directory.model, cohort.teachers), run_context.directory.cohort(cohort.key).root]
    return _read_files(root, *folders)


def _train_cohort(
    images: Mapping[str, Any],
    recipe: Mapping[str, Any],
    max_learners: int | None,
    key: str,
    input_files: Files,
    stop_rule: Any,
    losses: CustomFunctions,
    models: CustomFunctions,
) -> Files:
    """The task of a worker: train one cohort in a temporary folder; returns all its files."""
    checked = Recipe.model_validate(recipe)
    torch.set_num_threads(checked.threads or 1)
    with tempfile.TemporaryDirectory(prefix="limbeck-task-") as folder:
        directory = RunDirectory(Path(folder))
        _write_files(directory.root, input_files)
        data = _images_from_arrays(images)
        run_context = open_context(checked, directory, images=data, losses=losses, models=models)
        (cohort,) = [cohort for cohort in make_plan(checked, max_learners).cohorts if cohort.key == key]
        # not entered, so signals do not stop it: Ray stops workers, and retries their tasks elsewhere
        train_cohorts(run_context, Plan((cohort,)), GracefulShutdown(), stop_rule=lambda _: stop_rule)
        with_checkpoints = {learner.role for learner in cohort.learners} == {"teacher"}  # other runs may reuse them
        made = _read_files(directory.root, directory.root)
        return {path: made[path] for path in made if with_checkpoints or "checkpoints" not in Path(path).parts}


def _read_files(root: Path, *folders: Path) -> Files:
    paths = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths if path.suffix != ".lock"}


def _write_cohort(directory: RunDirectory, cohort: CohortPlan, files: Files) -> dict[str, Any]:
    """Write a cohort's files into the run directory, `done.json` last; returns its content."""
    last = os.path.join("cohorts", cohort.key, "done.json")
    _write_files(directory.root, {path: content for path, content in files.items() if path != last})
    _write_files(directory.root, {last: files[last]})
    return read_json(directory.root / last)


def _write_files(root: Path, files: Files) -> None:
    for name, content in files.items():
        path = root / name
        make_folder(path.parent)
        write_file(path, content)


def _show_last_epochs(directory: RunDirectory, cohort: CohortPlan, watcher: Watcher) -> None:
    """Report the last epoch of each learner of a finished cohort."""
    for learner in cohort.learners:
        for row in directory.cohort(cohort.key).metrics(learner.name).rows()[-1:]:
            watcher.epoch(learner.name, row)
