"""YAML 1.2 read safely: plain data, and the line on which each value stands.

Built on the parser's events, so that nothing of YAML is open but words, numbers, lists, mappings and aliases:
no tags, no merge keys, no second document, and `no` is a word.
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

MOST_BYTES = 200_000
MOST_NODES = 10_000
DEEPEST = 20
MOST_DIGITS = 100

Path = tuple[str | int, ...]
Lines = dict[Path, int]

# The core schema of YAML 1.2, section 10.3.2; everything else is a word.
WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
WORDS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
WORDS |= dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan"))
WORDS |= {f"{sign}{word}": float(f"{sign}inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")}
WHOLE = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FRACTION = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class _Node:
    """A value before aliases are written out. content: a scalar, a list of nodes, or keys to (line, node)."""

    content: Any
    line: int


def parse(text: str, where: str) -> tuple[Any, Lines]:
    """YAML 1.2 text as dicts, lists and scalars, and the line (from 1) of each key and item.

    Raises LimbeckError, one line for each mistake: syntax, duplicate keys, tags, nests that are too large once
    aliases are written out.
    """
    plain, lines, slips = parse_with_slips(text, where)
    if slips:
        raise LimbeckError("\n".join(slips))
    return plain, lines


def parse_with_slips(text: str, where: str) -> tuple[Any, Lines, list[str]]:
    """The same, with the lines that tell what leaves the rest readable: duplicate keys, tags, unknown aliases.

    Raises LimbeckError where nothing is readable.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise LimbeckError(f"{where}: larger than {MOST_BYTES // 1000} kB, too large for a recipe")
    reader = _Reader(where)
    try:
        node = reader.document(iter(YAML(typ="safe", pure=True).parse(text)))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        problem = " ".join((error.problem or error.context or "not YAML").split())[:200]
        problem += "; indent with spaces" if "'\\t'" in problem else ""
        raise LimbeckError(f"{where}{line}: not readable as YAML: {problem}") from error
    except (YAMLError, ValueError, RecursionError, LookupError, TypeError, AttributeError, AssertionError) as error:
        # Half-broken documents make the parser itself stumble in many ways; a person needs to hear one thing.
        problem = " ".join(str(error).split())[:200]
        raise LimbeckError(f"{where}: not readable as YAML: {problem or type(error).__name__}") from error
    lines: Lines = {}
    plain = reader.plain(node, (), lines)
    return plain, lines, list(dict.fromkeys(reader.complaints))


class _Reader:
    def __init__(self, where: str) -> None:
        self.where = where
        self.complaints: list[str] = []
        self.anchors: dict[str, _Node] = {}
        self.count = 0

    def document(self, events: Iterator[Any]) -> _Node:
        """The one document of a file; an empty file is null."""
        node = _Node(None, 1)
        documents = 0
        for event in events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.complain(event, "a second document begins; a recipe is one")
                    break
                if event.version not in (None, (1, 2)):
                    self.complain(event, "a recipe is YAML 1.2")
            elif not isinstance(event, StreamStartEvent | StreamEndEvent | DocumentEndEvent):
                node = self.node(event, events, 0)
        return node

    def node(self, event: Any, events: Iterator[Any], depth: int) -> _Node:
        line = event.start_mark.line + 1
        self.count += 1
        if self.count > MOST_NODES or depth > DEEPEST:
            raise self.too_large(line)
        if isinstance(event, AliasEvent):
            if event.anchor not in self.anchors:
                self.complain(event, f"nothing before it is called &{event.anchor}")
                return _Node(None, line)
            return _Node(self.anchors[event.anchor].content, line)
        if event.tag is not None:
            self.complain(event, f"a recipe takes no tags; got {event.tag}")
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
        if event.anchor:  # only now: an alias inside its own anchor would have no end
            self.anchors[event.anchor] = node
        return node

    def mapping(self, events: Iterator[Any], depth: int) -> dict[str, tuple[int, _Node]]:
        found: dict[str, tuple[int, _Node]] = {}
        while not isinstance(key := next(events), MappingEndEvent):
            line = key.start_mark.line + 1
            if isinstance(key, ScalarEvent):
                name = key.value
                if key.tag is not None:
                    self.complain(key, f"a recipe takes no tags; got {key.tag}")
            else:
                self.complain(key, "a key is a word")
                self.node(key, events, depth + 1)
                name = ""
            value = self.node(next(events), events, depth + 1)
            if name in found:
                self.complain(key, f"{name}: stands here already in line {found[name][0]}")
            else:
                found[name] = (line, value)
        return found

    def scalar(self, event: ScalarEvent) -> Any:
        text: str = event.value
        if not event.implicit[0]:  # quoted, or a block of text
            return text
        if text in WORDS:
            return WORDS[text]
        if not WHOLE.fullmatch(text):
            return float(text) if FRACTION.fullmatch(text) else text
        if len(text) > MOST_DIGITS:
            self.complain(event, f"a number of {len(text)} digits")
            return 0
        base = {"0o": 8, "0x": 16}.get(text[:2])
        return int(text[2:], base) if base else int(text)

    def plain(self, node: _Node, path: Path, lines: Lines) -> Any:
        """Data that shares nothing, so that a change in one place is a change in one place."""
        self.count += 1
        if self.count > 2 * MOST_NODES or len(path) > DEEPEST:
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

    def complain(self, event: Any, message: str) -> None:
        said = message if len(message) <= 160 else f"{message[:159]}…"
        self.complaints.append(f"{self.where}:{event.start_mark.line + 1}: {said}")

    def too_large(self, line: int) -> LimbeckError:
        return LimbeckError(f"{self.where}:{line}: too large or too deep a nest for a recipe")
