"""A sweep whose work is shared through a database, as a process of its own; the dead are noticed sooner than usual."""

from __future__ import annotations

import json
import sys

import limbeck
from limbeck.sweeps import shared_store

if __name__ == "__main__":
    shared_store.HEARTBEAT_SECONDS, shared_store.DEAD_AFTER_SECONDS = 0.3, 3.0
    shared_store.POLL_SECONDS = 0.2
    recipe, folder = json.loads(sys.argv[1]), sys.argv[2]
    print(limbeck.sweep(recipe, folder=folder, make_watcher=None).folder)
