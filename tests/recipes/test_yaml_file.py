"""YAML 1.2 is read as its core schema says, and nothing but plain data comes out of it."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.errors import LimbeckError
from limbeck.recipes.yaml_file import MAX_DEPTH, MAX_NODES, parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # YAML 1.2.2, section 10.3.2
        ("1e-3", 1e-3), ("1E5", 1e5), (".5", 0.5), ("1.", 1.0), ("-1.5e+3", -1500.0), ("+12", 12), ("-0", 0),
        ("010", 10), ("0o10", 8), ("0xfF", 255), ("true", True), ("FALSE", False), ("null", None),
        ("~", None), ("", None),
        (".inf", math.inf), ("-.INF", -math.inf), ("+.inf", math.inf),
        # words, whatever YAML 1.1 made of them
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("y", "y"), ("1_000", "1_000"), 
        ("1:20", "1:20"), ("2020-01-01", "2020-01-01"),
        ("=", "="), ("1e", "1e"), ("e3", "e3"), (".", "."), ("-", [None]), 
        ("tRue", "tRue"), ("nan", "nan"), ("0b1", "0b1"), ("1 2", "1 2"),
        ("'1'", "1"), ('"true"', "true"), ("'~'", "~"), ("''", ""), ("|\n  a\n  b\n", "a\nb\n"),
        (">-\n  1\n  2\n", "1 2"),
        ("²", "²"), ("१", "१"),
        ("[1, [], {}]", [1, [], {}]), ("{a: , b: [~]}", {"a": None, "b": [None]}),
        ("1: {true: a}", {"1": {"true": "a"}}),
    ],
)  # fmt: skip
def test_values(text: str, value: object) -> None:
    found, _ = parse(text, "f")
    assert found == value
    assert type(found) is type(value)


def test_not_a_number() -> None:
    assert math.isnan(parse(".nan", "f")[0])


def test_lines() -> None:
    text = "# comment\na: 1\n\nb:\n  - x\n  - c: {d: 1,\n         e: 2}\n  - [1,\n\n     2]\n"
    _, lines = parse(text, "f")
    assert lines == {
        ("a",): 2, ("b",): 4, ("b", 0): 5, ("b", 1): 6, ("b", 1, "c"): 6, ("b", 1, "c", "d"): 6, ("b", 1, "c", "e"): 7,
        ("b", 2): 8, ("b", 2, 0): 8, ("b", 2, 1): 10,
    }  # fmt: skip


def test_an_alias_is_a_copy_of_its_own() -> None:
    tree, lines = parse("a: &x {b: [1]}\nc: *x\nd:\n- *x\n", "f")
    assert tree == {"a": {"b": [1]}, "c": {"b": [1]}, "d": [{"b": [1]}]}
    tree["a"]["b"].append(2)
    assert tree["c"] == {"b": [1]}
    assert (lines["c",], lines["c", "b"], lines["d", 0]) == (2, 1, 4)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", ["f:3: a: duplicate key, first given in line 1"]),
        ("x: {a: 1,\n a: 2}\ny: {b: 1, 'b': 2}", [
            "f:2: a: duplicate key, first given in line 1", "f:3: b: duplicate key, first given in line 3"]),
        ("1: a\n'1': b\n", ["f:2: 1: duplicate key, first given in line 1"]),
        ("a: !!python/object/apply:os.system [ls]\nb: !foo\n  c: 1\nd: !!int 1\n", [
            "f:1: tags are not allowed in a recipe; got tag:yaml.org,2002:python/object/apply:os.system",
            "f:2: tags are not allowed in a recipe; got !foo",
            "f:4: tags are not allowed in a recipe; got tag:yaml.org,2002:int"]),
        ("!x a: 1\n", ["f:1: tags are not allowed in a recipe; got !x"]),
        ("a: *b\n", ["f:1: alias *b without a preceding &b"]),
        ("a: &b [*b]\n", ["f:1: alias *b without a preceding &b"]),
        ("a: &b\n  c: *b\n", ["f:2: alias *b without a preceding &b"]),
        ("a: 1\n---\nb: 2\n", ["f:2: a second document begins; a recipe has only one"]),
        ("%YAML 1.1\n---\na: no\n", ["f:2: unsupported version; a recipe is YAML 1.2"]),
        ("? [a]\n: 1\n", ["f:1: a key must be a string"]),
        ("a: " + "9" * 5000, ["f:1: a number of 5000 digits, more than 100"]),
    ],
)  # fmt: skip
def test_what_is_not_plain_is_refused(text: str, told: list[str]) -> None:
    with pytest.raises(LimbeckError) as caught:
        parse(text, "f")
    assert str(caught.value).split("\n") == told


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{c}: &{c} [{','.join([f'*{p}'] * 10)}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "[" * 100_000,
        "{a: " * 50_000,
        "- " * 50_000,
        "".join(" " * level + "a:\n" for level in range(500)),
        "- a\n" * (MAX_NODES + 1),
        "&a [" + "*a, " * 50_000,
        "? " * 50_000,
        "!" * 50_000,
        "a: " + '"' + "\\" * 50_001 + '"',
        "'" * 100_001,
        "# " * 90_000,
        "a " * 90_000,
        "%" * 1000,
    ],
    ids=lambda text: repr(text[:8]),
)
def test_what_is_too_large_ends_at_once(text: str) -> None:
    began = time.process_time()
    try:
        parse(text, "f")
        told = ""
    except LimbeckError as error:
        told = str(error)
    assert len(told) < 1000
    assert time.process_time() - began < 2.0


def test_the_limits_are_wide_enough_for_a_recipe() -> None:
    nest = "[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH
    found, _ = parse(nest, "f")
    for _ in range(MAX_DEPTH):
        (found,) = found
    assert found == 1
    assert len(parse("- a\n" * (MAX_NODES - 1), "f")[0]) == MAX_NODES - 1


words = st.text(max_size=12)
scalars = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | words
trees = st.recursive(scalars, lambda t: st.lists(t, max_size=4) | st.dictionaries(words, t, max_size=4), max_leaves=12)


def written(value: Any) -> str:
    """Flow YAML by the book, for values that hold anything."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{written(str(k))}: {written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, str):
        codes = ((f"\\U{ord(c):08x}" if c in '"\\' or not c.isprintable() else c) for c in value)
        return '"' + "".join(codes) + '"'
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value).replace("inf", ".inf")


@settings(deadline=None)
@given(trees)
def test_what_is_written_is_read(tree: Any) -> None:
    found, _ = parse(written(tree), "f")
    assert repr(found) == repr(tree)


@settings(deadline=None)
@given(st.text(st.sampled_from("ab1.:-{}[]&*!|>'\"%#?,~ \n\t<=\\\ue000\x07"), max_size=60) | st.text(max_size=60))
def test_any_text_gives_data_or_one_clear_error(text: str) -> None:
    try:
        found, lines = parse(text, "f")
        told = "f:"
    except LimbeckError as error:
        found, lines, told = None, {}, str(error)
    assert all(line.startswith("f:") for line in told.split("\n"))
    assert isinstance(found, None | bool | int | float | str | list | dict)
    assert all(1 <= line <= 1 + sum(text.count(c) for c in "\n\r\x85\u2028\u2029") for line in lines.values())
