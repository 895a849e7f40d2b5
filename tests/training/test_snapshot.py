"""What is packed comes back: values bit for bit, types, memory formats."""

from __future__ import annotations

import gc
import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from packed_state import packed, restored
from safetensors.torch import save
from torch import Tensor

from limbeck.training.snapshot import SAFETENSORS_TYPES, pack, safetensors_chunks

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]


def same(a: Any, b: Any) -> bool:
    """Equal to the bit, lists and tuples being one."""
    if isinstance(a, Tensor):
        if not isinstance(b, Tensor) or a.dtype != b.dtype or a.shape != b.shape:
            return False
        return a.detach().contiguous().view(-1).view(torch.uint8).equal(b.contiguous().view(-1).view(torch.uint8))
    if isinstance(a, dict):
        keys = [(type(k), k) for k in a]
        return isinstance(b, dict) and keys == [(type(k), k) for k in b] and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and math.isnan(a):
        return isinstance(b, float) and math.isnan(b)
    return type(a) is type(b) and a == b


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    dtype = draw(st.sampled_from(DTYPES))
    g = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    made = torch.randint(0, 2, shape, generator=g) if dtype == torch.bool else torch.randn(shape, generator=g) * 50
    made = made.to(dtype)
    if made.dim() == 4 and draw(st.booleans()):
        made = made.contiguous(memory_format=torch.channels_last)
    return made


texts = st.text(st.characters(codec="utf-8"), max_size=4)
keys = st.one_of(st.integers(), texts)
leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts, tensors())
states = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@given(states)
def test_round_trip(state: Any) -> None:
    files = packed(state, "anything")
    assert set(files) == {"anything.safetensors", "anything.json"}
    assert same(state, restored(files))
    assert packed(restored(files), "anything") == files, "the same bytes again"


def test_round_trip_of_what_learners_hold() -> None:
    state = {
        "optimizer": {
            "state": {0: {"step": torch.tensor(3.0)}, 11: {"steps": 4}},
            "param_groups": [{"betas": (0.9, 0.99)}],
        },
        "best_accuracy": -math.inf,
        "lowest_loss": math.inf,
        "scaler": None,
        "trace": torch.tensor([[math.nan, math.inf], [-math.inf, -0.0]]),
        "half": torch.tensor([math.nan, 1.5], dtype=torch.bfloat16),
        "nothing": {"list": [], "dict": {}, "tensor": torch.empty(0, 3), "text": ""},
        "tensor": {"items": {"list": [1, {"tensor": "not one"}]}},
    }
    assert same(state, restored(packed(state)))


@pytest.mark.parametrize("shape", [(4, 3, 5, 5), (4, 3, 1, 5), (1, 3, 2, 2), (4, 1, 3, 3)])
def test_memory_formats_come_back(shape: tuple[int, ...]) -> None:
    last = torch.randn(shape).contiguous(memory_format=torch.channels_last)
    first = torch.randn(shape)
    back = restored(packed({"last": last, "first": first}))
    assert torch.equal(back["last"], last)
    assert back["last"].is_contiguous(memory_format=torch.channels_last)
    assert back["first"].is_contiguous()
    if not last.is_contiguous():
        assert back["last"].stride() == last.stride()
        assert back["first"].stride() == first.stride()


@pytest.mark.parametrize(
    "state", [{1: torch.ones(2), "1": torch.zeros(3)}, {"a/b": torch.ones(2), "a": {"b": torch.zeros(3)}}]
)
def test_keys_that_look_alike_stay_apart(state: dict[Any, Any]) -> None:
    assert same(state, restored(packed(state)))


def test_tensors_that_share_memory() -> None:
    base = torch.arange(12.0)
    state = {"tied": base, "also": base, "overlapping": [base[:8], base[4:]], "turned": base.view(3, 4).T}
    assert same(state, restored(packed(state)))


def test_a_snapshot_is_a_copy() -> None:
    weight = torch.ones(3, requires_grad=True)
    files = packed({"w": weight})
    with torch.no_grad():
        weight.zero_()
    back = restored(files)["w"]
    assert torch.equal(back, torch.ones(3))
    assert not back.requires_grad


@pytest.mark.parametrize("stranger", [object(), {1, 2}, b"bytes", 1j, torch.float32, print])
def test_strangers_are_refused_by_their_place(stranger: object) -> None:
    with pytest.raises(TypeError, match="/a/1/b"):
        pack("x", {"a": [0, {"b": stranger}]})


def test_the_files_are_json_and_safetensors() -> None:
    files = packed({"w": torch.ones(2), "n": 3})
    assert json.loads(files["x.json"])
    length = int.from_bytes(files["x.safetensors"][:8], "little")
    header = json.loads(files["x.safetensors"][8 : 8 + length])
    assert [entry["shape"] for name, entry in header.items() if name != "__metadata__"] == [[2]]


@given(st.dictionaries(texts.filter(bool), tensors(), max_size=4))
def test_the_bytes_are_those_of_safetensors_own_way(state: dict[str, Tensor]) -> None:
    plain = {f"/{key}": tensor.contiguous() for key, tensor in state.items()}
    assert packed(state)["x.safetensors"] == save(plain)


def test_every_data_type_is_written_as_safetensors_writes_it() -> None:
    state = {
        f'{dtype} {width} é"\n\x01': torch.randint(0, 2, (width, 3)).to(dtype)
        for dtype in SAFETENSORS_TYPES
        for width in range(3)
    }
    assert b"".join(safetensors_chunks(state)) == save(state)
    with pytest.raises(TypeError, match=r"/a: a tensor of torch\.complex128"):
        pack("x", {"a": torch.ones(1, dtype=torch.complex128)})


def test_saving_leaves_nothing_for_the_garbage_collector() -> None:
    state = {f"weight {i}": torch.ones(i, 2) for i in range(100)}
    packed(state)
    gc.collect()
    gc.disable()
    try:
        packed(state)
        assert gc.collect() == 0
    finally:
        gc.enable()
