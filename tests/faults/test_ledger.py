"""A row of trials can be gone on with after a kill, and counts each trial once."""

from __future__ import annotations

from pathlib import Path

from ledger import Ledger, Outcome


def test_what_is_written_is_counted_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "kills")
    assert ledger.outcomes() == []
    for number in (0, 2, 1):
        ledger.add(Outcome(number, 25, True, "seen", 0.5))
    ledger.add(Outcome(2, 25, False, "seen again, otherwise", 0.5))
    assert [(o.number, o.passed) for o in Ledger(tmp_path, "kills").outcomes()] == [(0, True), (1, True), (2, False)]


def test_a_line_that_was_cut_off_is_done_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "kills")
    ledger.add(Outcome(0, 1, True, "seen", 0.5))
    ledger.add(Outcome(1, 1, True, "seen", 0.5))
    ledger.path.write_bytes(ledger.path.read_bytes()[:-20])
    assert [o.number for o in ledger.outcomes()] == [0]
    ledger.add(Outcome(1, 1, True, "seen at last", 0.5))
    assert [(o.number, o.note) for o in ledger.outcomes()] == [(0, "seen"), (1, "seen at last")]
