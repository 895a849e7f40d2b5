"""Flow of solution procedure against its formula."""

from __future__ import annotations

import pytest
import torch
from published_maps import random_maps

from limbeck.errors import LimbeckError
from limbeck.losses import fsp
from limbeck.types import Outputs

SHAPES = ((2, 2, 4, 4), (2, 3, 2, 2), (2, 4, 2, 2))


def test_float64_reference() -> None:
    student, teacher = random_maps(0, *SHAPES), random_maps(1, *SHAPES)
    expected = []
    for b in range(2):
        total = 0.0
        for stage in (0, 1):
            flows = []
            for one in (student, teacher):
                first, second = one.features[stage][b], one.features[stage + 1][b]
                if stage == 0:
                    first = torch.nn.functional.avg_pool2d(first[None], 2)[0]
                flows.append([float((c * d).sum() / 4) for c in first for d in second])
            total += sum((x - y) ** 2 for x, y in zip(*flows, strict=True)) / len(flows[0])
        expected.append(total)
    assert fsp(student, teacher, None).tolist() == pytest.approx(expected, rel=1e-10)


def test_gradcheck_zero_and_extremes() -> None:
    student, teacher = random_maps(0, *SHAPES), random_maps(1, *SHAPES)
    leaves = [x.requires_grad_() for x in student.features]
    assert torch.autograd.gradcheck(lambda *maps: fsp(Outputs(student.logits, maps), teacher, None), leaves)
    assert fsp(teacher, teacher, None).abs().max() == 0
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        for size in (0.0, 1e-3, 1e4):
            maps = [tuple((x.detach() * size).to(dtype) for x in one.features) for one in (student, teacher)]
            assert fsp(*(Outputs(torch.zeros(2, 5), m) for m in maps), None).isfinite().all()


def test_other_channels_and_one_layer_are_refused_in_one_line() -> None:
    student, teacher = random_maps(0, *SHAPES), random_maps(1, (2, 5, 4, 4), *SHAPES[1:])
    with pytest.raises(LimbeckError, match=r"^fsp: needs equal numbers of channels; the student's layer has 2, the te"):
        fsp(student, teacher, None)
    with pytest.raises(LimbeckError, match=r"^fsp: layers: expected at least two layers"):
        fsp(student, student, None, layers=[1])
