"""Losses said again in numpy float64, from the papers and not from our code; and where to try them."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from limbeck.types import Outputs, Targets

Array = NDArray[np.float64]
LARGEST = 1e4
ROUNDING = 2.0**-24  # of one float32 operation

sizes = st.tuples(st.integers(1, 4), st.integers(2, 7))
magnitudes = st.sampled_from([1.0, 30.0, LARGEST])
temperatures = st.floats(0.05, 100.0)


@st.composite
def logits(draw: st.DrawFn, shape: tuple[int, int]) -> Array:
    """Numbers that float32 holds exactly, in [-1e4, 1e4], of every size."""
    largest = draw(magnitudes)
    return draw(hnp.arrays(np.float32, shape, elements=st.floats(-largest, largest, width=32))).astype(np.float64)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Array, Array]:
    """Logits of a student and of its teacher, `[B, K]` each."""
    shape = draw(sizes)
    return draw(logits(shape)), draw(logits(shape))


def log_softmax(z: Array, temperature: float = 1.0) -> Array:
    moved = (z - z.max(axis=-1, keepdims=True)) / temperature
    return moved - np.log(np.exp(moved).sum(axis=-1, keepdims=True))


def kl(student: Array, teacher: Array, temperature: float) -> Array:
    """Σ p log(p / q) of the softened probabilities, p the teacher's."""
    log_p, log_q = log_softmax(teacher, temperature), log_softmax(student, temperature)
    return (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)


def cross_entropy(student: Array, distribution: Array) -> Array:
    return -(distribution * log_softmax(student)).sum(axis=-1)


def dkd(student: Array, teacher: Array, labels: NDArray[np.int64], temperature: float) -> tuple[Array, Array]:
    """TCKD and NCKD of one label an image, by the definitions: sums of probabilities, one image at a time."""
    log_p, log_q = log_softmax(teacher, temperature), log_softmax(student, temperature)
    target, others = [], []
    for p, q, label in zip(log_p, log_q, labels, strict=True):
        rest_p, rest_q = np.delete(p, label), np.delete(q, label)
        all_p, all_q = np.logaddexp.reduce(rest_p), np.logaddexp.reduce(rest_q)
        target.append(np.exp(p[label]) * (p[label] - q[label]) + np.exp(all_p) * (all_p - all_q))
        hat_p, hat_q = log_softmax(rest_p), log_softmax(rest_q)
        others.append((np.exp(hat_p) * (hat_p - hat_q)).sum())
    return np.array(target), np.array(others)


def one_minus_pearson(u: Array, v: Array, floor: float = 0.0) -> float:
    """1 − ρ of two vectors; `floor` is added to the covariance and to both variances (sums, not means)."""
    a, b = u - u.mean(), v - v.mean()
    return float(1 - (a @ b + floor) / np.sqrt((a @ a + floor) * (b @ b + floor)))


def dkd_gradient(student: Array, teacher: Array, labels: NDArray[np.int64], temperature: float) -> tuple[Array, Array]:
    """Of TCKD and NCKD with respect to the student's logits, worked out by hand.

    ∂TCKD/∂z = (q_t − p_t)(e_t − q̂) / T and ∂NCKD/∂z = (q̂ − p̂) / T, hats being distributions over the other classes.
    """
    log_p, log_q = log_softmax(teacher, temperature), log_softmax(student, temperature)
    target, others = np.zeros_like(log_q), np.zeros_like(log_q)
    for i, label in enumerate(labels):
        rest = np.arange(log_q.shape[1]) != label
        hat_p, hat_q = (np.exp(log_softmax(z[i, rest], temperature)) for z in (teacher, student))
        pull = np.exp(log_q[i, label]) - np.exp(log_p[i, label])
        target[i, label], target[i, rest] = pull, -pull * hat_q
        others[i, rest] = hat_q - hat_p
    return target / temperature, others / temperature


def one_hot(labels: NDArray[np.int64], classes: int) -> Array:
    return np.eye(classes)[labels]


def log_rounding(z: Array, temperature: float = 1.0) -> float:
    """How far float32 may be off in log softmax(z / temperature), in nats."""
    return 8 * ROUNDING * (1 + np.abs(z).max() / temperature)


def answer(z: Array, dtype: torch.dtype = torch.float32) -> Outputs:
    return Outputs(torch.from_numpy(z).to(dtype))


def of_labels(labels: NDArray[np.int64]) -> Targets:
    own = torch.from_numpy(labels)
    return Targets(own, own, torch.ones(len(labels)))


def no_labels(batch: int) -> Targets:
    return of_labels(np.zeros(batch, dtype=np.int64))
