"""A teacher whose outputs are read from a bank where they are stored, and computed and stored where they are not."""

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
    """The outputs of a teacher for the views of a planner, rounded to float16, both when read and when computed.

    So a run that reads an epoch trains with exactly the logits of the run that wrote it. There are no features.
    name: for messages. load_teacher: returns the teacher itself; called when it is first needed. An epoch is stored
    while students train on it, from its first step on; an epoch that is entered in the middle is left to a later run.
    If the bank cannot be written, this is reported once and training goes on without storing.
    """

    def __init__(
        self,
        name: str,
        bank: OutputsBank,
        planner: ViewPlanner,
        load_teacher: Callable[[], Teacher],
        *,
        device: torch.device,
    ) -> None:
        self.name, self.bank, self.planner, self.load_teacher, self.device = name, bank, planner, load_teacher, device
        self._epoch: int | None = None
        self._stored: Rows | None = None
        self._writer: EpochWriter | None = None
        self._storing = True

    def outputs(self, pixels: PreparePixels, *, epoch: int, step: int) -> Outputs:
        """Logits `[B, K]`: float16 values in float32. While an epoch is stored, each step waits for the device.

        Raises LimbeckError with the name of the teacher where logits are not finite, or too large for float16.
        """
        if epoch != self._epoch:
            self._open_epoch(epoch, step)
        if self._stored is not None:
            return Outputs(torch.from_numpy(np.array(self._stored[step])).to(self.device).float())
        teacher = self.load_teacher()
        logits = to_float16(teacher(pixels(teacher.input_format, teacher.dtype)).logits, self.name, epoch, step)
        if self._writer:
            self._store(self._writer, logits, step)
        return Outputs(logits.float())

    def close(self) -> None:
        """Close the current epoch; an incomplete one that was being stored is discarded."""
        if self._writer:
            self._writer.close()
        self._epoch = self._stored = self._writer = None

    def _open_epoch(self, epoch: int, step: int) -> None:
        self.close()
        self._epoch = epoch
        drawn = self.planner.drawn_epoch(epoch)
        self._stored = self.bank.open(drawn)
        if self._stored is None and step == 0 and self._storing:
            try:
                self._writer = self.bank.start_writing(drawn)
            except LimbeckError as error:
                self._stop_storing(error)

    def _store(self, writer: EpochWriter, logits: Tensor, step: int) -> None:
        if step != writer.steps:  # a step was skipped, so the epoch will not be complete
            writer.close()
            self._writer = None
            return
        try:
            writer.add(logits.cpu().numpy())
            if writer.steps == self.planner.steps_per_epoch:
                writer.commit()
                self.close()
        except LimbeckError as error:
            self._stop_storing(error)

    def _stop_storing(self, error: LimbeckError) -> None:
        self.bank.say(f"{error}; the outputs of {self.name} are no longer stored")
        if self._writer:
            self._writer.close()
        self._writer, self._storing = None, False


def to_float16(logits: Tensor, name: str, epoch: int, step: int) -> Tensor:
    """Logits `[B, K]` rounded to float16. Epoch and step count from 0.

    Raises LimbeckError with the teacher, the value and the step where one is not finite, or beyond ±65504: clamping
    could make two classes tie that the teacher ranks.
    """
    half = logits.half()
    if bool(half.isfinite().all()):
        return half
    place = f"{name}: at epoch {epoch + 1}, step {step + 1}, a logit was"
    bad = logits[~logits.isfinite()]
    if bad.numel():
        raise LimbeckError(f"{place} {float(bad[0])}; a teacher's logits must be finite, try precision: fp32")
    worst = float(logits.flatten()[logits.abs().argmax()])
    raise LimbeckError(
        f"{place} {worst:.6g}, and a bank holds float16, up to ±{LARGEST:.0f}; leave outputs_bank out with this teacher"
    )
