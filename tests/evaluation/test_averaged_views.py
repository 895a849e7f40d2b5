"""Test-time augmentation: the views, their averaged probabilities, and what stands beside a model's own numbers."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.evaluation import efficiency
from limbeck.evaluation import test_time as augmented
from limbeck.evaluation.evaluate import evaluate, logits_of
from limbeck.recipes.test_time import AveragedViews
from limbeck.types import Split
from limbeck.views.apply import crop_flip

ALL = AveragedViews(flip=True, shifts=2, scales=(0.8, 1.3))
CLASSES = 5


def pictures(count: int = 24, side: int = 12) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, side, side), generator=draw, dtype=torch.uint8)
    return images.contiguous(memory_format=torch.channels_last)


def split_of(images: Tensor) -> Split:
    return Split(images, torch.arange(len(images)) % CLASSES)


def linear(images: Tensor) -> Tensor:
    """Logits that tell each pixel from each other one."""
    weights = torch.randn(images[0].numel(), CLASSES, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (images.flatten(1).double() @ weights / 255).float()


def mirrored(images: Tensor) -> Tensor:
    """A model that cannot tell left from right."""
    return linear(images) + linear(images.flip(3))


class Counting:
    """A predictor that counts its calls."""

    def __init__(self) -> None:
        self.calls: list[Tensor] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.calls.append(images)
        return linear(images)


def test_averaged_probabilities_are_those_of_a_reference_in_float64() -> None:
    images = pictures()
    views = augmented.views_of(ALL)
    probabilities = np.zeros((len(images), CLASSES))
    for view in views:
        logits = linear(view.of(images)).double().numpy()
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities += exponentials / exponentials.sum(axis=1, keepdims=True) / len(views)
    answer = augmented.averaged(linear, ALL)(images)
    assert answer.dtype == torch.float32
    np.testing.assert_allclose(answer.double().exp().numpy(), probabilities, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(answer.double().softmax(1).numpy(), probabilities, rtol=1e-6, atol=1e-12)


def test_float64_logits_stay_float64() -> None:
    answer = augmented.averaged(lambda images: linear(images).double(), ALL)(pictures())
    assert answer.dtype == torch.float64
    torch.testing.assert_close(answer.exp().sum(1), torch.ones(24, dtype=torch.float64), rtol=1e-14, atol=0)


def test_flips_change_nothing_for_a_model_that_cannot_tell_left_from_right() -> None:
    images = pictures()
    own = mirrored(images)
    answer = augmented.averaged(mirrored, AveragedViews(flip=True))(images)
    torch.testing.assert_close(answer, own.log_softmax(1), rtol=1e-6, atol=1e-6)
    assert torch.equal(answer.argmax(1), own.argmax(1))
    found = augmented.evaluate_with_test_time(mirrored, split_of(images), AveragedViews(flip=True), num_classes=CLASSES)
    assert found.test_time is not None
    gain = found.test_time.gain
    assert (gain.only_first, gain.only_second, gain.agreement, gain.difference) == (0, 0, 1.0, 0.0)


def test_a_model_that_answers_the_same_to_everything_is_not_changed() -> None:
    own = torch.randn(1, CLASSES, generator=torch.Generator().manual_seed(2))
    answer = augmented.averaged(lambda images: own.expand(len(images), -1), ALL)(pictures())
    torch.testing.assert_close(answer, own.log_softmax(1).expand(24, -1), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (AveragedViews(flip=True), 2),
        (AveragedViews(shifts=1), 5),
        (AveragedViews(scales=(0.9, 1.1)), 3),
        (AveragedViews(flip=True, shifts=3), 10),
        (ALL, 30),
    ],
)
def test_one_forward_pass_for_each_view(options: AveragedViews, count: int) -> None:
    assert options.count == len(augmented.views_of(options)) == len(set(augmented.views_of(options))) == count
    predict = Counting()
    images = pictures()
    augmented.averaged(predict, options)(images)
    assert len(predict.calls) == count
    assert torch.equal(predict.calls[0], images), "the first view is the unchanged image"
    for view in predict.calls:
        assert view.shape == images.shape and view.dtype == torch.uint8
    different = {view.numpy().tobytes() for view in predict.calls}
    assert len(different) == count


def test_the_result_depends_on_no_batch() -> None:
    images = pictures()
    predict = augmented.averaged(linear, ALL)
    whole = logits_of(predict, split_of(images), len(images))
    for size in (1, 5, 7):
        torch.testing.assert_close(logits_of(predict, split_of(images), size), whole, rtol=1e-6, atol=1e-6)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(predict(images[order]), whole[order], rtol=1e-6, atol=1e-6)
    for view in augmented.views_of(ALL):  # the views themselves, bit for bit
        assert torch.equal(view.of(images)[order], view.of(images[order]))
        assert torch.equal(view.of(images)[3:4], view.of(images[3:4]))
        assert torch.equal(view.of(images), view.of(images.contiguous()))


def test_shifts_are_those_of_the_random_crop_of_training() -> None:
    images = pictures()
    for down, right in ((2, 0), (-2, 0), (0, 3), (0, -3), (1, -2)):
        corners = torch.tensor([[-down, -right]]).expand(len(images), 2)
        rows = images.permute(0, 2, 3, 1).contiguous()
        expected = crop_flip(rows, corners, None).permute(0, 3, 1, 2)
        assert torch.equal(augmented.shift(images, down, right), expected)


@pytest.mark.parametrize("scale", [0.5, 0.77, 0.9, 1.1, 1.5, 2.0])
@pytest.mark.parametrize("shape", [(12, 12), (9, 14), (1, 7), (33, 20)])
def test_a_mirror_image_is_zoomed_to_the_mirror_image(scale: float, shape: tuple[int, int]) -> None:
    images = torch.randint(0, 256, (4, 3, *shape), generator=torch.Generator().manual_seed(4), dtype=torch.uint8)
    for dimension in (2, 3):
        assert torch.equal(augmented.zoom(images.flip(dimension), scale), augmented.zoom(images, scale).flip(dimension))


def test_zooming_follows_a_reference_in_float64() -> None:
    """Each pixel is the mean of its neighbours in the source, weighted by a triangle as wide as a pixel of either."""
    image = np.random.default_rng(0).integers(0, 256, 11).astype(float)
    for scale in (0.6, 0.9, 1.25):
        expected = []
        for place in range(11):
            source = (place - 5) / scale + 5
            weights = {j: max(0.0, 1 - abs(source - j) / max(1, 1 / scale)) for j in range(-20, 40)}
            known = sum(weight * image[j] for j, weight in weights.items() if 0 <= j < 11)
            expected.append(known / sum(weights.values()))
        row = torch.from_numpy(image).to(torch.uint8).view(1, 1, 1, 11).expand(1, 1, 11, 11)
        zoomed = augmented.zoom(row.float(), scale)[0, 0, 5]
        np.testing.assert_allclose(zoomed.numpy(), expected, atol=0.2)  # weights are multiples of 1/4096
        assert torch.equal(augmented.zoom(row, scale)[0, 0, 5].float(), zoomed.round())


@pytest.mark.parametrize("level", [0, 1, 137, 254, 255])
def test_a_plain_image_stays_plain_inside(level: int) -> None:
    plain = torch.full((1, 1, 40, 40), level, dtype=torch.uint8)
    for scale in (1.1, 1.7, 2.0):
        assert torch.equal(augmented.zoom(plain, scale), plain)
    for scale in (0.5, 0.63, 0.9):
        shrunken = augmented.zoom(plain, scale)
        side = math.floor(40 * scale / 2) - 2
        assert (shrunken[..., 20 - side : 20 + side, 20 - side : 20 + side] == level).all()
        border = math.ceil(20 * (1 - scale)) - 2
        assert (shrunken[..., :border, :] == 0).all(), "black"


def test_larger_scales_show_less_of_the_image() -> None:
    image = torch.zeros(1, 1, 31, 31, dtype=torch.uint8)
    image[..., 10:21, 10:21] = 255
    areas = [augmented.zoom(image, scale).double().sum().item() for scale in (0.5, 0.8, 1.25, 2.0)]
    assert all(small < large for small, large in pairwise(areas))
    assert areas[-1] / (255 * 121) == pytest.approx(4, rel=0.05)


def test_a_view_that_is_not_answered_leaves_the_image_unanswered() -> None:
    def broken(images: Tensor) -> Tensor:
        logits = linear(images).clone()
        logits[torch.all(images[:, :, :, 0] == 0, dim=(1, 2))] = math.nan  # where the left border is black
        return logits

    images = pictures().clamp(min=1)
    found = augmented.evaluate_with_test_time(broken, split_of(images), AveragedViews(shifts=1), num_classes=CLASSES)
    assert found.unanswered == 0 and found.test_time is not None
    assert found.test_time.evaluation.unanswered == len(images)
    assert found.test_time.evaluation.top1 == 0.0
    ruled_out = augmented.averaged(lambda x: torch.tensor([[0.0, -math.inf]]).expand(len(x), 2), ALL)(images)
    assert torch.equal(ruled_out, torch.tensor([[0.0, -math.inf]]).expand(len(images), 2))


def test_the_models_own_numbers_stay_its_own() -> None:
    split = split_of(pictures())
    alone = evaluate(linear, split, num_classes=CLASSES)
    found = augmented.evaluate_with_test_time(linear, split, ALL, num_classes=CLASSES, batch_size=7)
    assert augmented.evaluate_with_test_time(linear, split, None, num_classes=CLASSES) == alone
    assert found.test_time is not None and found.test_time.views == 30
    assert "test_time" not in alone.to_dict()
    plain = found.to_dict()
    beside = plain.pop("test_time")
    assert plain == alone.to_dict()
    directly = evaluate(augmented.averaged(linear, ALL), split, num_classes=CLASSES, batch_size=7)
    assert beside["evaluation"] == directly.to_dict()
    assert beside["gain"]["difference"] == pytest.approx(directly.top1 - alone.top1, abs=1e-12)
    assert beside["gain"]["low"] <= beside["gain"]["difference"] <= beside["gain"]["high"]
    assert beside["options"] == {"flip": True, "shifts": 2, "scales": [0.8, 1.3]}


def test_costs_are_those_of_all_forward_passes() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(400, CLASSES))
    shape = (3, 12, 12)
    alone = efficiency.measure(model, shape, batch_size=4, repeats=3, seconds=0.1)
    found = augmented.measure_averaged(model, lambda answer: answer, shape, ALL, batch_size=4)
    assert found.multiply_adds == 30 * alone.multiply_adds
    assert (found.parameters, found.megabytes) == (alone.parameters, alone.megabytes)
    assert found.image_shape == shape and found.batch_size == 4
    assert found.batch_ms_median > 0 and model.training
    far = AveragedViews(shifts=100)  # prepared images may be smaller than those that are moved
    assert augmented.measure_averaged(model, lambda answer: answer, shape, far, batch_size=1).image_ms_median > 0


@pytest.mark.parametrize(
    ("predict", "images", "said"),
    [
        (linear, pictures(side=2), "a shift of 2 px leaves nothing of images of 2 x 2 px; takes at most 1"),
        (linear, torch.zeros(4, 3), "takes images [B, C, H, W]; got [4, 3]"),
        (lambda images: 3, pictures(), "must return a tensor of logits [B, K]; it returned int"),
        (lambda images: images, pictures(), "must return floating-point logits [B, K]"),
    ],
)
def test_errors_say_what_is_taken(predict: Any, images: Tensor, said: str) -> None:
    with pytest.raises(LimbeckError) as caught:
        augmented.averaged(predict, ALL)(images)
    assert said in str(caught.value)


def test_answers_of_different_sizes_are_refused() -> None:
    sizes = iter(range(2, 100))
    with pytest.raises(LimbeckError, match="the same number of logits for every view"):
        augmented.averaged(lambda images: torch.zeros(len(images), next(sizes)), ALL)(pictures())
