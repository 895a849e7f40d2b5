"""Mixup and CutMix against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from real_images import cifar
from torch import Tensor

from limbeck.losses import cross_entropy
from limbeck.models.torchvision_operators import declare_missing_operators
from limbeck.recipes.views import Mixing
from limbeck.types import Outputs, Targets
from limbeck.views.mixing import Mix, draw, mix, symmetric_beta

declare_missing_operators()
from torchvision.transforms import v2  # noqa: E402

sides = st.integers(1, 40)
seeds = st.integers(0, 100_000)


def noise(batch: int, height: int, width: int) -> Tensor:
    g = torch.Generator().manual_seed(batch)
    return torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8, generator=g)


def drawn(mixing: Mixing, batch: int, height: int, width: int, seed: int) -> Mix | None:
    return draw(mixing, batch, height, width, torch.Generator().manual_seed(seed))


@given(st.integers(1, 8), sides, sides, seeds)
def test_cutmix_takes_every_pixel_from_one_of_the_two_and_counts_them(b: int, h: int, w: int, seed: int) -> None:
    plan = drawn(Mixing(cutmix=1.0), b, h, w, seed)
    assert plan is not None
    assert sorted(plan.partners.tolist()) == list(range(b)), "partners belong to the same view"
    numbered = torch.arange(b, dtype=torch.uint8).view(b, 1, 1, 1).expand(b, h, w, 3).contiguous()
    images, targets = mix(numbered, torch.arange(b), plan)
    for i in range(b):
        partner = int(plan.partners[i])
        assert set(images[i].unique().tolist()) <= {i, partner}
        if partner != i:
            own = (images[i, :, :, 0] == i).float().mean().item()
            assert targets.share[i].item() == pytest.approx(own, abs=1e-6), "the share is that of the clipped box"
    assert torch.equal(targets.partner_labels, plan.partners)


@given(st.integers(1, 8), sides, sides, seeds)
def test_mixup_is_the_weighted_mean_of_two(b: int, h: int, w: int, seed: int) -> None:
    plan = drawn(Mixing(mixup=0.8), b, h, w, seed)
    assert plan is not None
    before = noise(b, h, w)
    images, targets = mix(before, torch.arange(b), plan)
    exact = plan.share * before.double() + (1 - plan.share) * before[plan.partners].double()
    assert (images.double() - exact).abs().max() <= 0.5 + 1e-4, "rounded to the nearest level"
    assert targets.share.tolist() == pytest.approx([plan.share] * b)
    same, _ = mix(before, torch.arange(b), plan._replace(partners=torch.arange(b)))
    assert torch.equal(same, before), "with itself an image stays itself"


@pytest.mark.parametrize("real", [False, True])
def test_as_torchvision_has_it(real: bool) -> None:
    """Its transforms mix each image with the one before it; the same partners and share give the same image."""
    before, labels = cifar(6) if real else noise(6, 32, 32), torch.arange(6)
    partners = labels.roll(1)
    torch.manual_seed(3)
    theirs, soft = v2.MixUp(alpha=0.8, num_classes=6)(before.permute(0, 3, 1, 2).float(), labels)
    share = soft[0, 0].item()
    ours, targets = mix(before, labels, Mix(partners, share, None))
    assert (ours.permute(0, 3, 1, 2).float() - theirs).abs().max() <= 0.5 + 1e-3
    logits = torch.randn(6, 6)
    mixed = torch.nn.functional.cross_entropy(logits, soft, reduction="none")
    torch.testing.assert_close(cross_entropy(Outputs(logits), None, targets), mixed)
    for seed in range(20):
        torch.manual_seed(seed)
        theirs, soft = v2.CutMix(alpha=1.0, num_classes=6)(before.permute(0, 3, 1, 2), labels)
        differs = (theirs != before.permute(0, 3, 1, 2)).any(dim=1)[0]
        if not differs.any():
            continue
        rows, columns = differs.any(1).nonzero().squeeze(1), differs.any(0).nonzero().squeeze(1)
        box = (int(rows[0]), int(columns[0]), int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1))
        ours, _ = mix(before, labels, Mix(partners, soft[0, 0].item(), box))
        assert torch.equal(ours.permute(0, 3, 1, 2), theirs)
        assert soft[0, 0].item() == pytest.approx(1 - box[2] * box[3] / 1024, abs=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0, 4.0])
def test_shares_are_beta_distributed(alpha: float) -> None:
    shares = torch.tensor([plan.share for s in range(4000) if (plan := drawn(Mixing(mixup=alpha), 2, 8, 8, s))])
    assert len(shares) == 4000
    assert shares.mean().item() == pytest.approx(0.5, abs=0.03)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


@pytest.mark.parametrize("alpha", [0.01, 0.2, 0.5, 0.8, 1.0, 4.0, 100.0])
def test_the_two_numbers_behind_a_share_make_it_beta(alpha: float) -> None:
    """Moments of (2X − 1)², itself Beta(1/2, α), by a fine grid over both numbers."""
    grid = [(i + 0.5) / 400 for i in range(400)]
    squares = torch.tensor([(2 * symmetric_beta(alpha, u, v) - 1) ** 2 for u in grid for v in grid]).double()
    assert squares.mean().item() == pytest.approx(1 / (2 * alpha + 1), rel=0.01)
    assert (squares**2).mean().item() == pytest.approx(3 / ((2 * alpha + 1) * (2 * alpha + 3)), rel=0.02)


def test_shares_of_alpha_one_are_uniform_and_of_a_half_arcsines() -> None:
    grid = [(i + 0.5) / 400 for i in range(400)]
    levels = (torch.arange(160_000) + 0.5).double() / 160_000
    uniform = torch.tensor([symmetric_beta(1.0, u, v) for u in grid for v in grid]).double().sort().values
    assert (uniform - levels).abs().max() < 0.003
    arcsine = torch.tensor([symmetric_beta(0.5, u, v) for u in grid for v in grid]).double().sort().values
    assert (2 / math.pi * arcsine.sqrt().asin() - levels).abs().max() < 0.006


@given(st.floats(1e-6, 1e6), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_a_share_is_one_for_any_alpha(alpha: float, radius: float, angle: float) -> None:
    assert 0 <= symmetric_beta(alpha, radius, angle) <= 1


def test_a_share_of_one_leaves_the_images() -> None:
    before, partners = noise(5, 9, 9), torch.tensor([1, 2, 3, 4, 0])
    for whole in (Mix(partners, 1.0, None), Mix(partners, 1.0, (3, 3, 0, 0))):
        images, targets = mix(before, torch.arange(5), whole)
        assert torch.equal(images, before) and torch.equal(targets.share, torch.ones(5))


@given(st.integers(1, 6), sides, sides, seeds)
def test_what_is_given_is_not_changed(b: int, h: int, w: int, seed: int) -> None:
    before = noise(b, h, w)
    images = before.clone()
    for mixing in (Mixing(mixup=1.0), Mixing(cutmix=1.0)):
        plan = drawn(mixing, b, h, w, seed)
        assert plan is not None
        mix(images, torch.arange(b), plan)[0].zero_()
    assert torch.equal(images, before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("mixing", [Mixing(mixup=0.8), Mixing(cutmix=1.0)])
def test_the_device_does_not_matter(mixing: Mixing) -> None:
    before, labels = noise(16, 20, 30), torch.arange(16)
    plan = drawn(mixing, 16, 20, 30, 0)
    assert plan is not None
    here, there = mix(before, labels, plan), mix(before.cuda(), labels.cuda(), plan)
    apart = (here[0].int() - there[0].cpu().int()).abs().max()
    assert apart <= (1 if plan.box is None else 0), "a mean near a half may round to either side"
    assert all(torch.equal(a, b.cpu()) for a, b in zip(here[1], there[1], strict=True))


def test_kinds_come_as_often_as_told() -> None:
    both = Mixing(mixup=0.8, cutmix=1.0, probability=0.7, cutmix_probability=0.25)
    plans = [drawn(both, 4, 16, 16, seed) for seed in range(4000)]
    mixed = [plan for plan in plans if plan is not None]
    assert len(mixed) / 4000 == pytest.approx(0.7, abs=0.03)
    assert sum(plan.box is not None for plan in mixed) / len(mixed) == pytest.approx(0.25, abs=0.03)
    assert all(plan.box is None for s in range(50) if (plan := drawn(Mixing(mixup=1.0), 4, 16, 16, s)))
    assert drawn(Mixing(mixup=1.0, probability=0.0), 4, 16, 16, 0) is None


def test_boxes_lie_anywhere() -> None:
    places = [plan.box for s in range(3000) if (plan := drawn(Mixing(cutmix=1.0), 2, 16, 16, s)) and plan.box]
    middles = torch.tensor([[top + height / 2, left + width / 2] for top, left, height, width in places])
    torch.testing.assert_close(middles.mean(0), torch.tensor([7.5, 7.5]), atol=0.4, rtol=0)  # of pixels 0 to 15


@given(seeds)
def test_equal_generators_draw_equally(seed: int) -> None:
    both = Mixing(mixup=0.8, cutmix=1.0)
    first, second = drawn(both, 5, 9, 9, seed), drawn(both, 5, 9, 9, seed)
    assert first is not None and second is not None
    assert torch.equal(first.partners, second.partners) and first[1:] == second[1:]


def test_a_mixed_label_is_learned_by_its_share() -> None:
    labels = torch.tensor([0, 1])
    logits = torch.randn(2, 3)
    targets = Targets(labels, labels.flip(0), torch.tensor([0.3, 0.3]))
    plain = torch.nn.functional.cross_entropy
    expected = 0.3 * plain(logits, labels, reduction="none") + 0.7 * plain(logits, labels.flip(0), reduction="none")
    torch.testing.assert_close(cross_entropy(Outputs(logits), None, targets), expected)
