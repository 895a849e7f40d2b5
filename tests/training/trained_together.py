"""Processes that train two small nets together; each writes what it saw and the losses of every step.

`python trained_together.py FOLDER STEPS LOSSES COUNT…`; LOSSES is `logits`, or `features` for losses with states.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from pathlib import Path
from typing import Any

import torch
from digit_cohorts import CPU, INPUT_FORMAT, digits, teacher
from torch import Tensor, distributed, nn

from feature_losses import hint, hint_state, overhaul, overhaul_state
from limbeck.losses import cross_entropy, dist, dkd, soft_targets
from limbeck.losses.class_attention import class_activation_maps
from limbeck.recipes.optimization import Sgd
from limbeck.recipes.views import Crop, Erasing, Mixing, TrivialAugment, Views
from limbeck.training.distributed import Processes
from limbeck.training.learner import Learner, Training
from limbeck.training.loop import take_step
from limbeck.training.objective import Objective, WeightedLoss
from limbeck.types import Outputs, Shapes, Targets
from limbeck.views.apply import make_view
from limbeck.views.plan import ViewPlanner

FORK = multiprocessing.get_context("fork")
VIEWS = Views(
    batch_size=32,
    crop=Crop(padding=2),
    flip=True,
    policy=TrivialAugment(),
    erasing=Erasing(probability=0.5),
    mixing=Mixing(mixup=1.0, cutmix=1.0),
)


def regression(student: Outputs, teacher: Outputs, targets: Targets, *, state: nn.Module) -> Tensor:
    """A loss that learns something itself."""
    return (state(student.logits) - teacher.logits).square().mean()


def through_classifier(student: Outputs, teacher: Outputs, targets: Targets) -> Tensor:
    """A loss that applies the student's classifier to its maps, in every process to the whole batch."""
    assert student.classifier is not None and student.classifier.bias is not None
    maps = class_activation_maps(student.features[-1], student.classifier.weight, student.classifier.bias)
    return (maps.amax(dim=(2, 3)) - teacher.logits).square().mean(dim=1)


class WithFeatures(nn.Module):
    """A net without batch statistics that outputs two stages, as large as the teacher's first two."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(4, 8), nn.ReLU())
        self.second = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Outputs:
        """Logits and both stages."""
        first = self.first(images)
        second = self.second(first)
        return Outputs(self.head(second.mean((2, 3))), (first, second))


def of_stages(loss: Any) -> Any:
    """The loss with the teacher's first two stages."""

    def on_stages(student: Outputs, teacher: Outputs, targets: Targets, *, state: nn.Module) -> Tensor:
        return loss(student, teacher._replace(features=teacher.features[:2]), targets, state=state)

    return on_stages


def learner_of_features(clip_norm: float | None, processes: Processes) -> Learner:
    """States with parameters, with batch statistics of the whole batch, and with dropout."""
    torch.manual_seed(0)
    model = WithFeatures()
    terms = [
        WeightedLoss("hint", of_stages(hint), 0.5, needs_features=True),
        WeightedLoss("overhaul", of_stages(overhaul), 0.5, needs_features=True),
        WeightedLoss("through_classifier", through_classifier, 0.1, needs_features=True),
        WeightedLoss("cross_entropy", cross_entropy, 0.5),
    ]
    shapes = Shapes((2, 10), ((2, 8, 16, 16), (2, 16, 8, 8))), Shapes((2, 10), ((2, 16, 16, 16), (2, 32, 8, 8)))
    regressor = nn.Sequential(nn.Dropout(0.1), hint_state(*shapes, stage=-1))
    states = {"hint": regressor, "overhaul": overhaul_state(*shapes)}
    training = Training(optimizer=Sgd(lr=0.005), epochs=4, teachers=("teacher",), clip_norm=clip_norm, ema_decay=0.9)
    objective = Objective(terms, teacher_weights=[1.0], states=states)
    return Learner(
        f"clip {clip_norm}", model, objective, training, input_format=INPUT_FORMAT, device=CPU, processes=processes
    )


def learner(clip_norm: float | None, processes: Processes) -> Learner:
    """A net without batch statistics. `dist` compares the examples of a batch with each other."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip
    terms = [
        WeightedLoss("dist", dist, 0.02, {"temperature": 4.0}),
        WeightedLoss("regression", regression, 0.01),
        WeightedLoss("soft_targets", soft_targets, 0.7, {"temperature": 4.0}),
        WeightedLoss("cross_entropy", cross_entropy, 0.2),
        WeightedLoss("dkd", dkd, 0.1),
    ]
    objective = Objective(terms, teacher_weights=[1.0], states={"regression": nn.Linear(10, 10)})
    training = Training(
        optimizer=Sgd(lr=0.005),  # at 0.05 training is chaotic: rounding grows a hundredfold in 5 steps
        epochs=4,
        teachers=("teacher",),
        clip_norm=clip_norm,
        ema_decay=0.9,
    )
    return Learner(
        f"clip {clip_norm}", model, objective, training, input_format=INPUT_FORMAT, device=CPU, processes=processes
    )


def train(folder: Path, steps: int, make: Any, rank: int, count: int) -> None:
    """As one process of so many; what it has to say goes to `folder/COUNT-RANK`."""
    processes = Processes(rank, count)
    sent = _counted_messages()
    if not processes.is_single:
        distributed.init_process_group("gloo", init_method=f"file://{folder}/meet-{count}", rank=rank, world_size=count)
    learners = [make(None, processes), make(0.5, processes)]
    split = digits(0, 200)
    planner = ViewPlanner("digits", 200, VIEWS, 0, (16, 16))
    heard = {"teacher": teacher()}
    said: list[dict[str, Any]] = []
    for number in range(steps):
        epoch, step = divmod(number, planner.steps_per_epoch)
        view = make_view(split, planner.plan(epoch, step), VIEWS)
        own = view.images[processes.shard(len(view.images))]
        sent.clear()
        take_step(learners, heard, view, epoch=epoch, step=step, steps=planner.steps_per_epoch)
        said.append(
            {
                "images": [hash(image.contiguous().numpy().tobytes()) for image in own],
                "targets": [tensor.tolist() for tensor in view.targets],
                "losses": [one.trace[-1].tolist() for one in learners],
                "sent": sum(sent),
            }
        )
    modules = [module for one in learners for module in (one.model, one.objective)]
    weights = torch.cat([p.detach().flatten() for module in modules for p in module.parameters()])
    buffers = torch.cat(
        [b.detach().flatten().float() for one in learners for b in one.objective.buffers()] or [torch.zeros(0)]
    )
    said.append({"weights": weights.tolist(), "buffers": buffers.tolist()})
    said[-1]["needed"] = weights.numel() + 3 * 10 * VIEWS.batch_size  # gradients; logits of both and of the teacher
    (folder / f"{count}-{rank}.json").write_text(json.dumps(said))
    if not processes.is_single:
        distributed.destroy_process_group()


def _counted_messages() -> list[int]:
    """How many numbers each sum over processes is of, as it is asked for."""
    sent: list[int] = []
    all_reduce = distributed.all_reduce

    def counting(tensor: Tensor, *more: Any) -> None:
        sent.append(tensor.numel())
        all_reduce(tensor, *more)

    distributed.all_reduce = counting
    return sent


def main(folder: Path, steps: int, losses: str, counts: list[int]) -> None:
    """One process, then two, and so on: forked before torch has started a thread, and after all is imported."""
    torch.set_num_threads(1)
    digits(0, 200)  # scikit-learn is slow to import
    make = {"logits": learner, "features": learner_of_features}[losses]
    for count in counts:
        running = [FORK.Process(target=train, args=(folder, steps, make, rank, count)) for rank in range(count)]
        for process in running:
            process.start()
        for process in running:
            process.join()
        if any(process.exitcode for process in running):
            sys.exit(f"one of {count} failed")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], [int(word) for word in sys.argv[4:]])
