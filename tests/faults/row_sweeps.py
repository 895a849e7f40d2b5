"""A sweep that two processes share, one of them killed: every setting ends once, and as where nobody was killed."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limbeck_process import Limbeck, Observer, Prepare
from rows import Trials
from safetensors.numpy import load_file

NAME = "sweeps"
HOLDS = "SIGKILL of one of two processes of a sweep: every setting ends once, bitwise as undisturbed, database whole"
CI, CHAOS = 15, 150
TEMPERATURE, WEIGHT = "students.*.loss.0.temperature", "students.*.loss.0.weight"
SEARCHES: dict[str, dict[str, Any]] = {
    "grid": {"axes": {TEMPERATURE: [1, 4], WEIGHT: [0.1, 0.5, 0.9]}},
    "tpe": {
        "strategy": "tpe", "trials": 7, "batch": 3,
        "axes": {TEMPERATURE: {"low": 1, "high": 20, "log": True}, WEIGHT: {"low": 0.1, "high": 0.9}},
    },
}  # fmt: skip
TRAINED = {"model": {"name": "lightweight_cnn", "dropout": 0.1}, "optimizer": {"name": "adam", "lr": 3e-3}}
LABELS = {"name": "cross_entropy", "weight": 0.5}
RECIPE = {
    "name": "grid",
    "seeds": [0, 1],
    "threads": 1,
    "precision": "fp32",
    "save_every_seconds": 0.05,
    "evaluation": {"latency_batch": 0},
    "data": {"source": "digits", "train_images": 300},
    "views": {"batch_size": 50, "flip": True},
    "teachers": {"wide": {**TRAINED, "epochs": 2, "loss": [LABELS]}},
    "students": {
        "defaults": {**TRAINED, "epochs": 3},
        "baseline": {"loss": [LABELS]},
        "distilled": {
            "teacher": "wide",
            "loss": [{"name": "soft_targets", "temperature": 4, "weight": 0.5}, LABELS],
        },
    },
}


STEPS_OF_ONE = 60
"""About as many as each of two processes takes of a sweep."""


def prepare(place: Path) -> Trials:
    """The same two sweeps that nobody disturbs, and how long each takes two processes."""
    undisturbed: dict[str, tuple[dict[str, Any], float]] = {}
    for search in SEARCHES:
        began = time.monotonic()
        for process in (folder := _Sweep(place / search, search)).start_two():
            assert process.wait() == 0, process.err
        undisturbed[search] = folder.ending(), time.monotonic() - began

    def trial(number: int, chance: random.Random) -> str:
        search = list(SEARCHES)[number % len(SEARCHES)]
        reference, seconds = undisturbed[search]
        for attempt in range(5):
            sweep, observer = _Sweep(place / f"{number}-{attempt}", search), Observer()
            victim = sweep.start(prepare=[observer.attach])
            working = [victim, sweep.start()]
            if chance.random() < 0.3:
                time.sleep(chance.uniform(0.0, 0.9 * seconds))
            else:  # in the middle of a training
                steps = chance.randrange(1, STEPS_OF_ONE)
                victim.until(lambda steps=steps, page=observer: page.read().steps >= steps)
            victim.kill()
            if victim.code == -signal.SIGKILL:
                break
            working[1].wait()  # the other one was faster: once more
        else:
            raise AssertionError("never killed while it worked")
        back = chance.random() < 0.5  # else the other one does the rest alone
        if back:
            working.append(sweep.start())
        for process in working:
            assert process is victim or process.wait() == 0, process.err
        assert sweep.start().wait() == 0
        found = sweep.ending()
        different = sorted(name for name in {*found, *reference} if found.get(name) != reference.get(name))
        assert not different, f"ends otherwise than the sweep never disturbed: {', '.join(different[:5])}"
        there = ", another came" if back else ""
        return f"{search}: one killed after {observer.read().steps} steps{there}; {len(found)} things alike"

    return Trials(trial, ci=CI, chaos=CHAOS)


class _Sweep:
    """A folder with a recipe to sweep."""

    def __init__(self, folder: Path, search: str) -> None:
        folder.mkdir(parents=True)
        self.folder, self.root = folder, folder / "runs" / "grid"
        about = {"complements": {"students.*.loss.1.weight": WEIGHT}, "cohort": 2, **SEARCHES[search]}
        recipe = {**RECIPE, "sweep": about}
        (folder / "grid.yaml").write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in recipe.items()))

    def start(self, prepare: Sequence[Prepare] = ()) -> Limbeck:
        """Start it, or take part."""
        return Limbeck(["sweep", "grid.yaml"], self.folder, prepare=prepare)

    def start_two(self) -> list[Limbeck]:
        """Two processes that share it."""
        return [self.start(), self.start()]

    def ending(self) -> dict[str, Any]:
        """What must be the same: settings, their values, all weights. What is there twice fails."""
        result = json.loads((self.root / "result.json").read_text())
        found: dict[str, Any] = {name: result[name] for name in ("settings", "validation", "best", "ended")}
        for batch in sorted((self.root / "search").glob("[0-9]*")):
            arms = [
                (arm["arm"], arm["seed"])
                for path in batch.glob("cohorts/*/done.json")
                for arm in json.loads(path.read_text())["arms"]
            ]
            assert len(set(arms)) == len(arms), f"{batch}: done twice: {sorted(arms)}"
            found[f"arms of {batch.name}"] = sorted(arms)
        for path in sorted(self.root.glob("**/models/*/model.safetensors")):
            weights = load_file(path)
            found[str(path.relative_to(self.root))] = {name: tensor.tobytes() for name, tensor in weights.items()}
        for path in self.root.glob("search/*.db"):
            with sqlite3.connect(path) as database:
                assert database.execute("pragma integrity_check").fetchone() == ("ok",), path
                found["trials told"] = database.execute("select count(*), state from trials group by state").fetchall()
        return found
