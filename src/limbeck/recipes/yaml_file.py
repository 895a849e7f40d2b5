"""Read YAML 1.2 safely: plain data, and the line of each value.

Built on the parser's events, so that only strings, numbers, lists, mappings and aliases are accepted: no tags, no merge
keys, no second document, and `no` is a string.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from limbeck.errors import LimbeckError

from .fields import KeyPath

MAX_BYTES = 200_000
MAX_NODES = 10_000
MAX_DEPTH = 20
MAX_DIGITS = 100

Lines = dict[KeyPath, int]

# The core schema of YAML 1.2, section 10.3.2; everything else is a string.
CONSTANTS = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
CONSTANTS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
CONSTANTS |= dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan"))
CONSTANTS |= {f"{sign}{word}": float(f"{sign}inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")}
INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class _Node:
    """A value before aliases are expanded: a scalar, a list of nodes, or a mapping of keys to (line, node)."""

    content: Any
    line: int


def parse(text: str, where: str) -> tuple[Any, Lines]:
    """Parse YAML 1.2 into dicts, lists and scalars, and the line (from 1) of each key and item.

    Raises LimbeckError with one line for each error: syntax, duplicate keys, tags, too many or too deeply nested values
    once aliases are expanded.
    """
    plain, lines, errors = parse_with_errors(text, where)
    if errors:
        raise LimbeckError("\n".join(errors))
    return plain, lines


def parse_with_errors(text: str, where: str) -> tuple[Any, Lines, list[str]]:
    """Like `parse`, but return the errors that leave the rest readable: duplicate keys, tags, undefined aliases.

    Raises LimbeckError if nothing is readable.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise LimbeckError(f"{where}: larger than {MAX_BYTES // 1000} kB, the limit for a recipe")
    reader = _Reader(where)
    try:
        node = reader.document(iter(YAML(typ="safe", pure=True).parse(text)))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        problem = " ".join((error.problem or error.context or "syntax error").split())[:200]
        problem += "; indent with spaces" if "'\\t'" in problem else ""
        raise LimbeckError(f"{where}{line}: invalid YAML: {problem}") from error
    except (YAMLError, ValueError, RecursionError, LookupError, TypeError, AttributeError, AssertionError) as error:
        # Malformed documents make the parser itself fail in many ways.
        problem = " ".join(str(error).split())[:200]
        raise LimbeckError(f"{where}: invalid YAML: {problem or type(error).__name__}") from error
    lines: Lines = {}
    plain = reader.plain(node, (), lines)
    return plain, lines, list(dict.fromkeys(reader.errors))


class _Reader:
    def __init__(self, where: str) -> None:
        self.where = where
        self.errors: list[str] = []
        self.anchors: dict[str, _Node] = {}
        self.count = 0

    def document(self, events: Iterator[Any]) -> _Node:
        """The only document of a file; an empty file is null."""
        node = _Node(None, 1)
        documents = 0
        for event in events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.report(event, "a second document begins; a recipe has only one")
                    break
                if event.version not in (None, (1, 2)):
                    self.report(event, "unsupported version; a recipe is YAML 1.2")
            elif not isinstance(event, StreamStartEvent | StreamEndEvent | DocumentEndEvent):
                node = self.node(event, events, 0)
        return node

    def node(self, event: Any, events: Iterator[Any], depth: int) -> _Node:
        line = event.start_mark.line + 1
        self.count += 1
        if self.count > MAX_NODES or depth > MAX_DEPTH:
            raise self.too_large(line)
        if isinstance(event, AliasEvent):
            if event.anchor not in self.anchors:
                self.report(event, f"alias *{event.anchor} without a preceding &{event.anchor}")
                return _Node(None, line)
            return _Node(self.anchors[event.anchor].content, line)
        self.refuse_tag(event)
        if isinstance(event, ScalarEvent):
            node = _Node(self.scalar(event), line)
        elif isinstance(event, SequenceStartEvent):
            items = []
            while not isinstance(item := next(events), SequenceEndEvent):
                items.append(self.node(item, events, depth + 1))
            node = _Node(items, line)
        elif isinstance(event, MappingStartEvent):
            node = _Node(self.mapping(events, depth), line)
        else:
            raise YAMLError(f"unexpected {type(event).__name__}")
        if event.anchor:  # only now: an alias inside its own anchor would be infinite
            self.anchors[event.anchor] = node
        return node

    def mapping(self, events: Iterator[Any], depth: int) -> dict[str, tuple[int, _Node]]:
        items: dict[str, tuple[int, _Node]] = {}
        while not isinstance(key := next(events), MappingEndEvent):
            name = ""
            if isinstance(key, ScalarEvent):
                name = key.value
                self.refuse_tag(key)
            else:
                self.report(key, "a key must be a string")
                self.node(key, events, depth + 1)
            value = self.node(next(events), events, depth + 1)
            if name in items:
                self.report(key, f"{name}: duplicate key, first given in line {items[name][0]}")
            else:
                items[name] = (key.start_mark.line + 1, value)
        return items

    def scalar(self, event: ScalarEvent) -> Any:
        text: str = event.value
        if not event.implicit[0]:  # quoted, or a block of text
            return text
        if text in CONSTANTS:
            return CONSTANTS[text]
        if not INTEGER.fullmatch(text):
            return float(text) if FLOAT.fullmatch(text) else text
        if len(text) > MAX_DIGITS:
            self.report(event, f"a number of {len(text)} digits, more than {MAX_DIGITS}")
            return 0
        base = {"0o": 8, "0x": 16}.get(text[:2])
        return int(text[2:], base) if base else int(text)

    def plain(self, node: _Node, path: KeyPath, lines: Lines) -> Any:
        """Data without shared parts, so that a change in one place changes nothing else."""
        self.count += 1
        if self.count > 2 * MAX_NODES or len(path) > MAX_DEPTH:
            raise self.too_large(node.line)
        if isinstance(node.content, dict):
            for key, (line, _) in node.content.items():
                lines[(*path, key)] = line
            return {key: self.plain(value, (*path, key), lines) for key, (_, value) in node.content.items()}
        if isinstance(node.content, list):
            for index, item in enumerate(node.content):
                lines[(*path, index)] = item.line
            return [self.plain(item, (*path, index), lines) for index, item in enumerate(node.content)]
        return node.content

    def refuse_tag(self, event: Any) -> None:
        if event.tag is not None:
            self.report(event, f"tags are not allowed in a recipe; got {event.tag}")

    def report(self, event: Any, message: str) -> None:
        message = message if len(message) <= 160 else f"{message[:159]}…"
        self.errors.append(f"{self.where}:{event.start_mark.line + 1}: {message}")

    def too_large(self, line: int) -> LimbeckError:
        return LimbeckError(f"{self.where}:{line}: too large or too deeply nested for a recipe")
