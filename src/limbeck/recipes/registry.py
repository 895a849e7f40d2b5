"""The folder is the registry: which names there are, and which options each takes.

Names are read from file names and options from signatures by parsing the source, never by importing it,
so that a list costs no torch and a recipe can be checked before anything heavy is loaded.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from limbeck.errors import LimbeckError, did_you_mean
from limbeck.recipes.checks.foreign_model_names import elsewhere
from limbeck.synonyms import NOT_HERE, simplified

PACKAGE = Path(__file__).resolve().parents[1]
NO_DEFAULT = "required"
Hint = Callable[[str, Iterable[str]], str]


@dataclass(frozen=True)
class Entry:
    """One name of a room: the file it lives in, its line of description and its options.

    options: name to the source text of the default (`NO_DEFAULT` where a value must be given).
    argument: the name of the value after a colon (`folder:PATH`), or None.
    preset: options that the name itself sets (`resnet20` is `resnet` with `depth` 20).
    open_options: whether it hands further options on, to be checked by who takes them.
    annotations: the source text of each option's annotation, where it has one.
    needs_teacher: of a loss, unless its file says `NEEDS_TEACHER = False`.
    needs_features: of a loss whose file says `NEEDS_FEATURES = True`: it compares more than logits.
    """

    name: str
    room: str
    file: str
    summary: str
    options: Mapping[str, str]
    argument: str | None
    preset: Mapping[str, Any]
    needs_teacher: bool = True
    needs_features: bool = False
    annotations: Mapping[str, str] = field(default_factory=dict)
    open_options: bool = False


FUNCTION = {"losses": None, "models": "build", "data": "build"}  # None: the function has the file's name
FOLDER = {"data": "data/sources"}  # where the files of a room lie, if not in the room itself
FIXED = {"losses": ("student", "teacher", "targets", "state"), "models": ("num_classes",), "data": ()}


@functools.cache
def entries(room: str) -> Mapping[str, Entry]:
    """Every name of `losses`, `models` or `data`, in alphabetical order."""
    found: dict[str, Entry] = {}
    for path in sorted((PACKAGE / FOLDER.get(room, room)).glob("*.py")):
        for entry in _read(room, path):
            found[entry.name] = entry
    return MappingProxyType(dict(sorted(found.items())))


def _read(room: str, path: Path) -> list[Entry]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wanted = FUNCTION[room] or path.stem
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == wanted:
            break
    else:
        return []  # a file without the function is a part of the room, not a name in it
    arguments = node.args
    positional = [a.arg for a in arguments.posonlyargs + arguments.args]
    extra = [a for a in positional if a not in FIXED[room]]
    options = {
        a.arg: NO_DEFAULT if default is None else ast.unparse(default)
        for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if a.arg not in FIXED[room]
    }
    summary = ((ast.get_docstring(node) or ast.get_docstring(tree) or "").splitlines() or [""])[0].rstrip(".")
    needs_teacher = bool(_literal(tree, "NEEDS_TEACHER", True))
    needs_features = bool(_literal(tree, "NEEDS_FEATURES", False))
    argument = extra[0] if extra else None
    annotations = {a.arg: ast.unparse(a.annotation) for a in arguments.kwonlyargs if a.annotation is not None}
    plain = Entry(
        path.stem, room, path.stem, summary, options, argument, {}, needs_teacher, needs_features, annotations,
        open_options=arguments.kwarg is not None,
    )  # fmt: skip
    sizes = _literal(tree, "SIZES", {})
    named = [
        Entry(name, room, path.stem, f"{summary} ({', '.join(f'{k} {v}' for k, v in preset.items())})",
              {k: v for k, v in options.items() if k not in preset}, plain.argument, preset,
              annotations=annotations, open_options=plain.open_options)
        for name, preset in sizes.items()
    ]  # fmt: skip
    return [plain, *named]


def _literal(tree: ast.Module, name: str, default: Any) -> Any:
    """The value of a constant of the file, such as `SIZES = {"resnet20": {"depth": 20}, …}`."""
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and target.id == name and value is not None:
            return ast.literal_eval(value)
    return default


def split_name(name: str) -> tuple[str, str | None]:
    """`"folder:photos"` to `("folder", "photos")`, `"digits"` to `("digits", None)`."""
    head, colon, tail = name.partition(":")
    return head, tail if colon else None


def find(room: str, name: str, extra: Mapping[str, Callable[..., Any]] = MappingProxyType({})) -> Entry:
    """The entry of a name; `extra` holds the functions that a caller from Python brings.

    Raises LimbeckError that names the nearest word.
    """
    head, argument = split_name(name)
    if head in extra:
        return entry_of_function(room, head, extra[head])
    known = entries(room)
    if head not in known:
        kind = {"losses": "loss", "models": "model", "data": "data source"}[room]
        raise LimbeckError(f"no {kind} called {head!r}{_hint(room, head, [*known, *extra])}")
    entry = known[head]
    if entry.argument and not argument:
        raise LimbeckError(f"{head!r} needs a {entry.argument} after a colon, as in {head}:{entry.argument.upper()}")
    if argument is not None and not entry.argument:
        raise LimbeckError(f"{head!r} takes nothing after a colon; got {argument!r}")
    return entry


def _hint(room: str, name: str, known: Iterable[str]) -> str:
    """What a person probably meant by a name that is not there."""
    here = [word for word in known if simplified(word) == simplified(name)]
    if room == "models" and (there := [*here, *elsewhere(name)]):
        return f"; did you mean {' or '.join(map(repr, there))}?"
    own = "images of your own are read by folder:PATH or parquet:PATH"
    if room == "data" and simplified(name) in NOT_HERE:
        return f"; Limbeck does not bring it: {own}"
    hint = did_you_mean(name, known)
    return hint if room != "data" or "did you mean" in hint else f"{hint}; {own}"


def entry_of_function(room: str, name: str, function: Callable[..., Any]) -> Entry:
    """The same for a function that was handed in from Python."""
    options = {
        p.name: NO_DEFAULT if p.default is p.empty else repr(p.default)
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.name not in FIXED[room]
    }
    summary = (inspect.getdoc(function) or name).splitlines()[0]
    needs_teacher = bool(getattr(function, "NEEDS_TEACHER", room == "losses"))
    needs_features = bool(getattr(function, "NEEDS_FEATURES", False))
    further = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())
    return Entry(name, room, name, summary, options, None, {}, needs_teacher, needs_features, open_options=further)


def check_options(
    entry: Entry, options: Mapping[str, Any], also: Iterable[str] = (), hint: Hint = did_you_mean
) -> list[tuple[str, str]]:
    """What is wrong with the options of a name, as pairs (option, complaint).

    also: other words that may stand in the same place, for the nearest valid one. hint: what is said of a word that
    is no option, given the valid ones.
    """
    valid = [*entry.options, *also]
    wrong = [
        (name, f"{entry.name!r} has no option {name!r}{hint(name, valid) or '; it takes none'}")
        for name in options
        if name not in entry.options and not entry.open_options
    ]
    handed_on = [name for name in options if name not in entry.options] if entry.open_options else []
    wrong += [(name, "follows from the data; leave it out") for name in handed_on if name in FIXED[entry.room]]
    wrong += [
        (name, f"takes finite numbers; got {options[name]!r}") for name in handed_on if not _finite(options[name])
    ]
    wrong += [
        (name, complaint)
        for name, value in options.items()
        if name in entry.options
        and (complaint := _of_another_kind(value, entry.options[name], entry.annotations.get(name, "")))
    ]
    wrong += [
        (name, f"{entry.name!r} needs a value for {name!r}")
        for name, default in entry.options.items()
        if default == NO_DEFAULT and name not in options
    ]
    return wrong


def check_unplaced_options(
    room: str,
    options: Mapping[str, Any],
    extra: Mapping[str, Callable[..., Any]] = MappingProxyType({}),
    also: Iterable[str] = (),
    hint: Hint = did_you_mean,
) -> list[tuple[str, str]]:
    """What is wrong with the options of a name that is not there, whichever name was meant: pairs as above."""
    known = [*entries(room).values(), *(entry_of_function(room, name, extra[name]) for name in extra)]
    valid = {option for entry in known for option in entry.options}.union(also)
    return [
        (name, f"nothing in {room} has an option {name!r}{hint(name, valid)}") for name in options if name not in valid
    ]


KINDS: dict[str, tuple[Any, str]] = {
    "bool": (bool, "true or false"),
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "str": (str, "a word"),
    "tuple": ((list, tuple), "a list"),
}


def _of_another_kind(value: object, default: str, annotation: str) -> str | None:
    """A complaint where a value is of another kind than the default it replaces, or than its annotation."""
    if not _finite(value):
        return f"takes finite numbers; got {value!r}"
    try:
        usual = type(ast.literal_eval(default)).__name__
    except (ValueError, SyntaxError):
        return None
    if usual in KINDS:
        return None if _is(value, usual) else f"takes {KINDS[usual][1]}, as its default {default}; got {value!r}"
    names = [name.strip().split("[")[0] for name in annotation.split(" | ")] if usual == "NoneType" else []
    named = [name for name in names if name != "None"]
    if value is None or not named or not all(name in KINDS for name in named):
        return None
    fits = any(_is(value, name) for name in named)
    return None if fits else f"takes {' or '.join(KINDS[name][1] for name in named)}; got {value!r}"


def _is(value: object, kind: str) -> bool:
    return isinstance(value, bool) == (kind == "bool") and isinstance(value, KINDS[kind][0])


def _finite(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def load(entry: Entry, extra: Mapping[str, Callable[..., Any]] = MappingProxyType({})) -> Callable[..., Any]:
    """The function itself, imported now. Options of a named size are bound."""
    if entry.name in extra:
        return extra[entry.name]
    folder = FOLDER.get(entry.room, entry.room).replace("/", ".")
    module = importlib.import_module(f"limbeck.{folder}.{entry.file}")
    function = getattr(module, FUNCTION[entry.room] or entry.file)
    return functools.partial(function, **entry.preset) if entry.preset else function


def load_state(entry: Entry, extra: Mapping[str, Callable[..., Any]] = MappingProxyType({})) -> Any:
    """The `state` function beside a loss: of its file, or the attribute of a function from Python. None without one."""
    if entry.name in extra:
        return getattr(extra[entry.name], "state", None)
    return getattr(importlib.import_module(f"limbeck.losses.{entry.file}"), "state", None)
