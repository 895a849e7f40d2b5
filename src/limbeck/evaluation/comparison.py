"""Compare two models by numbers already measured. Without torch, because the report uses it too."""

from __future__ import annotations


def retention(student: float, teacher: float) -> float:
    """Student accuracy / teacher accuracy (1.0: fully retained); NaN for a teacher accuracy of 0."""
    return student / teacher if teacher else float("nan")


def gap(student: float, teacher: float) -> float:
    """Teacher minus student, in the unit of the accuracies; negative if the student is better."""
    return teacher - student


def gain(student: float, baseline: float) -> float:
    """Distilled student minus the same student trained on labels only, in the unit of the accuracies."""
    return student - baseline


def compression_ratio(teacher: float, student: float) -> float:
    """How many times smaller the student is (parameters, MB, milliseconds); NaN for a size of zero."""
    return teacher / student if student else float("nan")


def knowledge_transfer_efficiency(student_gain: float, teacher_gain: float) -> float:
    """The fraction of a teacher's gain that reaches the student: student gain / teacher gain.

    Both gains are relative to the same earlier pair, for example when only the teacher's resolution changes. NaN if the
    teacher gained nothing.
    """
    return student_gain / teacher_gain if teacher_gain else float("nan")


def efficiency_score(accuracy_percent: float, megabytes: float, milliseconds: float) -> float:
    """Accuracy in percent / (MB of 2**20 bytes x milliseconds per batch). NaN for a product of zero."""
    cost = megabytes * milliseconds
    return accuracy_percent / cost if cost else float("nan")
