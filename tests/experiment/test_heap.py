"""Freed memory goes back, though something small lies above it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from limbeck.experiment import heap

SINGLE_PROCESS = """
import os
from limbeck.experiment.heap import give_back

def own_megabytes():
    resident, shared = map(int, open("/proc/self/statm").read().split()[1:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 2**20

blocks, small = [], []
for _ in range(500):
    blocks.append(bytearray(os.urandom(100_000)))
    small.append(bytearray(20_000))
before = own_megabytes()
blocks.clear()
kept = own_megabytes()
give_back()
print(before - kept, kept - own_megabytes())
"""


@pytest.mark.skipif(heap._trim() is None, reason="no glibc")
def test_pages_below_a_small_block_are_given_back() -> None:
    """In a process of its own: what a heap gives back by itself depends on all that was in it."""
    done = subprocess.run([sys.executable, "-c", SINGLE_PROCESS], capture_output=True, text=True, check=True)
    by_itself, asked = map(float, done.stdout.split())
    assert by_itself < 10, "else this test says nothing"
    assert asked > 35
