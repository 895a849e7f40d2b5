"""How much memory this process may still take: of the machine, and of the container that it runs in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

V2 = ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")
V1 = ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def free_memory(root: Path = Path("/")) -> int:
    """Bytes: the smallest of what the kernel calls available and what each control group above us leaves.

    root: where `proc` and `sys` lie. Where nothing is said (other systems): half of the machine's memory.
    """
    known = [*_left_by_groups(root)]
    with contextlib.suppress(OSError, LookupError, ValueError):
        known.append(kernel_says(root / "proc/meminfo", "MemAvailable"))
    return min(known) if known else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def kernel_says(path: Path, what: str) -> int:
    """Bytes of one line of a file of the kernel's. Raises LookupError where it is not there, OSError without a file."""
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(what)


def _left_by_groups(root: Path) -> Iterator[int]:
    """What every control group that this process is in leaves of its limit."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        version = V2 if number == "0" and not controllers else V1 if "memory" in controllers.split(",") else None
        if version is None:
            continue
        mounted, limit, used, droppable = version
        own = PurePosixPath(name.lstrip("/"))
        for group in (own, *own.parents):  # a limit of any group above counts too; "." is the top
            with contextlib.suppress(OSError, ValueError):
                folder = root / mounted / group
                most = int((folder / limit).read_text(encoding="ascii"))  # "max": no limit here
                yield max(0, most - int((folder / used).read_text(encoding="ascii")) + _droppable(folder, droppable))


def _droppable(folder: Path, what: str) -> int:
    """Bytes of files that the kernel keeps in memory and would let go of first."""
    with contextlib.suppress(OSError, ValueError):
        for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{what} "):
                return int(line.split()[1])
    return 0
