"""What the teachers of a cohort answer to the images on which its learners are measured, each asked once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from limbeck.evaluation import metrics
from limbeck.evaluation.evaluate import evaluate_logits, logits_of
from limbeck.training.objective import ensemble
from limbeck.training.predictor import predictor
from limbeck.training.teacher import Teacher
from limbeck.types import Outputs, Split

from .context import RunContext

Voices = tuple[tuple[str, float], ...]
"""(learner or arm from a file, weight) of each teacher, as in `LearnerPlan`."""


def splits_of(context: RunContext) -> dict[str, Split]:
    """The splits on which learners are measured, by name; test unless the recipe leaves it unread."""
    images = context.images
    return {"validation": images.validation} | ({"test": images.test} if context.recipe.evaluation.test else {})


class ReferenceOutputs:
    """The teachers that a cohort's learners are compared with, by name, and what was heard by each learner."""

    def __init__(self, context: RunContext, teachers: Mapping[str, Teacher], heard: Iterable[Voices]) -> None:
        self.context, self.teachers = context, teachers
        self.splits = splits_of(context)
        different = {tuple(zip(dict(voices), _shares(voices), strict=True)) for voices in heard if voices}
        self.common: Voices = different.pop() if len(different) == 1 else ()
        """What all that hear anybody hear: also what those are compared with that hear nobody."""
        self._answers: dict[tuple[str, str], Tensor] = {}
        self._ensembles: dict[Voices, dict[str, Any]] = {}

    def logits(self, voices: Voices, split: str) -> Tensor | None:
        """Answers `[N, K]` of one teacher, or of several together at temperature 1; None of nobody."""
        answers = [self._logits_of(name, split) for name, _ in voices]
        mixed = ensemble([Outputs(logits) for logits in answers], _shares(voices), 1.0)
        return mixed.logits if mixed else None

    def about_ensemble(self, voices: Voices) -> dict[str, Any]:
        """What `result.json` says of several teachers together: how good they are, and how far they agree.

        `agreement`: of each member (row) with each (column), for each split, as fractions.
        """
        if voices not in self._ensembles:
            found: dict[str, Any] = {"teachers": [name for name, _ in voices], "weights": _shares(voices)}
            agreement: dict[str, list[list[float]]] = {}
            for name, split in self.splits.items():
                logits = self.logits(voices, name)
                assert logits is not None
                found[name] = evaluate_logits(logits, split, num_classes=len(self.context.images.class_names)).to_dict()
                answers = [self._logits_of(teacher, name) for teacher, _ in voices]
                agreement[name] = [[metrics.agreement(one, other) for other in answers] for one in answers]
            self._ensembles[voices] = found | {"agreement": agreement}
        return self._ensembles[voices]

    def _logits_of(self, name: str, split: str) -> Tensor:
        if (name, split) not in self._answers:
            t = self.teachers[name]
            predict = predictor(t.frozen, t.form, device=self.context.device, dtype=t.dtype, name=t.name)
            self._answers[name, split] = logits_of(
                predict, self.splits[split], self.context.recipe.evaluation.batch_size
            )
        return self._answers[name, split]


def _shares(voices: Voices) -> list[float]:
    total = sum(weight for _, weight in voices)
    return [weight / total for _, weight in voices]
