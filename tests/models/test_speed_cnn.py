from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from limbeck.errors import LimbeckError
from limbeck.models import speed_cnn
from limbeck.models.speed_cnn import SMALLEST_VARIANCE, patch_covariance


def correlated_images(number: int = 600) -> torch.Tensor:
    """Smooth in space, with channels that go together: as photographs are."""
    x = torch.randn(number, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    x = functional.avg_pool2d(x, 3, stride=1, padding=1)
    return x + 0.5 * x.mean(1, keepdim=True)


def test_covariance_is_that_of_all_patches() -> None:
    images = correlated_images(300)  # more than one portion
    flat = functional.unfold(images.double(), 2).transpose(1, 2).reshape(-1, 12)
    torch.testing.assert_close(patch_covariance(images), torch.cov(flat.T, correction=0))


def test_stem_whitens_the_patches() -> None:
    model = speed_cnn.build(10)
    images = correlated_images()
    model.initialise(images)
    answers = functional.conv2d(images.double(), model.whitening.weight.double())
    covariance = torch.cov(answers.transpose(0, 1).flatten(1), correction=0)
    eigenvalues = torch.linalg.eigvalsh(patch_covariance(images)).flip(0)
    expected = torch.diag(eigenvalues / (eigenvalues + SMALLEST_VARIANCE))
    torch.testing.assert_close(covariance[:12, :12], expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(covariance[:12, 12:], -expected, atol=1e-4, rtol=0)


def test_initialise_depends_on_the_images_alone() -> None:
    torch.manual_seed(0)
    one = speed_cnn.build(10)
    torch.manual_seed(1)
    two = speed_cnn.build(10)
    for model in (one, two):
        model.initialise(correlated_images())
    assert torch.equal(one.whitening.weight, two.whitening.weight)
    before = torch.get_rng_state()
    one.initialise(correlated_images().contiguous(memory_format=torch.channels_last))
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(one.whitening.weight, two.whitening.weight)


def test_images_of_one_colour_leave_finite_weights() -> None:
    model = speed_cnn.build(10)
    model.initialise(torch.full((4, 3, 20, 20), 0.3))
    assert torch.isfinite(model.whitening.weight).all()


def test_whitening_is_frozen_unless_asked() -> None:
    assert not speed_cnn.build(10).whitening.weight.requires_grad
    assert speed_cnn.build(10, train_whitening=True).whitening.weight.requires_grad


def test_dirac_convolutions_pass_their_input_through() -> None:
    model = speed_cnn.build(10)
    for stage in model.stages:
        for module in stage.modules():
            if isinstance(module, torch.nn.Conv2d):
                x = torch.randn(1, module.in_channels, 6, 6)
                torch.testing.assert_close(module(x)[:, : module.in_channels], x)
    plain = speed_cnn.build(10, dirac=False).stages[1][4]
    assert not torch.allclose(plain(torch.ones(1, 256, 6, 6)), torch.ones(1, 256, 6, 6), atol=0.1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"widths": [64, 256]}, "list of 3"),
        ({"widths": [64, 0, 256]}, "expected an integer"),
        ({"widths": "wide"}, "list of 3"),
        ({"activation": "sillu"}, "did you mean 'silu'"),
    ],
)
def test_options_that_make_no_sense(options, said: str) -> None:
    with pytest.raises(LimbeckError, match=said) as raised:
        speed_cnn.build(10, **options)
    assert "\n" not in str(raised.value)
