from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from limbeck.models.folding import fold_batch_norms


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def settle(model: nn.Module, channels: int = 3) -> nn.Module:
    """Give every BatchNorm statistics and an affine part that matter."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.2, 3)  # pyright: ignore[reportOptionalMemberAccess]
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return model.double().eval()


def check(model: nn.Module, left: int) -> nn.Module:
    folded = fold_batch_norms(model)
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(folded(x), model(x))
    assert norms(folded) == left
    return folded


class Plain(nn.Module):
    def __init__(self, **options) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).relu()


class ReadTwice(Plain):
    """The convolution's own answer is used too, so it must stay what it is."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.norm(y) + y


class CalledTwice(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(self.conv(x)))


class Branches(Plain):
    """Its forward depends on the values, which no symbolic trace can follow."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() > 0 else super().forward(-x)


class OtherOrder(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.conv(nn.functional.pad(x, (1, 1)))


class Registered(Plain):
    """One module under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.alias = self.conv


class StandardisedConv(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight / self.weight.std(), self.bias)


def standardised() -> nn.Module:
    model = Plain()
    model.conv = StandardisedConv(3, 4, 3)
    return model


@pytest.mark.parametrize(
    ("model", "left"),
    [
        (Plain(), 0),
        (Plain(affine=False), 0),
        (Plain(track_running_stats=False), 1),
        (ReadTwice(), 1),
        (CalledTwice(), 1),
        (Branches(), 1),
        (OtherOrder(), 1),
        (Registered(), 1),
        (standardised(), 1),
        (nn.Sequential(nn.Conv2d(3, 6, 3, groups=3, stride=2), nn.BatchNorm2d(6), nn.BatchNorm2d(6)), 1),
        (nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)), 2),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_answers_stay(model: nn.Module, left: int) -> None:
    check(settle(model), left)


def test_the_copy_shares_no_tensor() -> None:
    model = settle(Plain())
    folded = fold_batch_norms(model)
    own = {tensor.data_ptr() for tensor in model.state_dict().values()}
    assert own.isdisjoint(tensor.data_ptr() for tensor in folded.state_dict().values())


def test_hooks_are_respected() -> None:
    model = settle(Plain())
    seen: list[Tensor] = []
    model.get_submodule("conv").register_forward_hook(lambda _m, _i, answer: seen.append(answer))
    folded = fold_batch_norms(model)
    x = torch.randn(1, 3, 9, 9, dtype=torch.float64)
    model(x), folded(x)
    assert len(seen) == 2
    assert torch.equal(seen[0], seen[1])
