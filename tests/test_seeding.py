"""Random numbers by name: equal names give equal numbers, unequal names unrelated ones."""

from __future__ import annotations

import hashlib

import torch
from hypothesis import given
from hypothesis import strategies as st

from limbeck.seeding import generator, key, seed_everything

part = st.one_of(st.integers(), st.text(max_size=5), st.floats(allow_nan=False), st.tuples(st.integers()))
parts = st.lists(part, max_size=5).map(tuple)


def test_a_key_is_the_same_on_every_machine() -> None:
    digest = hashlib.sha256(b"'abc'\x1f7\x1f0.5\x1f'crop'").digest()
    assert key("abc", 7, 0.5, "crop") == int.from_bytes(digest[:8], "big") >> 1 == 240554877236674658


@given(parts, parts)
def test_keys_are_equal_exactly_where_the_parts_are(first: tuple, second: tuple) -> None:
    same = [repr(p) for p in first] == [repr(p) for p in second]
    assert (key(*first) == key(*second)) is same
    assert 0 <= key(*first) < 2**63


def test_order_and_kind_of_the_parts_count() -> None:
    names = [(), (1, 2), (2, 1), (12,), ("1", 2), (1.0, 2), (1, 2, 0), ((1, 2),), ("12",), ("1, 2",)]
    assert len({key(*name) for name in names}) == len(names)


def test_a_generator_depends_on_its_name_alone() -> None:
    first = torch.rand(100, generator=generator("data", 3, 0, "flip"))
    torch.rand(17)
    torch.manual_seed(5)
    assert torch.equal(first, torch.rand(100, generator=generator("data", 3, 0, "flip")))
    other = torch.rand(100, generator=generator("data", 3, 0, "crop"))
    assert not torch.isin(first, other).any()


def test_drawing_by_name_leaves_torchs_own_generator_alone() -> None:
    torch.manual_seed(1)
    undisturbed = torch.rand(5)
    torch.manual_seed(1)
    torch.rand(3, generator=generator("anything"))
    assert torch.equal(undisturbed, torch.rand(5))


def test_seeding_everything_sets_torchs_own_generator() -> None:
    draws = []
    for name in (("dropout", 0, 1), ("dropout", 0, 1), ("dropout", 1, 0)):
        seed_everything(*name)
        draws.append(torch.nn.functional.dropout(torch.ones(200), 0.5))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
