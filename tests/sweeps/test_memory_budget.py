"""How many learners memory allows: what a learner keeps, counted by hand, and what a container allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from limbeck.building.models import build_model
from limbeck.experiment.context import RunContext, open_context
from limbeck.experiment.plan import make_plan
from limbeck.recipes.load import NO_FUNCTIONS, load_recipe
from limbeck.recipes.recipe import CustomFunctions
from limbeck.storage.run_directory import RunDirectory
from limbeck.sweeps.memory_budget import SHARE_OF_FREE_MEMORY, free_memory, max_concurrent_learners

GB = 2**30


def run_context(tmp_path: Path, losses: CustomFunctions = NO_FUNCTIONS, **arm: Any) -> RunContext:
    student = {
        "model": "lightweight_cnn", "epochs": 1, "optimizer": {"name": "sgd", "lr": 0.1},
        "loss": [{"name": "cross_entropy"}], **arm,
    }  # fmt: skip
    recipe = load_recipe(
        {
            "name": "room", "precision": "fp32", "data": {"source": "digits", "train_images": 64},
            "views": {"batch_size": 32}, "students": {"a": student},
        },
        losses=losses,
    )  # fmt: skip
    return open_context(recipe, RunDirectory(tmp_path), device=torch.device("cpu"), losses=losses)


@pytest.mark.parametrize(
    ("arm", "copies", "states"),
    [
        ({}, 3, 1),  # weights, gradients, momenta; batch statistics once
        ({"optimizer": {"name": "adam", "lr": 1e-3}}, 4, 1),
        ({"ema": {"decay": 0.9}}, 4, 2),
        ({"choose": "best"}, 4, 2),
        ({"ema": {"decay": 0.9}, "choose": "best"}, 5, 3),
    ],
)
def test_each_further_learner_takes_what_it_keeps(tmp_path: Path, arm: Any, copies: int, states: int) -> None:
    here = run_context(tmp_path, **arm)
    model = build_model(here.recipe.students["a"].model, 10, NO_FUNCTIONS)
    kept = copies * sum(4 * p.numel() for p in model.parameters())
    kept += states * sum(b.numel() * b.element_size() for b in model.buffers())
    (cohort,) = make_plan(here.recipe).cohorts
    counts = [max_concurrent_learners(here, cohort.learners[0], cohort.views, free=free) for free in (GB, 3 * GB)]
    assert counts[1] - counts[0] == pytest.approx(SHARE_OF_FREE_MEMORY * 2 * GB / kept, rel=0.15)
    assert max_concurrent_learners(here, cohort.learners[0], cohort.views, free=1000) == 1, "one is always tried"


def test_states_of_losses_are_counted(tmp_path: Path) -> None:
    """A linear layer from 10 logits to 200,000 numbers: its weights, gradients and momenta."""

    def mine(student: Any, teacher: Any, targets: Any, *, state: Any) -> Any:
        return state(student.logits).square().mean(1) + student.logits.square().mean(1)

    mine.NEEDS_TEACHER = False  # type: ignore[attr-defined]
    mine.state = lambda student, teacher: torch.nn.Linear(student.logits[1], 200_000)  # type: ignore[attr-defined]
    plain, here = run_context(tmp_path), run_context(tmp_path, losses={"mine": mine}, loss=[{"name": "mine"}])
    (cohort,) = make_plan(here.recipe).cohorts
    counts = {}
    for name, one in (("plain", plain), ("here", here)):
        few, many = (max_concurrent_learners(one, cohort.learners[0], cohort.views, free=free) for free in (GB, 9 * GB))
        counts[name] = SHARE_OF_FREE_MEMORY * 8 * GB / (many - few)
    assert counts["here"] - counts["plain"] == pytest.approx(3 * 4 * 200_000 * 11, rel=0.1)


def machine(root: Path, files: dict[str, str]) -> Path:
    """What a kernel shows under /proc and /sys."""
    for name, text in {"proc/meminfo": f"MemTotal: {64 * 2**20} kB\nMemAvailable: {32 * 2**20} kB\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_without_a_container_it_is_what_the_kernel_says(tmp_path: Path) -> None:
    assert free_memory(machine(tmp_path, {})) == 32 * GB


def test_a_container_with_a_limit(tmp_path: Path) -> None:
    """Pages of files that can be dropped do not count as used."""
    root = machine(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": f"{4 * GB}\n",
            "sys/fs/cgroup/memory.current": f"{3 * GB}\n",
            "sys/fs/cgroup/memory.stat": f"anon {2 * GB}\ninactive_file {GB}\n",
        },
    )
    assert free_memory(root) == 2 * GB


def test_the_tightest_of_all_groups_counts(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/kube/pod/box\n"}
    for group, limit, used in (("kube", 16 * GB, 14 * GB), ("kube/pod", 8 * GB, 7 * GB), ("kube/pod/box", "max", GB)):
        files[f"sys/fs/cgroup/{group}/memory.max"] = f"{limit}\n"
        files[f"sys/fs/cgroup/{group}/memory.current"] = f"{used}\n"
    assert free_memory(machine(tmp_path, files)) == GB


def test_version_1_of_control_groups(tmp_path: Path) -> None:
    """In a container the path is the host's, and the container's own group is mounted at the top."""
    files = {
        "proc/self/cgroup": "5:cpu:/docker/abc\n4:memory:/docker/abc\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GB}\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GB}\n",
        "sys/fs/cgroup/memory/memory.stat": f"cache 5\ntotal_inactive_file {GB // 2}\n",
    }
    assert free_memory(machine(tmp_path / "a", files)) == 3 * GB // 2
    unlimited = {**files, "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}
    assert free_memory(machine(tmp_path / "b", unlimited)) == 32 * GB


def test_a_group_that_is_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": f"{GB}\n",
        "sys/fs/cgroup/memory.current": f"{2 * GB}\n",
    }
    assert free_memory(machine(tmp_path, files)) == 0


def test_files_that_say_nothing_are_passed_over(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/x\n", "sys/fs/cgroup/x/memory.max": "\n", "sys/fs/cgroup/x/memory.current": "?"}
    assert free_memory(machine(tmp_path, files)) == 32 * GB
    (tmp_path / "proc/meminfo").unlink()
    assert free_memory(tmp_path) > 0, "half of what the machine has"


def test_this_machine_says_something() -> None:
    assert 2**20 < free_memory() < 2**50
