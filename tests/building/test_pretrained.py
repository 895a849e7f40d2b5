"""A model from a file is measured before anything is trained with it: what is wrong is said, and what is right."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import limbeck
from limbeck.building.checks.pretrained import check_arms_from_files, near_chance, sample_of
from limbeck.building.data import Images
from limbeck.building.models import build_model
from limbeck.building.teachers import load_teacher_from_file
from limbeck.errors import LimbeckError
from limbeck.experiment.estimate import describe_plan
from limbeck.recipes.load import NO_FUNCTIONS, check
from limbeck.recipes.recipe import NameWithOptions
from limbeck.recipes.yaml_file import parse
from limbeck.types import Normalisation, Split

NAMES = tuple(sorted(map(str, range(12))))  # 0, 1, 10, 11, 2, …
COLOURS = torch.rand(12, 3, generator=torch.Generator().manual_seed(5)) * 0.6 + 0.2
FAR_OFF = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OF_THE_DATA = Normalisation((0.2, 0.5, 0.8), (0.05, 0.4, 0.1))
CPU = torch.device("cpu")
TRAINED: dict[str, Any] = {
    "model": "lightweight_cnn",
    "epochs": 1,
    "optimizer": {"name": "sgd", "lr": 0.01},
    "loss": [{"name": "cross_entropy"}],
}


class Colours(nn.Module):
    """Knows each class by its colour. softmax: what its answers go through."""

    def __init__(self, num_classes: int, *, activation: str = "none") -> None:
        super().__init__()
        self.linear = nn.Linear(3, num_classes)
        self.activation = activation

    def forward(self, pixels: Tensor) -> Tensor:
        logits = self.linear(pixels.mean((2, 3)))
        if self.activation == "softmax":
            return logits.softmax(1)
        return logits.log_softmax(1) if self.activation == "log_softmax" else logits


MODELS: dict[str, Callable[..., nn.Module]] = {"colours": Colours}


def split(count: int, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 12
    noise = 0.05 * torch.randn(count, 3, 1, 1, generator=generator)
    pixels = (COLOURS[labels][:, :, None, None] + noise).clamp(0, 1).expand(-1, -1, 4, 4)
    stored = (255 * pixels).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    return Split(stored, labels)


@pytest.fixture(scope="module")
def images() -> Images:
    return Images("colours", NAMES, split(600, 0), split(720, 1), split(120, 2), "colours", OF_THE_DATA)


def weights_for(folder: Path, norm: Normalisation, order: list[int] | None = None, mirrored: bool = False) -> str:
    """A file whose model answers for class `order[k]` at its output k, of images normalised by `norm`."""
    mean, sd = torch.tensor(norm.mean), torch.tensor(norm.sd)
    colours = COLOURS[order] if order else COLOURS
    # logits -|x - c|² up to what all share, with x the colour in [0, 1]: 2 c·x - |c|², x = mean + sd·input.
    linear = {"linear.weight": 400 * 2 * colours * sd, "linear.bias": 400 * (2 * colours @ mean - (colours**2).sum(1))}
    if mirrored:
        linear["linear.weight"] = linear["linear.weight"].flip(1)
    path = folder / "big.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in linear.items()}, path)
    return str(path)


def said(images: Images, weights: str, **arm: Any) -> list[str]:
    tree = {
        "name": "colours",
        "precision": "fp32",
        "data": {"source": "digits"},  # stands for the images that are handed over
        "teachers": {"big": {"model": "colours", "weights": weights, **arm}},
        "students": {"kd": {**TRAINED, "teacher": "big", "loss": [{"name": "soft_targets"}]}},
    }
    lines: list[str] = []
    check_arms_from_files(check(tree, "test", {}, models=MODELS), images, CPU, MODELS, lines.append)
    return lines


def offered(message: str) -> dict[str, Any]:
    """The keys that a message says to write, read as a recipe is."""
    (keys,) = re.findall(r"with `([^`]*)`", message)
    return parse("{" + keys + "}", "message")[0]


def percent(line: str) -> float:
    return float(line.rpartition(": ")[2].partition("%")[0])


def test_a_good_teacher_is_measured_and_that_is_all(images: Images, tmp_path: Path) -> None:
    weights = weights_for(tmp_path, OF_THE_DATA)
    (line,) = said(images, weights)
    assert re.fullmatch(rf"teacher big \(from {re.escape(weights)}\): \d\d\.\d% on 500 validation images", line)
    assert percent(line) > 70


@pytest.mark.parametrize(
    ("norm", "natural", "keys"),
    [
        (FAR_OFF, False, {"normalise"}),
        (OF_THE_DATA, True, {"classes"}),
        (FAR_OFF, True, {"normalise", "classes"}),
    ],
)
def test_what_would_be_right_is_offered(
    images: Images, tmp_path: Path, norm: Normalisation, natural: bool, keys: set[str]
) -> None:
    order = [NAMES.index(str(number)) for number in range(12)] if natural else None
    weights = weights_for(tmp_path, norm, order)
    measured, warned = said(images, weights, allow_near_chance=True)
    told = offered(warned)
    assert set(told) == keys
    if natural:
        assert told["classes"] == [str(number) for number in range(12)]
    (better,) = said(images, weights, **told)  # what is offered is right, and then nothing more is said
    assert percent(better) > 70 > 30 > percent(measured)
    assert f"it has {percent(better)}%" in warned


def test_near_chance_is_refused_with_what_would_be_right(images: Images, tmp_path: Path) -> None:
    one_on = [(number + 1) % 12 for number in range(12)]
    weights = weights_for(tmp_path, OF_THE_DATA, one_on)
    with pytest.raises(LimbeckError, match=r"^teachers\.big: .* and guessing gives 8\.3%") as caught:
        said(images, weights)
    message = str(caught.value)
    assert "\n" not in message and "`allow_near_chance: true` uses it as it is" in message
    assert offered(message)["classes"] == [NAMES[number] for number in one_on]
    assert len(said(images, weights, **offered(message))) == 1


def test_a_normalisation_that_should_not_be_there(images: Images, tmp_path: Path) -> None:
    wrong = {"mean": list(FAR_OFF.mean), "sd": list(FAR_OFF.sd)}
    weights = weights_for(tmp_path, OF_THE_DATA)
    assert "without `normalise` it has" in said(images, weights, normalise=wrong, allow_near_chance=True)[1]


def test_two_swapped_classes_are_named(images: Images, tmp_path: Path) -> None:
    order = list(range(12))
    order[4], order[9] = 9, 4
    weights = weights_for(tmp_path, OF_THE_DATA, order)
    measured, warned = said(images, weights)
    assert f"outputs for classes '{NAMES[4]}' and '{NAMES[9]}' look swapped" in warned
    better = said(images, weights, **offered(warned))
    assert len(better) == 1
    assert percent(better[0]) > percent(measured) + 5


def test_swapped_in_a_list_of_classes_too(images: Images, tmp_path: Path) -> None:
    turned = list(range(11, -1, -1))
    weights = weights_for(tmp_path, OF_THE_DATA, turned)
    told = [NAMES[k] for k in turned]
    told[0], told[1] = told[1], told[0]
    _, warned = said(images, weights, classes=told)
    assert "look swapped" in warned
    assert offered(warned)["classes"] == [NAMES[k] for k in turned]


def test_blue_before_red(images: Images, tmp_path: Path) -> None:
    weights = weights_for(tmp_path, Normalisation((0.5,) * 3, (0.5,) * 3), mirrored=True)
    _, warned = said(images, weights, normalise={"mean": [0.5] * 3, "sd": [0.5] * 3}, allow_near_chance=True)
    assert re.search(r"blue first \(BGR\).* it has [789]\d\.\d%$", warned)
    assert "normalise:" not in warned


class Configured(Colours):
    """Says as timm's models do what it was made for; on images of another side it knows nothing."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.pretrained_cfg = {"mean": (0.3, 0.1, 0.6), "std": (0.6, 0.1, 0.3), "input_size": (3, 8, 8)}

    def forward(self, pixels: Tensor) -> Tensor:
        return super().forward(pixels) * (pixels.shape[-1] == 8)


def test_what_a_model_says_of_itself_is_tried(images: Images, tmp_path: Path) -> None:
    MODELS["configured"] = Configured
    weights = weights_for(tmp_path, Normalisation((0.3, 0.1, 0.6), (0.6, 0.1, 0.3)))
    with pytest.raises(LimbeckError, match=r"right on 8\.\d%") as caught:
        said(images, weights, model="configured")
    told = offered(str(caught.value))
    assert told == {"normalise": {"mean": [0.3, 0.1, 0.6], "sd": [0.6, 0.1, 0.3]}, "resolution": 8}
    (line,) = said(images, weights, model="configured", **told)
    assert percent(line) > 70


def test_one_that_knows_nothing_is_refused_without_false_hopes(images: Images, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(Colours(12).state_dict(), tmp_path / "fresh.safetensors")
    with pytest.raises(LimbeckError, match=r"check its normalisation .*`classes` order, `resolution` and colour"):
        said(images, str(tmp_path / "fresh.safetensors"))
    assert len(said(images, str(tmp_path / "fresh.safetensors"), allow_near_chance=True)) == 1


def test_answers_that_are_probabilities_already(images: Images, tmp_path: Path) -> None:
    weights = weights_for(tmp_path, OF_THE_DATA)
    ends_in_softmax = {"name": "colours", "activation": "softmax"}
    with pytest.raises(LimbeckError, match=r"^teachers\.big: colours ends in a softmax: .*`outputs: probabilities`"):
        said(images, weights, model=ends_in_softmax)
    assert said(images, weights, model=ends_in_softmax, outputs="probabilities") == said(images, weights)
    assert said(images, weights, model={"name": "colours", "activation": "log_softmax"}) == said(images, weights)
    with pytest.raises(LimbeckError, match=r"do not sum to 1.*leave out `outputs`"):
        said(images, weights, outputs="probabilities")


def test_the_logarithm_of_probabilities_is_what_losses_compare_with(images: Images, tmp_path: Path) -> None:
    weights = weights_for(tmp_path, OF_THE_DATA)

    def answers(**arm: Any) -> Tensor:
        tree = {
            "name": "c",
            "data": {"source": "digits"},
            "teachers": {"big": {"weights": weights, **arm}},
            "students": {"a": TRAINED},
        }
        big = check(tree, "test", {}, models=MODELS).teachers["big"]
        model = load_teacher_from_file("big", big, images, MODELS)
        pixels = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(3))
        with torch.no_grad():
            found = model(pixels)
        return getattr(found, "logits", found)

    plain = answers(model="colours")
    taken = answers(model={"name": "colours", "activation": "softmax"}, outputs="probabilities")
    assert bool(taken.isfinite().all())
    assert torch.allclose((taken / 4).softmax(1), (plain.log_softmax(1).clamp_min(-87.4) / 4).softmax(1), atol=1e-4)


class Overflows(nn.Module):
    """Right in float32; in float16 the middle is infinite."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(3, num_classes)
        self.middle = nn.Linear(num_classes, num_classes, bias=False)
        self.last = nn.Linear(num_classes, num_classes, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.last(self.middle(self.first(pixels.mean((2, 3)))))


def test_answers_that_are_not_finite_name_the_layer_and_float32(images: Images, tmp_path: Path) -> None:
    MODELS["overflows"] = Overflows
    plain = Path(weights_for(tmp_path, OF_THE_DATA))
    from safetensors.torch import load_file

    tensors = {f"first.{name.partition('.')[2]}": tensor for name, tensor in load_file(plain).items()}
    tensors |= {"middle.weight": torch.eye(12) * 3e4, "last.weight": torch.eye(12) / 3e4}
    save_file(tensors, plain)
    with pytest.raises(
        LimbeckError, match=r"of 500 answers are not finite.*float16; .* in middle \(Linear\);.*`precision: fp32`"
    ):
        said(images, str(plain), model="overflows", precision="fp16")
    assert len(said(images, str(plain), model="overflows", precision="fp32")) == 1
    tensors["last.weight"][0, 0] = torch.nan
    save_file(tensors, plain)
    with pytest.raises(LimbeckError, match=r"500 of 500 answers .* in the weights last\.weight$"):
        said(images, str(plain), model="overflows")


@pytest.mark.middle
def test_a_run_a_plan_and_a_sweep_refuse_before_they_train(tmp_path: Path) -> None:
    torch.manual_seed(1)
    fresh = tmp_path / "fresh.safetensors"
    save_file(build_model(NameWithOptions(name="lightweight_cnn"), 10, NO_FUNCTIONS).state_dict(), fresh)
    tree: dict[str, Any] = {
        "name": "fresh",
        "evaluation": {"latency_batch": 0},
        "data": {"source": "digits", "train_images": 64},
        "teachers": {"big": {"model": "lightweight_cnn", "weights": str(fresh)}},
        "students": {"kd": {**TRAINED, "teacher": "big", "loss": [{"name": "soft_targets"}]}},
    }
    with pytest.raises(LimbeckError, match=r"^teachers\.big: .*guessing gives 10\.0%"):
        limbeck.run(tree, folder=tmp_path / "runs")
    with pytest.raises(LimbeckError, match=r"^teachers\.big: .*guessing gives 10\.0%"):
        describe_plan(check(tree, "test", {}), timed=False)
    swept = {**tree, "sweep": {"axes": {"students.kd.optimizer.lr": [0.1, 0.2]}}}
    with pytest.raises(LimbeckError, match=r"^teachers\.big: .*guessing gives 10\.0%"):
        limbeck.sweep(swept, folder=tmp_path / "sweeps")
    assert not [path for path in tmp_path.rglob("*") if path.name in ("metrics", "checkpoints", "models")]

    tree["teachers"]["big"]["allow_near_chance"] = True
    assert any(line.startswith("teacher big (from ") for line in describe_plan(check(tree, "test", {}), timed=False))
    done = limbeck.run(tree, folder=tmp_path / "runs")
    of_file, trained = done.result["arms"]
    assert (of_file["arm"], of_file["train_sample"]["n"]) == ("big", len_of_train(done.result))
    assert "train_sample" not in trained


def len_of_train(result: dict[str, Any]) -> int:
    return min(500, result["images"]["train"])


def test_a_sample_is_balanced_and_always_the_same() -> None:
    labels = torch.cat([torch.zeros(900, dtype=torch.long), torch.arange(100) % 10])
    whole = Split(torch.zeros(1000, 1, 2, 2, dtype=torch.uint8), labels)
    some = sample_of(whole, 60)
    counts = torch.bincount(some.labels)
    assert int(counts.max()) - int(counts.min()) <= 1
    assert torch.equal(some.labels, sample_of(whole, 60).labels)
    assert sample_of(whole, 1000) is whole
    assert torch.bincount(sample_of(whole, 500).labels)[1:].tolist() == [10] * 9


@pytest.mark.parametrize(
    ("right", "count", "classes", "near"),
    [
        (0.07, 500, 20, True),
        (0.58, 500, 20, False),
        (0.5, 500, 2, True),
        (0.6, 500, 2, False),
        (0.02, 500, 1000, False),
        (0.002, 500, 1000, True),
        (0.0, 500, 10, True),
        (1.0, 4, 10, False),
        (0.5, 6, 10, False),
        (1.0, 10, 1, False),
    ],
)
def test_near_chance(right: float, count: int, classes: int, near: bool) -> None:
    assert near_chance(right, count, classes) is near


def test_a_teacher_whose_answers_stop_being_finite_is_blamed_itself() -> None:
    class Tires(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(192, 10)
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, pixels: Tensor) -> Tensor:
            if pixels.shape[0] == 128:
                self.calls += 1
            return self.layer(pixels.flatten(1)) * (torch.nan if self.calls > 3 else 1.0)

    student = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    with pytest.raises(
        LimbeckError, match=r"^student: teacher teacher-0 outputs was nan at epoch 1, step 4; check its"
    ):
        limbeck.distill(student, Tires(), data="digits", epochs=1, precision="fp32", views={"batch_size": 128})
    healthy = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    with pytest.raises(LimbeckError, match=r"^student: soft_targets was nan .*; try a lower lr"):
        limbeck.distill(
            student, healthy, data="digits", epochs=1, precision="fp32", views={"batch_size": 128},
            optimizer={"name": "sgd", "lr": 1e38},
        )  # fmt: skip
