"""Is everything in the checkpoint that must be? Whatever is left out of it, the run ends otherwise; else it ends alike.

A resume without a component is made by giving back, in its place, what a learner that has just been made has there.
"""

from __future__ import annotations

import dataclasses
import json
import random
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck_process import Prepare, asking
from rows import Trials
from the_run import STUDENTS, TheRun, differences

from limbeck.storage.checkpoint import Checkpoint

NAME = "omissions"
HOLDS = "resume with one component left out of the checkpoint: every omission is seen; with none, bitwise equal"
CI, CHAOS = 34, 100

STEPS = 20
"""Steps of an epoch; the teacher has two epochs before the students begin."""

OWN_LOSS = "own loss"
"""The scene in which the distilled student's loss has a parameter of its own."""


@dataclass(frozen=True)
class Scene:
    """Where a run was stopped. at: after how many steps in all. killed_after: and killed so many steps later.

    code: with which the run that nobody disturbs ends.
    """

    name: str
    at: Callable[[random.Random, dict[str, list[dict[str, Any]]]], int]
    run: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    killed_after: int | None = None
    code: int = 0


def _among_students(chance: random.Random, rows: object) -> int:
    return 2 * STEPS + chance.randrange(STEPS + 2, 2 * STEPS - 2)


def _in_the_teacher(chance: random.Random, rows: object) -> int:
    return chance.randrange(3, STEPS)


def _last_step(chance: random.Random, rows: object) -> int:
    return 2 * STEPS + chance.randrange(2, 4) * STEPS


def _before_patience(chance: random.Random, rows: dict[str, list[dict[str, Any]]]) -> int:
    """In the epoch after which the distilled student, one epoch without improvement behind it, stops."""
    return 2 * STEPS + (len(rows["distilled-seed0"]) - 1) * STEPS + chance.randrange(1, STEPS - 1)


def _after_patience(chance: random.Random, rows: dict[str, list[dict[str, Any]]]) -> int:
    """Where the distilled student has stopped and the baseline goes on."""
    ended, longest = (len(rows[f"{name}-seed0"]) for name in ("distilled", "baseline"))
    assert ended < longest, "both end together: the scene shows nothing"
    return 2 * STEPS + ended * STEPS + chance.randrange(1, STEPS - 1)


def _after_the_best(chance: random.Random, rows: dict[str, list[dict[str, Any]]]) -> int:
    """In the epoch after the distilled student's best."""
    accuracies = [row["validation_accuracy"] for row in rows["distilled-seed0"]]
    best = accuracies.index(max(accuracies))
    assert best + 1 < len(accuracies), "the last epoch is the best: the scene shows nothing"
    return 2 * STEPS + (best + 1) * STEPS + chance.randrange(1, STEPS - 1)


IMPATIENT = {
    "student_epochs": 12, "patience": 2,
    # From the fourth epoch on the rate is far too high: the distilled student gets worse whatever its teacher is.
    "overrides": (
        "students.distilled.schedule={name: multi_step, milestones: [3], factor: 400}",
        "students.baseline.patience=12",
    ),
}  # fmt: skip
FAILING = {"overrides": ("students.distilled.optimizer.lr=1e30", "students.distilled.clip_norm=null")}
SCENES = {
    scene.name: scene
    for scene in (
        Scene("students", _among_students),
        Scene("students, killed later", _among_students, {"save_every": 3600}, killed_after=STEPS),
        Scene("teacher", _in_the_teacher),
        Scene("last step of an epoch", _last_step),
        Scene("before patience ends", _before_patience, IMPATIENT),
        Scene("after the best epoch", _after_the_best, IMPATIENT),
        Scene("after patience ended", _after_patience, IMPATIENT),
        Scene("after one failed", _last_step, FAILING, code=3),
        Scene(
            "half precision",
            _among_students,
            {"precision": "fp16", "overrides": ("students.distilled.loss.1.weight=3e4",)},
        ),
        Scene(OWN_LOSS, _among_students),
    )
}
LEARNER = [
    ("students", "distilled-seed0", "model"),
    ("students", "distilled-seed0", "batch statistics"),
    ("students", "distilled-seed0", "optimizer"),
    ("students", "baseline-seed0", "optimizer"),
    ("students", "distilled-seed0", "average"),
    ("students", "distilled-seed0", "updates"),
    ("students", "distilled-seed0", "trace"),
    ("after the best epoch", "distilled-seed0", "best_accuracy"),
    ("after patience ended", "distilled-seed0", "best_weights"),
    ("students", "baseline-seed0", "everything"),
    ("teacher", "wide-seed0", "model"),
    ("teacher", "wide-seed0", "optimizer"),
    ("last step of an epoch", "baseline-seed0", "rate"),
    ("before patience ends", "distilled-seed0", "lowest_loss"),
    ("before patience ends", "distilled-seed0", "epochs_since_lowest"),
    ("after patience ended", "distilled-seed0", "ended"),
    ("after patience ended", "distilled-seed0", "best_epoch"),
    ("after patience ended", "distilled-seed0", "epochs_done"),
    ("after one failed", "distilled-seed0", "failure"),
    ("half precision", "distilled-seed0", "scaler"),
    (OWN_LOSS, "distilled-seed0", "objective"),
]
POSITION = [
    ("students", "position", "epoch"),
    ("students", "position", "step"),
    ("students, killed later", "position", "logs"),
]
NOTHING = [(name, "nothing", "") for name in SCENES]
OMISSIONS = [*LEARNER, *POSITION, *NOTHING]


def prepare(place: Path) -> Trials:
    """Runs are stopped where a trial needs them; a round of all omissions shares its scenes."""
    references: dict[str, tuple[dict[str, object], dict[str, list[dict[str, Any]]]]] = {}
    stopped: dict[tuple[int, str], TheRun] = {}

    def reference(scene: Scene) -> tuple[dict[str, object], dict[str, list[dict[str, Any]]]]:
        if scene.name not in references:
            whole = TheRun(place / f"whole {scene.name}", **scene.run).write()
            process = whole.start(prepare=_own_loss(scene))
            assert process.wait() == scene.code, process.err
            references[scene.name] = whole.ending(), _rows(whole)
        return references[scene.name]

    def the_stopped(scene: Scene, turn: int) -> TheRun:
        if (turn, scene.name) not in stopped:
            run = TheRun(place / f"stopped {scene.name} {turn}", **scene.run).write()
            at = scene.at(random.Random(f"{scene.name}/{turn}"), reference(scene)[1])
            process = run.start(prepare=[asking("training.loop", "take_step", at, signal.SIGTERM), *_own_loss(scene)])
            assert process.wait() == 0 and "To continue" in process.err, process.err
            if scene.killed_after:
                struck = asking("training.loop", "take_step", scene.killed_after, signal.SIGKILL)
                assert run.start(prepare=[struck]).wait() == -signal.SIGKILL
            stopped[turn, scene.name] = run
        return stopped[turn, scene.name]

    def trial(number: int, chance: random.Random) -> str:
        turn, which = divmod(number, len(OMISSIONS))
        name, whose, component = OMISSIONS[which]
        scene = SCENES[name]
        expected, _ = reference(scene)
        run = the_stopped(scene, turn).copied_to(place / "resumed")
        process = run.start(prepare=[_without(whose, component), *_own_loss(scene)])
        process.wait()
        if whose == "nothing":
            assert process.code == scene.code, process.err
            different = differences(run.ending(), expected)
            assert not different, f"{name}: {different[:5]}"
            return f"{name}: nothing left out, ends alike"
        if process.code != scene.code:
            return f"{name}: without {component} of {whose} it ends with {process.code}"
        different = differences(run.ending(), expected)
        assert different, f"{name}: without {component} of {whose} the run ends as if it were there"
        return f"{name}: without {component} of {whose}, {len(different)} values differ"

    return Trials(trial, ci=CI, chaos=CHAOS)


def _rows(run: TheRun) -> dict[str, list[dict[str, Any]]]:
    metrics = run.root / "cohorts" / STUDENTS / "metrics"
    return {path.stem: [json.loads(line) for line in path.read_text().splitlines()] for path in metrics.iterdir()}


def _without(whose: str, component: str) -> Prepare:
    """A process that resumes without one component."""
    if whose == "position":
        return lambda: _forget_position(component)
    return lambda: _forget_component(whose, component)


def _forget_component(whose: str, component: str) -> None:
    from limbeck.training.learner import Learner

    restore = Learner.restore

    def incomplete(self: Learner, state: Mapping[str, Any]) -> None:
        fresh = self.state()
        if self.name != whose:
            restore(self, state)
        elif component == "batch statistics":
            kept = {k: fresh["model"][k] if "running_" in k else v for k, v in state["model"].items()}
            restore(self, {**state, "model": kept})
        elif component == "everything":
            restore(self, fresh)
        else:
            assert component in state
            restore(self, {**state, component: fresh[component]})

    Learner.restore = incomplete


def _forget_position(component: str) -> None:
    from limbeck.experiment import train_cohort
    from limbeck.storage import checkpoint

    newest = checkpoint.newest

    def incomplete(parent: Path) -> Checkpoint | None:
        found = newest(parent)
        if found is None:
            return None
        known: Any = {"epoch": 0, "step": 0, "logs": {}}[component]
        if component == "logs":
            metrics = parent.parent / "metrics"
            known = {path.stem: path.stat().st_size for path in metrics.iterdir()}
        return dataclasses.replace(found, info={**found.info, component: known})

    train_cohort.checkpoint.newest = incomplete


def _own_loss(scene: Scene) -> list[Prepare]:
    """In its scene, cross-entropy learns a scale of the logits: the state of a loss that has one."""
    if scene.name != OWN_LOSS:
        return []

    def prepare() -> None:
        import torch
        from torch import nn

        from limbeck.building import learners
        from limbeck.losses.cross_entropy import cross_entropy
        from limbeck.training.objective import Objective
        from limbeck.types import Outputs

        class Scale(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.logarithm = nn.Parameter(torch.zeros(()))

        def scaled(student: Outputs, teacher: Any, targets: Any, *, state: Scale, **options: Any) -> torch.Tensor:
            return cross_entropy(Outputs(student.logits * state.logarithm.exp()), teacher, targets, **options)

        make = learners.make_objective

        def with_scale(*args: Any, **words: Any) -> Objective:
            plain = make(*args, **words)
            terms = [dataclasses.replace(t, function=scaled) if t.name == "cross_entropy" else t for t in plain.losses]
            return Objective(terms, teacher_weights=plain.teacher_weights, states={"cross_entropy": Scale()})

        learners.make_objective = with_scale

    return [prepare]
