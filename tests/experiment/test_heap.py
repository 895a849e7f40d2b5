"""Freed memory goes back, though something small lies above it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from limbeck.experiment import heap


def own_megabytes() -> float:
    resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(heap._trim() is None, reason="no glibc")
def test_pages_below_a_small_block_are_given_back() -> None:
    blocks, small = [], []
    for _ in range(500):
        blocks.append(bytearray(os.urandom(100_000)))
        small.append(bytes(2_000))
    before = own_megabytes()
    blocks.clear()
    assert own_megabytes() > before - 10, "the C library keeps them: else this test says nothing"
    heap.give_back()
    assert own_megabytes() < before - 40
    assert len(small) == 500
