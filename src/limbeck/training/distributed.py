"""Several processes that teach one cohort together: each computes its part of every view, and gradients are summed.

Every process draws the whole view, so that who is mixed with whom does not depend on their number, and passes its own
part through the models. Answers are then put together, so that every loss sees the whole batch in every process: also
one that compares examples with each other. A gradient flows into a process's own part alone, and the sum over all is
the gradient that one process would have had. What differs from one process is the order in which floating-point
numbers are added; and, said where it happens: dropout, which each process draws for its own part, and batch
statistics where they cannot be synchronised.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, distributed, nn

from limbeck.errors import LimbeckError, one_line
from limbeck.types import Outputs

BUCKET = 2**22
"""Numbers that are summed in one message."""


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this one is. Alone, every method gives back what it was given.

    Every method that talks raises LimbeckError where another process is gone. device: of the numbers in messages.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def alone(self) -> bool:
        """Whether there is nobody to talk to."""
        return self.count == 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes, measures and speaks."""
        return self.rank == 0

    def part(self, size: int) -> slice:
        """The part of a batch of `size` that is this process's; not empty where there is an image for each."""
        return slice(self.rank * size // self.count, (self.rank + 1) * size // self.count)

    def whole(self, own: Outputs, size: int) -> Outputs:
        """The answers to a whole batch of `size`, from every process's to its own part; a gradient flows into ours."""
        if self.alone:
            return own
        return Outputs(self._whole(own.logits, size), tuple(self._whole(feature, size) for feature in own.features))

    def _whole(self, own: Tensor, size: int) -> Tensor:
        here = self.part(size)
        every = torch.zeros(size, *own.shape[1:], device=own.device)  # float32 holds what half precisions hold
        every[here] = own.detach().float()
        self._sum(every)
        every = every.to(own.dtype)
        whole = torch.cat([every[: here.start], own, every[here.stop :]])
        if own.dim() == 4 and own.is_contiguous(memory_format=torch.channels_last):
            whole = whole.contiguous(memory_format=torch.channels_last)  # dropout draws in memory order
        return whole

    def sum_gradients(self, model: nn.Module, objective: nn.Module) -> None:
        """Put the sum over all processes in place of every gradient of the model, and the mean in place of its
        floating-point buffers and of the gradients of what losses learn: those saw the whole batch in each."""
        if self.alone:
            return
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        means = [p.grad for p in objective.parameters() if p.grad is not None]
        means += [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        self._sum_together(gradients)
        self._sum_together(means)
        for mean in means:
            mean /= self.count

    def first_says(self, numbers: Sequence[float]) -> list[float]:
        """The numbers of the first process, in every process."""
        if self.alone:
            return list(numbers)
        said = torch.tensor([n if self.first else 0.0 for n in numbers], dtype=torch.float64, device=self.device)
        self._sum(said)
        return said.tolist()

    def largest(self, number: int) -> int:
        """The largest of all processes' numbers."""
        if self.alone:
            return number
        said = torch.tensor([number], device=self.device)
        with _saying():
            distributed.all_reduce(said, distributed.ReduceOp.MAX)
        return int(said)

    def wait(self) -> None:
        """For all the others to come here too."""
        self.largest(0)

    def _sum_together(self, tensors: Iterable[Tensor]) -> None:
        waiting: list[Tensor] = []
        for tensor in tensors:
            waiting.append(tensor)
            if sum(one.numel() for one in waiting) >= BUCKET:
                self._sum_flat(waiting)
                waiting = []
        self._sum_flat(waiting)

    def _sum_flat(self, tensors: Sequence[Tensor]) -> None:
        if not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        self._sum(flat)
        for tensor, summed in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(summed.view(tensor.shape))

    def _sum(self, tensor: Tensor) -> None:
        with _saying():
            distributed.all_reduce(tensor)


ALONE = Processes()


def synchronised(model: nn.Module, processes: Processes, device: torch.device) -> nn.Module:
    """The model with batch statistics over all processes' parts, where torch can: on CUDA.

    Other libraries' subclasses of BatchNorm, which do more than normalise, are left as they are.
    """
    if processes.alone or device.type != "cuda":
        return model
    if _is_plain(model):
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for name, child in model.named_children():
        setattr(model, name, synchronised(child, processes, device))
    return model


def unsynchronised(model: nn.Module) -> int:
    """How many layers of a model take statistics of one process's part of a batch alone."""
    return sum(
        isinstance(layer, nn.modules.batchnorm._BatchNorm) and not isinstance(layer, nn.SyncBatchNorm)
        for layer in model.modules()
    )


def _is_plain(layer: nn.Module) -> bool:
    return type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@contextlib.contextmanager
def _saying() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # torch raises it, and its subclasses, for whatever goes wrong between processes
        raise LimbeckError(f"another of the processes that teach together is gone ({one_line(error)})") from error
