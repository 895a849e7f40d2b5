"""Data-parallel training of one cohort: each process computes its part of every view, and gradients are summed.

Every process draws the whole view, so that mixing does not depend on the number of processes, and passes its own part
through the models. Outputs are then gathered, so that every loss sees the whole batch in every process, including a
loss that compares examples. Gradients flow into a process's own part only, and their sum over all processes is the
gradient of a single process. Three things differ from a single process: the order of floating-point sums; dropout,
which each process draws for its own part; and batch statistics where they cannot be synchronised.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, distributed, nn

from limbeck.errors import LimbeckError, one_line
from limbeck.types import Classifier, Outputs

BUCKET = 2**22
"""Numbers per all-reduce message."""


@dataclass(frozen=True)
class Processes:
    """This process's rank and the number of processes. With a single process, every method returns its argument.

    Every method that communicates raises LimbeckError if another process is gone. device: of the numbers in messages.
    """

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_single(self) -> bool:
        """Whether this is the only process."""
        return self.world_size == 1

    @property
    def is_first(self) -> bool:
        """Whether this process has rank 0: it writes, measures and prints."""
        return self.rank == 0

    def shard(self, size: int) -> slice:
        """This process's part of a batch of `size`; not empty if there is an image for each process."""
        return slice(self.rank * size // self.world_size, (self.rank + 1) * size // self.world_size)

    def all_gather(self, own: Outputs, size: int) -> Outputs:
        """Outputs for the whole batch of `size`, gathered from all processes; gradients flow into our own part only."""
        if self.is_single:
            return own
        return Outputs(
            self._all_gather(own.logits, size),
            tuple(self._all_gather(feature, size) for feature in own.features),
            own.classifier and Classifier(*map(self._counted_once, own.classifier)),  # pyright: ignore[reportArgumentType]
        )

    def _counted_once(self, parameter: Tensor | None) -> Tensor | None:
        """A parameter that every process applies to the whole batch: its gradients, which are summed, count once."""
        if parameter is None:
            return None
        share = 1 / self.world_size
        return share * parameter + (1 - share) * parameter.detach()

    def _all_gather(self, own: Tensor, size: int) -> Tensor:
        shard = self.shard(size)
        every = torch.zeros(size, *own.shape[1:], device=own.device)  # float32 holds what half precisions hold
        every[shard] = own.detach().float()
        self._all_reduce(every)
        every = every.to(own.dtype)
        whole = torch.cat([every[: shard.start], own, every[shard.stop :]])
        if own.dim() == 4 and own.is_contiguous(memory_format=torch.channels_last):
            whole = whole.contiguous(memory_format=torch.channels_last)  # dropout draws in memory order
        return whole

    def reduce_gradients(self, model: nn.Module, objective: nn.Module) -> None:
        """Replace gradients of the model by their sum over all processes.

        Gradients of loss states are replaced by their mean, because each process saw the whole batch; so are the
        model's floating-point buffers.
        """
        if self.is_single:
            return
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        means = [p.grad for p in objective.parameters() if p.grad is not None]
        means += [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        self._all_reduce_in_buckets(gradients)
        self._all_reduce_in_buckets(means)
        for mean in means:
            mean /= self.world_size

    def broadcast_from_first(self, numbers: Sequence[float]) -> list[float]:
        """The numbers of the process of rank 0, in every process."""
        if self.is_single:
            return list(numbers)
        tensor = torch.tensor([n if self.is_first else 0.0 for n in numbers], dtype=torch.float64, device=self.device)
        self._all_reduce(tensor)
        return tensor.tolist()

    def maximum(self, number: int) -> int:
        """The maximum of a number over all processes."""
        if self.is_single:
            return number
        tensor = torch.tensor([number], device=self.device)
        with _lost_process_errors():
            distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
        return int(tensor)

    def barrier(self) -> None:
        """Wait until all processes have reached this call."""
        self.maximum(0)

    def _all_reduce_in_buckets(self, tensors: Iterable[Tensor]) -> None:
        waiting: list[Tensor] = []
        for tensor in tensors:
            waiting.append(tensor)
            if sum(one.numel() for one in waiting) >= BUCKET:
                self._all_reduce_flat(waiting)
                waiting = []
        self._all_reduce_flat(waiting)

    def _all_reduce_flat(self, tensors: Sequence[Tensor]) -> None:
        if not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        self._all_reduce(flat)
        for tensor, summed in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(summed.view(tensor.shape))

    def _all_reduce(self, tensor: Tensor) -> None:
        with _lost_process_errors():
            distributed.all_reduce(tensor)


SINGLE_PROCESS = Processes()


def with_synchronised_batch_norms(model: nn.Module, processes: Processes, device: torch.device) -> nn.Module:
    """The model with batch statistics over the parts of all processes; torch supports this on CUDA only.

    Other libraries' subclasses of BatchNorm, which do more than normalise, are left unchanged.
    """
    if processes.is_single or device.type != "cuda":
        return model
    if _is_plain(model):
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for name, child in model.named_children():
        setattr(model, name, with_synchronised_batch_norms(child, processes, device))
    return model


def count_unsynchronised_batch_norms(model: nn.Module) -> int:
    """Number of layers whose batch statistics cover only one process's part of a batch."""
    return sum(
        isinstance(layer, nn.modules.batchnorm._BatchNorm) and not isinstance(layer, nn.SyncBatchNorm)
        for layer in model.modules()
    )


def _is_plain(layer: nn.Module) -> bool:
    return type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@contextlib.contextmanager
def _lost_process_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # torch raises it, and its subclasses, for whatever goes wrong between processes
        raise LimbeckError(f"another process of this run is gone ({one_line(error)})") from error
