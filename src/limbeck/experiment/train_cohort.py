"""Train one cohort: resume, step, validate, log, save. `run` and `distill` both train through this file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from limbeck.building.data import Images
from limbeck.errors import LimbeckError, one_line
from limbeck.evaluation.evaluate import evaluate
from limbeck.storage import checkpoint
from limbeck.storage.atomic import Content
from limbeck.storage.run_directory import CohortDirectory
from limbeck.trackers.epoch_log import EpochLog
from limbeck.training.learner import Learner
from limbeck.training.loop import EpochEnded, Position, TeacherLike, train
from limbeck.training.predictor import predictor
from limbeck.training.snapshot import pack, unpack
from limbeck.training.teacher import Teacher
from limbeck.types import Split
from limbeck.views.plan import ViewPlanner

from .outputs_banks import BankPlan, banked
from .signals import GracefulShutdown
from .timing import Span

Row = dict[str, Any]
STEPS_BETWEEN_STOP_CHECKS = 10
"""How often several processes check whether one of them was asked to stop: each check waits for the device."""


@dataclass
class Watcher:
    """Callbacks that report the progress of a cohort. By default they do nothing.

    step: called after every step with (epochs done, as a fraction; epochs in total).
    epoch: called after validation with (name of the learner, row). The row is the one in the metrics log, plus
    `images_per_second`: the training throughput of the cohort, including its teachers.
    say: called with a message to the user, one line.
    """

    step: Callable[[float, int], None] = lambda done, epochs: None
    epoch: Callable[[str, Row], None] = lambda learner, row: None
    say: Callable[[str], None] = lambda line: None


class StopRule(Protocol):
    """A rule that ends learners before their last epoch, such as the median rule of a sweep."""

    def remember(self, name: str, accuracies: Sequence[float]) -> None:
        """Record what a learner reached before a resume: its validation accuracies, one per epoch."""
        ...

    def __call__(self, learners: Sequence[Learner], accuracies: Mapping[str, float]) -> None:
        """End the learners that fall behind. accuracies: on validation, of those that trained in the last epoch."""
        ...


@dataclass
class CheckpointPolicy:
    """Where a cohort is saved, how often, and how many checkpoints are retained.

    identity: what must match for a checkpoint to be resumed. earlier_identities: those of the run before it was
    extended, which may be resumed too. computed_with: what must match for the run to end bit for bit as it would have
    without the interruption; a difference is reported. log: the trackers in which epochs are written besides.
    """

    directory: CohortDirectory
    identity: Mapping[str, Any]
    computed_with: Mapping[str, Any]
    seconds: float = 60.0
    keep: int = 2
    earlier_identities: Sequence[Mapping[str, Any]] = ()
    log: EpochLog = field(default_factory=EpochLog)


@dataclass(frozen=True)
class Cohort:
    """Learners ready for their first step, and what they are trained on.

    train_split: the training images, on the device. teachers: their names. load_teacher: returns a teacher by its name.
    release_teachers: called when all outputs come from banks and no teacher is needed in memory.
    bank_plans: the outputs bank of each teacher; if empty, the teachers compute their outputs in every step.
    """

    learners: Sequence[Learner]
    images: Images
    train_split: Split
    planner: ViewPlanner
    teachers: Sequence[str] = ()
    load_teacher: Callable[[str], Teacher] = {}.__getitem__
    release_teachers: Callable[[], None] = lambda: None
    bank_plans: Sequence[BankPlan] = ()


def train_cohort(
    cohort: Cohort,
    *,
    stop: GracefulShutdown,
    watcher: Watcher,
    checkpoint_policy: CheckpointPolicy | None = None,
    stop_rule: StopRule | None = None,
    evaluation_batch: int = 250,
) -> list[Span]:
    """Train a cohort until every learner has ended; returns the time spans of its training.

    Resumes from the newest checkpoint if there is one. Every learner is validated and logged after each epoch;
    checkpoints are written at intervals of time. stop_rule: ends learners that fall behind.
    Raises `Stopped` when a signal asks for it, after saving everything.
    """
    learners, planner = cohort.learners, cohort.planner
    log = checkpoint_policy.log if checkpoint_policy and learners[0].processes.is_first else EpochLog()
    with _teachers_of(cohort, watcher.say) as teachers, log:
        position, before = _resume(learners, checkpoint_policy, watcher) if checkpoint_policy else (Position(), [])
        if checkpoint_policy and log:
            log.restart({one.name: checkpoint_policy.directory.metrics(one.name).rows() for one in learners})
        if stop_rule and checkpoint_policy:
            for learner in learners:
                earlier = checkpoint_policy.directory.metrics(learner.name).rows()
                stop_rule.remember(learner.name, [row.get("validation_accuracy", 0.0) for row in earlier])
        clock, started = time.time(), time.monotonic()
        last_save = epoch_began = started
        processes = learners[0].processes
        steps = planner.steps_per_epoch
        longest = max(learner.training.epochs for learner in learners)
        saved_position, images_seen = position if before else None, 0

        def spans() -> list[Span]:
            return [*before, [clock, clock + time.monotonic() - started]]

        def save() -> None:
            nonlocal last_save, saved_position
            if checkpoint_policy and position != saved_position and processes.is_first:
                checkpoint_policy.directory.check_not_removed()
                saved_position = position
                _save(learners, checkpoint_policy, position, steps, spans())
            last_save = time.monotonic()

        def notify(callback: Callable[..., None], *arguments: Any) -> None:
            """Call a caller's function. If it raises, the work so far is saved and the exception passes through."""
            try:
                callback(*arguments)
            except BaseException:
                save()
                raise

        for event in train(learners, teachers, cohort.train_split, planner, position):
            position = event.position
            if isinstance(event, EpochEnded):
                speed = {"images_per_second": round(images_seen / max(time.monotonic() - epoch_began, 1e-9), 1)}
                rows: dict[str, Row] = {}
                for learner in learners:
                    if learner.name in event.rows:
                        row = _validate(learner, event.rows[learner.name], cohort.images, evaluation_batch)
                        row["seconds"] = round(time.monotonic() - epoch_began, 3)
                        if checkpoint_policy and processes.is_first:
                            checkpoint_policy.directory.metrics(learner.name).append(row)
                            log.append(learner.name, row)
                        rows[learner.name] = row
                if stop_rule:
                    stop_rule(learners, {name: row.get("validation_accuracy", 0.0) for name, row in rows.items()})
                for name, row in rows.items():  # after all are validated: no save may fall between two validations
                    notify(watcher.epoch, name, row | speed)
                epoch_began, images_seen = time.monotonic(), 0
            else:
                images_seen += min(planner.views.batch_size, planner.size)
            notify(watcher.step, position.epoch + position.step / steps, longest)
            if checkpoint_policy and time.monotonic() - last_save >= checkpoint_policy.seconds:
                save()
            if processes.is_single or position.step % STEPS_BETWEEN_STOP_CHECKS == 0:
                stop.check(save)
        save()
        return spans()


@contextlib.contextmanager
def _teachers_of(cohort: Cohort, say: Callable[[str], None]) -> Iterator[Mapping[str, TeacherLike]]:
    """The teachers of a cohort by name, each with its outputs bank if it has one."""
    if not cohort.bank_plans:
        yield {name: cohort.load_teacher(name) for name in cohort.teachers}
        return
    with banked(cohort.bank_plans, cohort.load_teacher, cohort.planner, cohort.train_split, say) as stored:
        if stored.is_complete:
            cohort.release_teachers()
        yield stored.teachers


def _validate(learner: Learner, row: dict[str, float], images: Images, batch: int) -> Row:
    predict = predictor(
        learner.evaluated_model, learner.input_format, device=learner.device, dtype=learner.dtype, name=learner.name
    )
    if learner.ended:
        return {"epoch": learner.failure.epoch if learner.failure else learner.epochs_done, **row}
    measured = [0.0, 0.0]
    if learner.processes.is_first:
        found = evaluate(predict, images.validation, num_classes=len(images.class_names), batch_size=batch)
        measured = [found.loss, found.top1]
    loss, accuracy = learner.processes.broadcast_from_first(measured)
    learner.record_validation(loss, accuracy)
    return {"epoch": learner.epochs_done, **row, "validation_loss": loss, "validation_accuracy": accuracy}


def _save(
    learners: Sequence[Learner],
    checkpoint_policy: CheckpointPolicy,
    position: Position,
    steps: int,
    spans: Sequence[Span],
) -> None:
    files: dict[str, Content] = {}
    for learner in learners:
        files |= pack(learner.name, learner.state())
    logs = {learner.name: checkpoint_policy.directory.metrics(learner.name).size() for learner in learners}
    info = {
        "identity": fingerprint(checkpoint_policy.identity),
        "computed_with": dict(checkpoint_policy.computed_with),
        "epoch": position.epoch,
        "step": position.step,
        "logs": logs,
        "spans": spans,
    }
    # The state at the end of an epoch differs before and after validation. The two have different numbers, so that
    # neither overwrites the other.
    number = position.epoch * (steps + 1) + position.step
    checkpoint.write(checkpoint_policy.directory.checkpoints, number, files, info, keep=checkpoint_policy.keep)


def _resume(
    learners: Sequence[Learner], checkpoint_policy: CheckpointPolicy, watcher: Watcher
) -> tuple[Position, list[Span]]:
    found = checkpoint.newest(checkpoint_policy.directory.checkpoints)
    if found is None:
        for learner in learners:
            if learner.processes.is_first:
                checkpoint_policy.directory.metrics(learner.name).truncate(0)
        return Position(), []
    for complaint in found.skipped:
        watcher.say(f"skipped: {complaint}")
    if found.info["identity"] not in map(
        fingerprint, (checkpoint_policy.identity, *checkpoint_policy.earlier_identities)
    ):
        raise LimbeckError(
            f"{found.path}: was made with other images, teachers or settings than these; "
            "--fresh starts over, --name NAME (from Python: another save_to) keeps both"
        )
    changed = _changed({"random_numbers": "by seed", **found.info["computed_with"]}, checkpoint_policy.computed_with)
    if changed:
        watcher.say(f"{changed}: the run will not end bit for bit as it would have")
    for learner in learners:
        try:
            learner.restore(unpack(learner.name, found.path))
        except (RuntimeError, KeyError, ValueError) as error:
            raise LimbeckError(
                f"{found.path}: does not fit {learner.name} ({one_line(error)}); --fresh starts over, --name NAME "
                "(from Python: another save_to) keeps both"
            ) from error
        if learner.processes.is_first:
            checkpoint_policy.directory.metrics(learner.name).truncate(found.info["logs"][learner.name])
    position = Position(found.info["epoch"], found.info["step"])
    behind = min((one.epochs_done for one in learners if one.ended is None), default=position.epoch)
    if behind < position.epoch:  # a learner had ended and now has more epochs; the others are ahead
        position = Position(behind, 0)
    watcher.say(f"continuing from {found.path.name}: epoch {position.epoch + 1}, step {position.step + 1}")
    now = time.time()  # earlier versions stored only the duration
    return position, found.info["spans"] if "spans" in found.info else [[now - found.info["seconds"], now]]


def _changed(saved: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """`saved with torch 2.12 and threads 2, goes on with torch 2.13 and threads 1`; empty if both are equal."""
    different = [key for key in now if saved.get(key) != now[key]]
    if not different:
        return ""
    before, after = (
        " and ".join(f"{key.replace('_', ' ')} {values.get(key)}" for key in different) for values in (saved, now)
    )
    return f"saved with {before}, goes on with {after}"


def fingerprint(value: Any) -> str:
    """SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
