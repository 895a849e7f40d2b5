"""YAML read safely: plain data, and the line on which each value stands."""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from .errors import LimbeckError

MOST_BYTES = 1_000_000
MOST_NODES = 20_000
DEEPEST = 20

Path = tuple[str | int, ...]
Lines = dict[Path, int]


def parse(text: str, where: str) -> tuple[Any, Lines]:
    """YAML 1.2 text as dicts, lists and scalars, and the line (from 1) of each key and item.

    Raises LimbeckError with the line: syntax, duplicate keys, tags, keys that are no words, nests that are too
    large once aliases are written out.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise LimbeckError(f"{where}: larger than {MOST_BYTES // 1000} kB, too large for a recipe")
    try:
        tree = YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        problem = " ".join((error.problem or error.context or "not YAML").split())
        raise LimbeckError(f"{where}{line}: not readable as YAML: {problem}") from error
    except (YAMLError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        # Half-broken documents make the parser itself stumble in many ways; a person needs to hear one thing.
        problem = " ".join(str(error).split())[:200]
        raise LimbeckError(f"{where}: not readable as YAML: {problem or type(error).__name__}") from error
    lines: Lines = {}
    count = [0]
    return _plain(tree, (), lines, where, count), lines


def _plain(node: Any, path: Path, lines: Lines, where: str, count: list[int]) -> Any:
    count[0] += 1
    here = f"{where}:{lines.get(path, 1)}: {'.'.join(map(str, path)) or 'the file'}"
    if count[0] > MOST_NODES or len(path) > DEEPEST:
        raise LimbeckError(f"{here}: too large or too deep a nest for a recipe")
    tag = getattr(getattr(node, "tag", None), "value", None)
    if tag:
        raise LimbeckError(f"{here}: a recipe takes no tags; got {tag}")
    if isinstance(node, CommentedMap):
        result = {}
        for name, value in node.items():
            if not isinstance(name, str):
                raise LimbeckError(f"{here}: keys are words; got {name!r}")
            position = node.lc.data.get(name) if node.lc.data else None
            lines[(*path, str(name))] = position[0] + 1 if position else lines.get(path, 1)
            result[str(name)] = _plain(value, (*path, str(name)), lines, where, count)
        return result
    if isinstance(node, CommentedSeq):
        items = []
        for index, value in enumerate(node):
            position = node.lc.data.get(index) if node.lc.data else None
            lines[(*path, index)] = position[0] + 1 if position else lines.get(path, 1)
            items.append(_plain(value, (*path, index), lines, where, count))
        return items
    if node is None or isinstance(node, bool):
        return node
    for kind in (bool, int, float, str):  # the parser's own number classes become plain ones
        if isinstance(node, kind):
            return kind(node)
    if type(node).__name__ == "ScalarBoolean":
        return bool(node)
    raise LimbeckError(f"{here}: a recipe takes words, numbers, lists and mappings; got {node!r}")
