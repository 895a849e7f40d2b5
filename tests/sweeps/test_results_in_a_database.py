"""A learner's result goes through a database that bounds the size of a value, and comes back as it was."""

from __future__ import annotations

import json

import torch

from limbeck.evaluation.evaluate import evaluate_logits
from limbeck.sweeps.shared_store import pack_result, unpack_result
from limbeck.types import Split

MYSQL_TEXT = 65_535


def test_two_matrices_of_two_hundred_classes_fit() -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(200, (10_000,), generator=draw)
    logits = torch.randn(10_000, 200, generator=draw) + 4 * torch.nn.functional.one_hot(labels, 200)
    found = evaluate_logits(logits, Split(torch.zeros(10_000, 3, 1, 1), labels), num_classes=200).to_dict()
    result = {"arm": "kd", "validation": found, "test": found, "loss": float("nan")}
    text = pack_result(result)
    assert len(text) < MYSQL_TEXT < len(json.dumps(result))
    assert unpack_result(text) == result | {"loss": None}, "as in done.json"
    assert unpack_result(result) is result, "as an earlier version left it"
