"""A teacher whose answers are read where a bank has them, and asked for and stored where it has not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.training.teacher import PreparePixels, Teacher
from limbeck.types import Outputs
from limbeck.views.plan import ViewPlanner

from .bank import EpochWriter, OutputsBank, Rows

LARGEST = torch.finfo(torch.float16).max


class BankedTeacher:
    """Answers to the views of a planner, all of them rounded to float16: those read, and those asked for too.

    So a run that reads an epoch learns from the very numbers of the run that wrote it. There are no features.
    name: for messages. ask: gives the teacher itself, called when it is first needed. An epoch is stored while it is
    taught, from its first step on; one that was begun in the middle is left to a later run. Where the bank cannot be
    written that is said once, and the teacher goes on without.
    """

    def __init__(
        self, name: str, bank: OutputsBank, planner: ViewPlanner, ask: Callable[[], Teacher], *, device: torch.device
    ) -> None:
        self.name, self.bank, self.planner, self.ask, self.device = name, bank, planner, ask, device
        self._epoch: int | None = None
        self._stored: Rows | None = None
        self._writer: EpochWriter | None = None
        self._storing = True

    def outputs(self, pixels: PreparePixels, *, epoch: int, step: int) -> Outputs:
        """Float32 logits `[B, K]` that float16 holds. While an epoch is stored, each step waits for the device.

        Raises LimbeckError naming the teacher where logits are not finite, or too large for float16.
        """
        if epoch != self._epoch:
            self._turn_to(epoch, step)
        if self._stored is not None:
            return Outputs(torch.from_numpy(np.array(self._stored[step])).to(self.device).float())
        teacher = self.ask()
        logits = rounded(teacher(pixels(teacher.form, teacher.dtype)).logits, self.name, epoch, step)
        if self._writer:
            self._store(self._writer, logits, step)
        return Outputs(logits.float())

    def close(self) -> None:
        """Let go of the epoch at hand; what is not sealed is removed."""
        if self._writer:
            self._writer.close()
        self._epoch = self._stored = self._writer = None

    def _turn_to(self, epoch: int, step: int) -> None:
        self.close()
        self._epoch = epoch
        drawn = self.planner.drawn_epoch(epoch)
        self._stored = self.bank.open(drawn)
        if self._stored is None and step == 0 and self._storing:
            try:
                self._writer = self.bank.begin(drawn)
            except LimbeckError as error:
                self._store_no_more(error)

    def _store(self, writer: EpochWriter, logits: Tensor, step: int) -> None:
        if step != writer.steps:  # a step was left out, so the epoch will not be whole
            writer.close()
            self._writer = None
            return
        try:
            writer.add(logits.cpu().numpy())
            if writer.steps == self.planner.steps_per_epoch:
                writer.seal()
                self.close()
        except LimbeckError as error:
            self._store_no_more(error)

    def _store_no_more(self, error: LimbeckError) -> None:
        self.bank.say(f"{error}; the answers of {self.name} are not stored any more")
        if self._writer:
            self._writer.close()
        self._writer, self._storing = None, False


def rounded(logits: Tensor, name: str, epoch: int, step: int) -> Tensor:
    """Logits `[B, K]` in float16, to the nearest. Epoch and step count from 0.

    Raises LimbeckError naming the teacher, the value and the place where one is not finite, or beyond ±65504:
    clamped, two classes would tie that the teacher tells apart.
    """
    half = logits.half()
    if bool(half.isfinite().all()):
        return half
    place = f"{name}: at epoch {epoch + 1}, step {step + 1}, a logit was"
    odd = logits[~logits.isfinite()]
    if odd.numel():
        raise LimbeckError(f"{place} {float(odd[0])}; a teacher must answer with finite numbers, try precision: fp32")
    worst = float(logits.flatten()[logits.abs().argmax()])
    raise LimbeckError(
        f"{place} {worst:.6g}, and a bank holds float16, up to ±{LARGEST:.0f}; leave outputs_bank out with this teacher"
    )
