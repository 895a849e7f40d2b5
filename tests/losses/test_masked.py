"""Masked generative distillation: what is masked, and what the generator must make of the rest."""

from __future__ import annotations

import pytest
import torch
from published_maps import check_extremes, new_state, of, random_maps

from limbeck.errors import LimbeckError
from limbeck.losses import masked

NOT_ZERO_AT_THE_TEACHER = "alignment and generator start at random weights"
PAIR = (random_maps(0, (3, 2, 4, 4)), random_maps(1, (3, 5, 4, 4)))


def test_float64_reference() -> None:
    state = new_state("masked", *PAIR).eval()
    kept = state.kept(torch.zeros(3, 5, 4, 4, dtype=torch.float64), 0.15)
    x = torch.einsum("oc,bchw->bohw", state.align[0].weight[:, :, 0, 0], PAIR[0].features[0])
    x = (x + state.align[0].bias[:, None, None]) * kept
    hidden = torch.nn.functional.conv2d(x, state.generate[0].weight, state.generate[0].bias, padding=1).clamp_min(0)
    answer = torch.nn.functional.conv2d(hidden, state.generate[2].weight, state.generate[2].bias, padding=1)
    expected = sum((answer[b] - PAIR[1].features[0][b]).square().sum().item() for b in range(3)) / 3
    assert masked(*PAIR, None, state=state).item() == pytest.approx(expected, rel=1e-12)


def test_a_share_of_positions_is_masked_in_all_channels_anew_in_each_step() -> None:
    maps = torch.zeros(64, 5, 8, 8)
    state = new_state("masked", *PAIR)
    first, second = (state.kept(maps, 0.15) for _ in range(2))
    assert first.shape == (64, 1, 8, 8) and set(first.unique().tolist()) == {0.0, 1.0}
    assert 1 - first.mean().item() == pytest.approx(0.15, abs=0.02)
    assert not torch.equal(first, second) and state.steps == 2
    assert torch.equal(state.kept(maps, 0.0), torch.ones_like(first))


def test_a_resumed_state_draws_the_same_masks() -> None:
    maps, state = torch.zeros(4, 5, 8, 8), new_state("masked", *PAIR)
    for _ in range(3):
        state.kept(maps, 0.5)
    again = new_state("masked", *PAIR, seed=7)
    assert not torch.equal(again.seed, state.seed)
    again.load_state_dict(state.state_dict())
    assert torch.equal(again.kept(maps, 0.5), state.kept(maps, 0.5))


def test_what_is_masked_does_not_count_at_its_position() -> None:
    """With generators that look at one position only, a change at a masked one changes nothing."""
    state = new_state("masked", *PAIR).eval()
    for layer in (state.generate[0], state.generate[2]):
        layer.weight.data *= torch.zeros(3, 3, dtype=torch.float64).index_put(
            (torch.tensor(1), torch.tensor(1)), torch.ones((), dtype=torch.float64)
        )
    kept = state.kept(torch.zeros(3, 5, 4, 4, dtype=torch.float64), 0.5)
    changed = of(PAIR[0].features[0] + 10.0 * (1 - kept))
    before = masked(*PAIR, None, share=0.5, state=state)
    torch.testing.assert_close(masked(changed, PAIR[1], None, share=0.5, state=state), before)
    assert masked(of(PAIR[0].features[0] + 10.0 * kept), PAIR[1], None, share=0.5, state=state) != before


def test_gradcheck_sizes_and_extremes() -> None:
    state = new_state("masked", *PAIR).eval()
    leaf = PAIR[0].features[0].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda f: masked(of(f), PAIR[1], None, state=state), (leaf,))
    check_extremes("masked")
    for side in (2, 8):
        other = random_maps(2, (3, 2, side, side))
        assert masked(other, PAIR[1], None, state=new_state("masked", other, PAIR[1])).isfinite()


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_is_not_possible_is_named(share: float) -> None:
    with pytest.raises(LimbeckError, match=r"^masked: share must be at least 0 and below 1; got "):
        new_state("masked", *PAIR, share=share)
