"""The run that is killed: batch norm, dropout, averaged weights, patience and two learners, on real digits."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from limbeck_process import Limbeck, Observer, Prepare
from safetensors.numpy import load_file

from limbeck.storage import checkpoint

RECIPE = """\
name: run
seeds: [0]
threads: 1
precision: {precision}
save_every_seconds: {save_every}
evaluation: {{latency_batch: 0}}
data: {{source: digits}}
views: {{batch_size: 64, crop: {{padding: 1}}, flip: true}}
teachers:
  wide:
    model: {{name: lightweight_cnn, dropout: 0.1}}
    epochs: {teacher_epochs}
    optimizer: {{name: adam, lr: 3e-3}}
    loss: [{{name: cross_entropy}}]
students:
  defaults:
    model: lightweight_cnn          # batch norm, dropout 0.5 and 0.3
    epochs: {student_epochs}
    optimizer: {{name: sgd, lr: 0.05, weight_decay: 5e-4}}
    schedule: {{name: cosine, warmup_epochs: 1}}
    ema: {{decay: 0.95}}
    clip_norm: 1.0
    patience: {patience}
    choose: best
  baseline:
    optimizer: {{name: muon, lr: 0.02}}
    loss: [{{name: cross_entropy, label_smoothing: 0.1}}]
  distilled:
    teacher: wide
    loss: [{{name: soft_targets, weight: 0.7}}, {{name: cross_entropy, weight: 0.3}}]
"""
STUDENTS = "students-1-views0"


@dataclass(frozen=True)
class TheRun:
    """A recipe in a folder of its own, and the same run beside it that nobody disturbs."""

    folder: Path
    teacher_epochs: int = 2
    student_epochs: int = 5
    patience: int = 4
    save_every: float = 0.25
    precision: str = "fp32"
    overrides: tuple[str, ...] = ()

    @property
    def root(self) -> Path:
        """The run directory."""
        return self.folder / "runs" / "run"

    def write(self) -> TheRun:
        """Put the recipe into the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        options = {key: value for key, value in vars(self).items() if key not in ("folder", "overrides")}
        (self.folder / "run.yaml").write_text(RECIPE.format(**options))
        return self

    def start(self, *words: object, forked: bool = True, prepare: Sequence[Prepare] = ()) -> Limbeck:
        """Start or continue it."""
        return Limbeck(["run", "run.yaml", *self.overrides, *words], self.folder, forked=forked, prepare=prepare)

    def to_the_end(self) -> None:
        """Run it until it is finished."""
        process = self.start()
        code = process.wait()
        assert code == 0, f"ended with {code}: {process.err}"

    def copied_to(self, folder: Path) -> TheRun:
        """The same recipe and the same run directory elsewhere."""
        shutil.rmtree(folder, ignore_errors=True)
        copy = TheRun(**{**vars(self), "folder": folder}).write()
        if self.root.exists():
            shutil.copytree(self.root, copy.root)
        return copy

    def stopped_in_the_students(self, epoch: int = 2, step: int = 7) -> None:
        """Run until the students have taken `step` of `epoch` (both from 0, epoch at least 1), then ask it to stop."""
        observer = Observer()
        process = self.start(prepare=[observer.attach])
        students = self.root / "cohorts" / STUDENTS / "metrics"
        reached = process.until(
            lambda: students.exists() and (observer.read().epoch, observer.read().step) >= (epoch, step)
        )
        assert reached, f"it ended before: {process.err}"
        process.send(signal.SIGTERM)
        assert process.wait() == 0, process.err

    def ending(self) -> dict[str, object]:
        """What must be the same bit for bit: final weights, metrics and results, but for the seconds they took."""
        assert (self.root / "result.json").exists(), f"{self.root}: not finished"
        found: dict[str, object] = {}
        for path in sorted(self.root.glob("models/*/model.safetensors")):
            for name, tensor in load_file(path).items():
                found[f"{path.parent.name}/{name}"] = (str(tensor.dtype), tensor.shape, tensor.tobytes())
        for path in sorted(self.root.glob("cohorts/*/metrics/*.jsonl")):
            for number, line in enumerate(path.read_text().splitlines()):
                row = json.loads(line)
                del row["seconds"]
                found[f"{path.stem}:{number}"] = row
        for arm in json.loads((self.root / "result.json").read_text())["arms"]:
            del arm["cohort_seconds"]
            found[f"result of {arm['arm']}"] = arm
        return found

    def checkpoints(self, cohort: str = STUDENTS) -> Path:
        """The stream of checkpoints of a cohort."""
        return self.root / "cohorts" / cohort / "checkpoints"

    def newest(self, cohort: str = STUDENTS) -> checkpoint.Checkpoint:
        """The newest checkpoint of a cohort, which must be there and whole, as must be all that look like one."""
        found = checkpoint.newest(self.checkpoints(cohort))
        assert found is not None, f"{self.checkpoints(cohort)}: no checkpoint"
        assert not found.skipped, f"torn: {found.skipped}"
        return found


def differences(one: dict[str, object], other: dict[str, object]) -> list[str]:
    """The names of what two endings do not share, or not bit for bit."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def must_end_alike(run: TheRun, reference: dict[str, object]) -> None:
    """Fails with what differs."""
    different = differences(run.ending(), reference)
    assert not different, f"{run.root} ends otherwise than the run never disturbed: {', '.join(different[:5])}"
