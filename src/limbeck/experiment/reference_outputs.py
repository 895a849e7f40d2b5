"""The teacher outputs with which the learners of a cohort are compared in measurements. Each is computed once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from limbeck.evaluation import metrics
from limbeck.evaluation.evaluate import evaluate_logits, logits_of
from limbeck.losses.ensembles import ensemble, log_weights_by_entropy, mixture
from limbeck.training.predictor import predictor
from limbeck.training.teacher import Teacher
from limbeck.types import Outputs, Split

from .context import RunContext
from .plan import WeightedTeachers


def splits_of(context: RunContext) -> dict[str, Split]:
    """The splits on which learners are measured, by name: validation, and test unless the recipe excludes it."""
    images = context.images
    return {"validation": images.validation} | ({"test": images.test} if context.recipe.evaluation.test else {})


class ReferenceOutputs:
    """The logits of a cohort's teachers on the validation and test images, in float32.

    teachers: by name. teachers_of_learners: the teachers of each learner, with their weights.
    """

    def __init__(
        self, context: RunContext, teachers: Mapping[str, Teacher], teachers_of_learners: Iterable[WeightedTeachers]
    ) -> None:
        self.context, self.teachers = context, teachers
        self.splits = splits_of(context)
        different = {
            tuple(zip(dict(weighted), _shares(weighted), strict=True)) for weighted in teachers_of_learners if weighted
        }
        self.common: WeightedTeachers = different.pop() if len(different) == 1 else ()
        """The teachers of the cohort, if all students with a teacher have the same ones; empty otherwise.

        Students without a teacher are compared with them too.
        """
        self._logits: dict[tuple[str, str], Tensor] = {}
        self._ensembles: dict[tuple[WeightedTeachers, bool], dict[str, Any]] = {}

    def logits(self, teachers: WeightedTeachers, split: str, *, by_entropy: bool = False) -> Tensor | None:
        """Logits `[N, K]` of the teacher, or of the ensemble of several at temperature 1; None without a teacher.

        by_entropy: weigh several teachers for each image (`log_weights_by_entropy`).
        """
        outputs = [Outputs(self._logits_of(str(teacher), split)) for teacher, _ in teachers]
        if by_entropy:
            return mixture(outputs, log_weights_by_entropy(outputs, _shares(teachers)), 1.0).logits
        mixed = ensemble(outputs, _shares(teachers), 1.0)
        return mixed.logits if mixed else None

    def about_ensemble(self, teachers: WeightedTeachers, *, by_entropy: bool = False) -> dict[str, Any]:
        """The entry of `result.json` on an ensemble of teachers: its measurements, and how far its members agree.

        `agreement`: for each split, the fraction of images on which two members (row and column) predict the same.
        """
        if (teachers, by_entropy) not in self._ensembles:
            names = [str(teacher) for teacher, _ in teachers]
            about: dict[str, Any] = {"teachers": names, "weights": _shares(teachers)}
            agreement: dict[str, list[list[float]]] = {}
            for split_name, split in self.splits.items():
                logits = self.logits(teachers, split_name, by_entropy=by_entropy)
                assert logits is not None
                classes = len(self.context.images.class_names)
                about[split_name] = evaluate_logits(logits, split, num_classes=classes).to_dict()
                of_members = [self._logits_of(name, split_name) for name in names]
                agreement[split_name] = [[metrics.agreement(one, other) for other in of_members] for one in of_members]
            self._ensembles[teachers, by_entropy] = about | {"agreement": agreement}
        return dict(self._ensembles[teachers, by_entropy])

    def _logits_of(self, name: str, split: str) -> Tensor:
        if (name, split) not in self._logits:
            teacher, context = self.teachers[name], self.context
            predict = predictor(
                teacher.frozen, teacher.input_format, device=context.device, dtype=teacher.dtype, name=name
            )
            batch_size = context.recipe.evaluation.batch_size
            self._logits[name, split] = logits_of(predict, self.splits[split], batch_size)
        return self._logits[name, split]


def _shares(teachers: WeightedTeachers) -> list[float]:
    total = sum(weight for _, weight in teachers)
    return [weight / total for _, weight in teachers]
