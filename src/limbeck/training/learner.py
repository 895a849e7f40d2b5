"""A learner: one model in training, with its optimizer, schedule, gradient scaler, weight average and status.

All of this belongs to the learner, so one that ends does not affect the others of its cohort.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.models.linear_classifier import classifier_among, linear_layers
from limbeck.recipes.optimization import Constant, Optimizer, Schedule
from limbeck.seeding import seed_device
from limbeck.types import Outputs, Targets
from limbeck.views.preprocess import InputFormat

from .distributed import SINGLE_PROCESS, Processes, with_synchronised_batch_norms
from .model_errors import explain_model_errors
from .objective import Objective
from .optimizers import clip, make_optimizer, restore, scale_rates
from .parameter_groups import names_without_weight_decay
from .precision import autocast
from .schedules import rate_factor
from .teacher import as_outputs
from .weight_average import WeightAverage


@dataclass(frozen=True)
class Failure:
    """Where a loss of a learner was not finite. Epoch and step count from 1."""

    epoch: int
    step: int
    term: str
    value: str


@dataclass(frozen=True)
class Training:
    """How a learner is trained.

    teachers: names of its teachers, in the order of the objective's weights.
    clip_norm: maximum norm of all gradients together. ema_decay: of an exponential moving average of the weights, which
    is then evaluated and saved. patience: epochs without a lower validation loss before it stops.
    choose: `last` saves the weights of the last epoch, `best` those of the best validation accuracy.
    """

    optimizer: Optimizer
    epochs: int
    schedule: Schedule = field(default_factory=Constant)
    teachers: tuple[str, ...] = ()
    clip_norm: float | None = None
    ema_decay: float | None = None
    patience: int | None = None
    choose: str = "last"


class Learner:
    """One model and its training; `Training` describes the options.

    seed: for dropout; the model comes with its initial weights. processes: those that train it together.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        objective: Objective,
        training: Training,
        *,
        input_format: InputFormat,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
        processes: Processes = SINGLE_PROCESS,
    ) -> None:
        self.name, self.input_format, self.device, self.dtype, self.seed = name, input_format, device, dtype, seed
        self.training, self.processes = training, processes
        model = with_synchronised_batch_norms(model, processes, device)
        self.model = model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.objective = objective.to(device)
        of_model, of_losses = (
            [(key, parameter) for key, parameter in module.named_parameters() if parameter.requires_grad]
            for module in (model, objective)
        )
        self.optimizer = make_optimizer(training.optimizer, of_model, of_losses, names_without_weight_decay(model))
        self.scaler = torch.amp.GradScaler(device.type) if dtype == torch.float16 else None
        self.average = WeightAverage(self.model, training.ema_decay) if training.ema_decay else None
        self.epochs_done = 0
        self.ended: str | None = None
        self.failure: Failure | None = None
        self.rate = 0.0
        self.trace: list[Tensor] = []
        self.checked = 0
        self.lowest_loss, self.epochs_since_lowest = math.inf, 0
        self.best_accuracy, self.best_epoch = -math.inf, 0
        self.best_weights: dict[str, Tensor] | None = None

    @property
    def loss_names(self) -> list[str]:
        """The names of the objective's losses, in order."""
        return [loss.name for loss in self.objective.losses]

    def begin_epoch(self) -> None:
        """Forget the values of the last epoch, and return to training mode."""
        self.trace, self.checked = [], 0
        self.train_mode()

    def train_mode(self) -> None:
        """Put the model and the states of its losses into training mode."""
        self.model.train()
        self.objective.train()

    def step(
        self, pixels: Tensor, targets: Targets, teachers: Sequence[Outputs], *, epoch: int, step: int, steps: int
    ) -> None:
        """One update, without synchronising with the device.

        pixels: `[B, C, H, W]` prepared for this learner; with several processes, this process's part.
        teachers: their outputs for the whole view.
        """
        training, optimizer, scaler = self.training, self.optimizer, self.scaler
        factor = rate_factor(training.schedule, epoch * steps + step, steps, training.epochs)
        self.rate = scale_rates(optimizer, factor)
        if at_fraction := getattr(self.model, "at_fraction", None):
            at_fraction((epoch * steps + step) / (steps * training.epochs))
        rank = (self.processes.rank,) if self.processes.rank else ()  # rank 0 draws what a single process would
        seed_device(self.device, "dropout", self.seed, epoch, step, *rank)
        with autocast(self.dtype, self.device), explain_model_errors(self.name, pixels.shape, "training on"):
            outputs = as_outputs(self.model(pixels))
        if self.objective.needs_features:
            outputs = outputs._replace(classifier=classifier_among(self._linear_layers, outputs.logits.shape[1]))
        else:
            outputs = Outputs(outputs.logits)
        outputs = self.processes.all_gather(outputs, targets.labels.shape[0])
        if self.objective.states:  # every process sees the whole batch here, so all draw the same
            seed_device(self.device, "loss states", self.seed, epoch, step)
        values = self.objective(outputs, teachers, targets, epoch + (step + 1) / steps)
        optimizer.zero_grad(set_to_none=True)
        with explain_model_errors(self.name, pixels.shape, "training on"):
            if scaler:
                scaler.scale(values.sum()).backward()
            else:
                values.sum().backward()
        self.processes.reduce_gradients(self.model, self.objective)
        if scaler:
            scaler.unscale_(optimizer)
        if training.clip_norm is not None:
            clip(optimizer, training.clip_norm)
        if scaler:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()
        if self.average:
            self.average.update()
        self.trace.append(torch.cat([values.detach(), _accuracy(outputs.logits, targets)]))

    @functools.cached_property
    def _linear_layers(self) -> tuple[nn.Linear, ...]:
        return linear_layers(self.model)

    def check(self, epoch: int) -> None:
        """Check the losses since the last check; the learner ends at the first that is not finite."""
        if self.checked == len(self.trace) or self.ended:
            return
        before, self.checked = self.checked, len(self.trace)
        values = torch.stack(self.trace[before:])[:, :-1].cpu()
        bad = (~values.isfinite()).nonzero()
        if bad.numel():
            step, term = (int(i) for i in bad[0])
            value = repr(float(values[step, term]))
            self.failure = Failure(epoch + 1, before + step + 1, self.loss_names[term], value)
            self.ended = "failed"

    def finish_epoch(self, epoch: int) -> dict[str, float]:
        """Means over the epoch: `train_loss`, one value per loss, `train_accuracy`, and the last learning rate."""
        self.check(epoch)
        means = torch.stack(self.trace).mean(dim=0).tolist()
        if not self.ended:
            self.epochs_done = epoch + 1
        if self.average:
            self.average.copy_counters()
        terms = {f"train_{name}": value for name, value in zip(self.loss_names, means, strict=False)}
        return {"train_loss": sum(means[:-1]), **terms, "train_accuracy": means[-1], "lr": self.rate}

    def record_validation(self, loss: float, accuracy: float) -> None:
        """Record a validation result: update the best so far, and end the learner when patience runs out."""
        if loss < self.lowest_loss:
            self.lowest_loss, self.epochs_since_lowest = loss, 0
        else:
            self.epochs_since_lowest += 1
        if accuracy > self.best_accuracy:
            self.best_accuracy, self.best_epoch = accuracy, self.epochs_done
            if self.training.choose == "best":
                self._save_best_weights(self.evaluated_model.state_dict())
        patience = self.training.patience
        if self.epochs_done >= self.training.epochs:
            self.ended = self.ended or "finished"
        elif patience is not None and self.epochs_since_lowest >= patience:
            self.ended = self.ended or "patience"

    def _save_best_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Copy the weights into the same memory every time, so that only one copy ever exists."""
        if self.best_weights is None:
            self.best_weights = {key: value.detach().clone() for key, value in weights.items()}
        else:
            for key, value in weights.items():
                self.best_weights[key].copy_(value)

    @property
    def evaluated_model(self) -> nn.Module:
        """The model that is evaluated: the weight average where there is one."""
        return self.average.model if self.average else self.model

    def chosen(self) -> tuple[nn.Module, int]:
        """The model to save, in eval mode with the chosen weights, and the epoch of these weights."""
        model = self.evaluated_model.eval()
        if self.best_weights is not None:
            model.load_state_dict(self.best_weights)
            return model, self.best_epoch
        return model, self.epochs_done

    def state(self) -> dict[str, Any]:
        """Everything that changes in training, for a checkpoint."""
        return {
            "model": self.model.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict() if self.scaler else None,
            "average": self.average.model.state_dict() if self.average else None,
            "updates": self.average.updates if self.average else 0,
            "epochs_done": self.epochs_done,
            "ended": self.ended,
            "failure": vars(self.failure) if self.failure else None,
            "rate": self.rate,
            "trace": torch.stack(self.trace) if self.trace else None,
            "lowest_loss": self.lowest_loss,
            "epochs_since_lowest": self.epochs_since_lowest,
            "best_accuracy": self.best_accuracy,
            "best_epoch": self.best_epoch,
            "best_weights": self.best_weights,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the result of `state`."""
        self.model.load_state_dict(state["model"])
        self.objective.load_state_dict(state["objective"])
        restore(self.optimizer, state["optimizer"])
        if self.scaler and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        if self.average:
            self.average.model.load_state_dict(state["average"])
            self.average.updates = state["updates"]
        self.trace = list(state["trace"].to(self.device)) if state["trace"] is not None else []
        self.checked = 0
        self.failure = Failure(**state["failure"]) if state["failure"] else None
        for name in ("epochs_done", "ended", "rate", "lowest_loss", "epochs_since_lowest"):
            setattr(self, name, state[name])
        for name in ("best_accuracy", "best_epoch", "best_weights"):
            setattr(self, name, state[name])
        if self.ended == "finished" and self.epochs_done < self.training.epochs:  # `epochs` was raised afterwards
            patience = self.training.patience
            self.ended = "patience" if patience is not None and self.epochs_since_lowest >= patience else None


def _accuracy(logits: Tensor, targets: Targets) -> Tensor:
    """Accuracy on the batch, `[1]`; a mixed image counts by the shares of its labels."""
    predictions = logits.detach().argmax(dim=-1)
    if targets.labels.is_floating_point():  # distributions: the most probable class is the label
        own, partner = targets.labels.argmax(dim=-1), targets.partner_labels.argmax(dim=-1)
        targets = Targets(own, partner, targets.share)
    correct = targets.share * (predictions == targets.labels) + (1 - targets.share) * (
        predictions == targets.partner_labels
    )
    return correct.mean(dim=0, keepdim=True).float()
