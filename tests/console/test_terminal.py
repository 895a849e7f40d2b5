"""Long lines are broken for terminals, and nothing of them is lost."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from limbeck.commands.catalogue import listing
from limbeck.console.terminal import width_of, wrapped

words = st.lists(st.text("abc-_.", min_size=1, max_size=15), min_size=1, max_size=30)


@given(words, st.integers(0, 8), st.integers(25, 100))
def test_no_word_is_lost_and_no_line_is_too_long(parts: list[str], indent: int, width: int) -> None:
    line = " " * indent + " ".join(parts)
    lines = wrapped([line], width)
    assert " ".join(" ".join(lines).split()) == " ".join(parts)
    assert all(len(one) <= width for one in lines)
    assert all(one.startswith(" " * indent) for one in lines)


def test_elsewhere_a_line_stays_a_line() -> None:
    assert width_of(io.StringIO()) is None
    assert wrapped(["x " * 500], None) == ["x " * 500]
    assert wrapped([""], 80) == [""]


def test_lists_are_wrapped_at_the_terminal() -> None:
    for room in ("losses", "models", "data", "recipes"):
        for width in (60, 80, 120):
            assert all(len(line) <= width for line in listing(room, width))
            assert " ".join(" ".join(listing(room, width)).split()) == " ".join(" ".join(listing(room)).split())
