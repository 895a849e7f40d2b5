"""Proof by fault injection: every row of the table, counted.

    python tests/faults                  the counts of CI, from nothing
    python tests/faults --chaos          the large counts; begun again, it goes on where it was
    python tests/faults kills damage     some rows only

Each row breaks the real `limbeck run` in one way, or what it reads, and sees that what was promised holds. Trials are
written down one by one (FOLDER/ROW.jsonl); the table at the end counts them. Exit code 1 if one failed.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, which reads it once

import argparse
import hashlib
import importlib
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from ledger import Ledger, Outcome
from limbeck_process import import_everything
from rows import NotHere, Trials

ROWS = (
    "kills", "system-calls", "power-cuts", "full-disks", "damage", "two-processes", "signals", "omissions",
    "sweeps", "exports", "mutated-files", "recipes", "memory", "sabotage",
)  # fmt: skip
LONGEST = (
    "omissions", "sabotage", "signals", "sweeps", "system-calls", "mutated-files", "power-cuts", "exports", "memory",
)  # fmt: skip
"""Begun in this order, so that no process is left alone with a long row at the end."""
HERE = Path(__file__).resolve().parent
SECONDS_BETWEEN_LINES = 10.0
FAILURES_SHOWN = 5
NOT_HERE, DUE = ".not-here", ".due"
IMPOSSIBLE = "not possible here"


def main() -> int:
    """Run the rows asked for, in two processes beside each other, and print the table."""
    words = _words()
    with tempfile.TemporaryDirectory(prefix="limbeck-faults-") as scratch:
        folder = words.folder or (Path("build/chaos") / _sources() if words.chaos else Path(scratch) / "ledger")
        folder.mkdir(parents=True, exist_ok=True)
        rows = list(words.rows or ROWS)
        began = time.monotonic()
        longest_first = sorted(rows, key=lambda row: LONGEST.index(row) if row in LONGEST else len(LONGEST))
        children = [_worker(longest_first, words.chaos, folder, Path(scratch)) for _ in range(words.jobs)]
        died = [status for child in children if (status := os.waitpid(child, 0)[1])]
        return _table(rows, words.chaos, folder, time.monotonic() - began) or int(bool(died))


def _sources() -> str:
    """A name for the code under test: trials of other code prove nothing about this one."""
    import limbeck

    whole = hashlib.sha256()
    for root in (Path(limbeck.__file__).parent, HERE):
        for path in sorted(root.rglob("*.py")):
            whole.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return whole.hexdigest()[:12]


def _words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/faults", description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--chaos", action="store_true", help="the large counts; goes on where it was")
    parser.add_argument("--folder", type=Path, help="where trials are written down (chaos: build/chaos/, by sources)")
    parser.add_argument("--jobs", type=int, default=2, help="rows beside each other (2)")
    return parser.parse_args()


def _worker(rows: list[str], chaos: bool, folder: Path, scratch: Path) -> int:
    """A process that takes one row after another that no other has taken; each has a place of its own to break."""
    pid = os.fork()
    if pid:
        return pid
    os.environ["LIMBECK_CACHE"] = str(scratch / "cache")
    try:
        import_everything()
        for row in rows:
            try:
                (scratch / f"{row}.taken").touch(exist_ok=False)
            except FileExistsError:
                continue  # another process is at it, or has been
            place = scratch / row
            place.mkdir()
            _row(row, chaos, Ledger(folder, row), place)
            shutil.rmtree(place, ignore_errors=True)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _row(row: str, chaos: bool, ledger: Ledger, place: Path) -> None:
    module = importlib.import_module(f"row_{row.replace('-', '_')}")
    (ledger.path.with_suffix(NOT_HERE)).unlink(missing_ok=True)
    try:
        trials: Trials = module.prepare(place)
    except NotHere as reason:
        ledger.path.with_suffix(NOT_HERE).write_text(str(reason))
        return
    except Exception as error:
        ledger.add(Outcome(-1, 0, False, f"not prepared: {_first_line(error)}", 0.0))
        return
    count = trials.chaos if chaos else trials.ci
    ledger.path.with_suffix(DUE).write_text(str(count))
    done = {outcome.number for outcome in ledger.outcomes() if outcome.passed}
    said = time.monotonic()
    for number in range(-(-count // trials.each)):
        if number in done:
            continue
        began = time.monotonic()
        try:
            passed, note = True, trials.trial(number, random.Random(f"{row}/{number}"))
        except NotHere as reason:
            ledger.add(Outcome(number, trials.each, True, f"{IMPOSSIBLE}: {reason}", 0.0))
            continue
        except Exception as error:
            passed, note = False, _first_line(error)
            print(f"{row} {number}: FAILED: {note}", flush=True)
        ledger.add(Outcome(number, trials.each, passed, note, round(time.monotonic() - began, 3)))
        if time.monotonic() - said > SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            print(f"{row}: {(number + 1) * trials.each:,} of {count:,}", flush=True)


def _first_line(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} ({Path(place.filename).name}:{place.lineno}): {error}"[:1500]


def _table(rows: list[str], chaos: bool, folder: Path, seconds: float) -> int:
    """Print each row's count and verdict, and the sum; 1 if a trial failed or a row was not done."""
    passed = failed = impossible = 0
    print(f"\n{'row':<15}{'passed':>9}{'failed':>8}   what must hold")
    print("-" * 120)
    for row in rows:
        module = importlib.import_module(f"row_{row.replace('-', '_')}")
        ledger = Ledger(folder, row)
        missing = ledger.path.with_suffix(NOT_HERE)
        if missing.exists():
            print(f"{row:<15}{'-':>9}{'-':>8}   {IMPOSSIBLE}: {missing.read_text()}")
            impossible += 1
            continue
        outcomes = ledger.outcomes()
        skipped = sum(outcome.count for outcome in outcomes if outcome.note.startswith(IMPOSSIBLE))
        good = sum(outcome.count for outcome in outcomes if outcome.passed) - skipped
        bad = sum(max(1, outcome.count) for outcome in outcomes if not outcome.passed)
        due = ledger.path.with_suffix(DUE)
        bad += max(0, int(due.read_text()) - good - bad - skipped) if due.exists() else 1  # not done: a worker died
        passed, failed, impossible = passed + good, failed + bad, impossible + skipped
        print(f"{row:<15}{good:>9,}{bad:>8,}   {module.HOLDS}")
        for outcome in [outcome for outcome in outcomes if not outcome.passed][:FAILURES_SHOWN]:
            print(f"    trial {outcome.number}: {outcome.note}")
    kind, more = "chaos" if chaos else "ci", f", {impossible} {IMPOSSIBLE}" if impossible else ""
    print(f"\n{passed:,} passed, {failed:,} failed{more} ({kind}, {seconds / 60:.1f} minutes)")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
