"""What models of other libraries answer with: where the logits lie, and what is refused."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.models.torchvision_operators import declare_missing_operators
from limbeck.training.teacher import as_outputs
from limbeck.types import Outputs

LOGITS, OTHER = torch.randn(4, 10), torch.randn(4, 10)
WithAuxiliary = namedtuple("WithAuxiliary", ["logits", "aux_logits"])


@dataclass
class Answer:
    logits: Any
    hidden_states: Any = None


class OrderedAnswer(OrderedDict[str, Any]):
    """As Hugging Face's: a mapping whose entries are attributes too."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(name)
        return self[name]


@pytest.mark.parametrize(
    "answer",
    [
        LOGITS, (LOGITS,), (LOGITS, OTHER), [LOGITS, OTHER], {"logits": LOGITS, "aux": OTHER}, {"out": LOGITS},
        Answer(LOGITS), WithAuxiliary(LOGITS, None), OrderedAnswer(loss=OTHER.mean(), logits=LOGITS),
        (Answer(LOGITS), OTHER),
    ],
    ids=lambda answer: type(answer).__name__,
)  # fmt: skip
def test_logits_are_found(answer: Any) -> None:
    assert as_outputs(answer).logits is LOGITS
    assert as_outputs(answer).features == ()


def test_outputs_stay_what_they_are() -> None:
    outputs = Outputs(LOGITS, (OTHER,))
    assert as_outputs(outputs) is outputs


@pytest.mark.parametrize(
    "answer",
    [None, 3, "x", (), {}, {"features": LOGITS}, Answer(None), LOGITS.long(), (None, LOGITS), Outputs(None)],  # type: ignore[arg-type]
)  # fmt: skip
def test_anything_else_is_told_in_one_line(answer: Any) -> None:
    with pytest.raises(
        LimbeckError, match=r"^a model must answer with floating-point logits [^\n]*this one gave [^\n]+$"
    ):
        as_outputs(answer)


def test_torchvision_models_with_auxiliary_heads() -> None:
    declare_missing_operators()
    from torchvision.models import googlenet

    model = googlenet(num_classes=10, aux_logits=True, init_weights=False).train()
    answer = model(torch.randn(2, 3, 64, 64))
    assert not isinstance(answer, Tensor)
    assert as_outputs(answer).logits is answer.logits
