"""Pages that follow from the code: recipe keys, losses, models, data sources, recipes and the Python API.

`conf.py` writes them to `docs/generated/` before each build, and hand-written pages include them. Nothing here is
written by hand twice: keys come from the typed recipe, options from signatures, descriptions from docstrings.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import limbeck
from limbeck.commands.catalogue import listing
from limbeck.recipes.load import shipped
from limbeck.recipes.recipe import Recipe
from limbeck.recipes.registry import NO_DEFAULT, Entry, entries, load

GROUPS = {"students": "ARM", "teachers": "ARM"}
"""Where an arm stands in the pages: teachers and students take the same keys."""
ATTRIBUTES = {
    "model", "input_format", "about", "class_names", "image_shape", "stored", "images", "labels"
}  # fmt: skip
"""What docstrings of classes describe although neither the signature nor an annotation names it."""
OPTIONS_ELSEWHERE = {
    "LossTerm": "Further keys are the options of the loss; see [Methods](methods.md).",
    "Data": "Further keys are the options of the source; see [Models and data](models-and-data.md#data-sources).",
    "NameWithOptions": "Further keys are the options of the model; see [Models and data](models-and-data.md#models).",
}


def pages() -> dict[str, str]:
    """The Markdown of every generated page, by file name."""
    return {
        "recipe-keys.md": recipe_keys(),
        "losses.md": losses(),
        "models.md": registry_table("models"),
        "data-sources.md": data_sources(),
        "shipped-recipes.md": shipped_recipes(),
        "api.md": api(),
    }


def write(folder: Path) -> None:
    """Write the pages into a folder. A file whose text has not changed is left alone, so that Sphinx can skip it."""
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


# Recipe keys


def recipe_keys() -> str:
    """A section with a table for every part of the typed recipe."""
    schema = Recipe.model_json_schema()
    parts = {"Recipe": schema, **schema["$defs"]}
    places = _places(parts)
    return "\n".join(line for name, place in places.items() for line in _section(name, place, parts, places))


def _places(parts: Mapping[str, Any]) -> dict[str, str]:
    """Where each part first stands in a recipe, as `views.crop`; parents come before their children."""
    places: dict[str, str] = {}

    def visit(name: str, place: str) -> None:
        if name in places:
            return
        places[name] = place
        for key, about in parts[name]["properties"].items():
            for child in dict.fromkeys(_references(about)):
                here = ".".join(filter(None, (place, GROUPS.get(key, key))))
                fixed = parts[child]["properties"].get("name", {}).get("const")
                visit(child, f"{here}: {{name: {fixed}}}" if fixed else here)

    visit("Recipe", "")
    return places


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"].rpartition("/")[2]
        for key, value in node.items():
            if key != "discriminator":
                yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def _section(name: str, place: str, parts: Mapping[str, Any], places: Mapping[str, str]) -> list[str]:
    part = parts[name]
    heading = f"`{place}`" if place else "The recipe"
    required = part.get("required", [])
    rows = [
        [
            f"`{key}`",
            _kind(about, places),
            "**required**" if key in required or "const" in about else _default(about),
            _escaped(_one_line(about.get("description", ""))),
        ]
        for key, about in part["properties"].items()
    ]
    return [
        f"({_anchor(name)})=",
        "",
        f"### {heading}",
        "",
        *([_escaped(_one_line(part["description"])), ""] if part.get("description") else []),
        *([OPTIONS_ELSEWHERE[name], ""] if name in OPTIONS_ELSEWHERE else []),
        *_table(["key", "takes", "default", "meaning"], rows),
        "",
    ]


def _anchor(name: str) -> str:
    return f"recipe-{name.lower()}"


def _kind(about: Mapping[str, Any], places: Mapping[str, str]) -> str:
    """What a key takes, in words, with its range."""
    if "$ref" in about:
        name = about["$ref"].rpartition("/")[2]
        place = places[name]
        shown = place if "{" not in place else place[place.index("{") :]
        return f"[`{shown}`](#{_anchor(name)})"
    for union in ("anyOf", "oneOf"):
        if union in about:
            kinds = [_kind(kind, places) for kind in about[union] if kind.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    if "const" in about:
        return f"`{about['const']}`"
    if "enum" in about:
        return ", ".join(f"`{word}`" for word in about["enum"])
    match about.get("type"):
        case "array" if "prefixItems" in about:
            kinds = [_kind(item, places) for item in about["prefixItems"]]
            return f"{len(kinds)} values: {kinds[0]}" if len(set(kinds)) == 1 else f"[{', '.join(kinds)}]"
        case "array":
            items = about.get("items") or {}
            return f"list of: {_kind(items, places)}" if items else "list"
        case "object":
            values = about.get("additionalProperties")
            return f"name: {_kind(values, places)}" if isinstance(values, dict) and values else "mapping"
        case "integer":
            return " ".join(filter(None, ("whole number", _range(about))))
        case "number":
            return " ".join(filter(None, ("number", _range(about))))
        case "boolean":
            return "true or false"
        case "string":
            return "text"
        case _:
            return "any value"


def _range(about: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": "\\>", "exclusiveMaximum": "\\<", "maximum": "≤"}
    bounds = [(sign, about[key]) for key, sign in signs.items() if key in about]
    return " and ".join(f"{sign} {_number(value)}" for sign, value in bounds)


def _number(value: float) -> str:
    return "2⁶³" if value == 2**63 else f"{value:,}"


def _default(about: Mapping[str, Any]) -> str:
    value = about.get("default")
    if value is None or value == []:
        return "–"
    if isinstance(value, list):
        return f"`[{', '.join(f'{v:.4g}' if isinstance(v, float) else str(v) for v in value)}]`"
    if isinstance(value, dict):
        return f"`{{name: {value['name']}}}`" if value.get("name") else "as below"
    return f"`{json.dumps(value)}`" if not isinstance(value, str) else f"`{value}`"


# Losses, models, data sources, recipes


def losses() -> str:
    """A section for every loss: its docstring and its options."""
    lines: list[str] = []
    for entry in entries("losses").values():
        function = load(entry)
        lines += [f"### `{entry.name}`", "", *_prose(function), ""]
        lines += ["Needs a teacher." if entry.needs_teacher else "Needs no teacher.", ""]
        if entry.needs_features:
            lines[-2] += " Compares features, so it needs models that return them."
        lines += _options(entry)
    return "\n".join(lines)


def _options(entry: Entry) -> list[str]:
    rows = [[f"`{n}`", "**required**" if d == NO_DEFAULT else f"`{d}`"] for n, d in entry.options.items()]
    return [*_table(["option", "default"], rows), ""] if rows else []


def data_sources() -> str:
    """A section for every data source."""
    lines: list[str] = []
    for entry in entries("data").values():
        written = f"{entry.name}:{entry.argument.upper()}" if entry.argument else entry.name
        lines += [f"### `{written}`", "", *_prose(load(entry)), "", *_options(entry)]
    return "\n".join(lines)


def registry_table(room: str) -> str:
    """One row for every name."""
    rows = [
        [
            f"`{entry.name}:{entry.argument.upper()}`" if entry.argument else f"`{entry.name}`",
            _escaped(entry.summary),
            ", ".join(f"`{name}={default}`" for name, default in entry.options.items())
            + (", any option of its constructor" if entry.open_options else ""),
        ]
        for entry in entries(room).values()
    ]
    return "\n".join([*_table(["name", "what it is", "options and defaults"], rows), ""])


def shipped_recipes() -> str:
    """One row for every shipped recipe."""
    summaries = {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in listing("recipes")}
    rows = [[f"`{name}`", _escaped(summaries[name])] for name in shipped()]
    return "\n".join([*_table(["name", "what it is"], rows), ""])


# Python API


def api() -> str:
    """An entry for everything that `import limbeck` exports: functions first, then classes."""
    things = [(name, getattr(limbeck, name)) for name in limbeck.__all__]
    functions = [(name, thing) for name, thing in things if inspect.isfunction(thing)]
    classes = [(name, thing) for name, thing in things if inspect.isclass(thing)]
    modules = [(name, thing) for name, thing in things if inspect.ismodule(thing)]
    lines = ["## Functions", ""]
    for name, function in functions:
        lines += _described("function", f"limbeck.{name}{_signature(function)}", function, 4)
    lines += ["## Classes", ""]
    for name, cls in classes:
        lines += _class(name, cls)
    for name, module in modules:
        lines += [f"## `limbeck.{name}`", "", *_prose(module), ""]
        for member in module.__all__:
            function = getattr(module, member)
            summary = (inspect.getdoc(function) or "").splitlines()[0]
            lines += [
                f"````{{py:function}} limbeck.{name}.{member}{_signature(function)}",
                f"{_escaped(summary)} See [Methods](methods.md#{member.replace('_', '-')}).",
                "````",
                "",
            ]
    return "\n".join(lines)


def _class(name: str, cls: type) -> list[str]:
    try:
        signature = _signature(cls)
    except ValueError:
        signature = ""
    body: list[str] = []
    for member, thing in _members(cls):
        if isinstance(thing, property):
            body += _described("property", member, thing.fget, 4)
        elif isinstance(thing, classmethod | staticmethod):
            kind = "classmethod" if isinstance(thing, classmethod) else "staticmethod"
            body += _described("method", f"{member}{_signature(getattr(cls, member))}", thing.__func__, 4, f":{kind}:")
        else:
            body += _described("method", f"{member}{_signature(thing, bound=True)}", thing, 4)
    return [f"``````{{py:class}} limbeck.{name}{signature}", *_prose(cls), "", *body, "``````", ""]


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties that Limbeck itself documents."""
    seen: set[str] = set()
    for base in cls.__mro__:
        if not base.__module__.startswith("limbeck"):
            continue
        for name, thing in vars(base).items():
            inner = thing.fget if isinstance(thing, property) else getattr(thing, "__func__", thing)
            if name.startswith("_") or name in seen or not inspect.isfunction(inner) or not inspect.getdoc(inner):
                continue
            seen.add(name)
            yield name, thing


def _described(kind: str, signature: str, function: Any, ticks: int, option: str = "") -> list[str]:
    fence = "`" * ticks
    head = [f"{fence}{{py:{kind}}} {signature}", *([option] if option else [])]
    return [*head, *_prose(function), fence, ""]


def _signature(thing: Any, *, bound: bool = False) -> str:
    """A signature as it is written. Defaults that are no literals are shown as `...`."""
    signature = inspect.signature(thing)
    shown: list[str] = []
    kind = None
    for parameter in list(signature.parameters.values())[int(bound) :]:
        if parameter.kind is parameter.KEYWORD_ONLY and kind not in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL):
            shown.append("*")
        kind = parameter.kind
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(kind, "")
        text = f"{stars}{parameter.name}"
        if isinstance(parameter.annotation, str):
            text += f": {parameter.annotation}"
        if parameter.default is not parameter.empty:
            literal = isinstance(parameter.default, str | int | float | bool | tuple | None)
            text += f" = {parameter.default!r}" if literal else " = ..."
        shown.append(text)
    returns = signature.return_annotation
    return f"({', '.join(shown)})" + (f" -> {returns}" if isinstance(returns, str) and returns != "None" else "")


# Text


def _prose(thing: Any) -> list[str]:
    """A docstring as Markdown: `name: …` about a parameter or a field begins an item of a list."""
    known = _names(thing)
    lines: list[str] = []
    for paragraph in (inspect.getdoc(thing) or "").split("\n\n"):
        inside = False
        for raw in _one_item_a_line(paragraph, known):
            line = _escaped(raw.strip())
            about = re.match(r"([\w, ]+): (.+)", line)
            if about and set(about[1].split(", ")) <= known:
                lines += ([] if inside else [""]) + [f"- **{about[1]}**: {about[2]}"]
                inside = True
            elif re.match(r"(Raises|Returns|Source:) ?", line):
                lines += ["", line]
                inside = False
            else:
                lines.append(f"  {line}" if inside else line)
        lines.append("")
    return lines[:-1]


def _names(thing: Any) -> set[str]:
    """What a docstring may describe: parameters, fields and attributes."""
    try:
        parameters = set(inspect.signature(thing).parameters)
    except (TypeError, ValueError):
        parameters = set()
    return parameters | set(getattr(thing, "__annotations__", ())) | ATTRIBUTES


def _one_item_a_line(paragraph: str, known: set[str]) -> list[str]:
    """The lines of a paragraph, broken where the next parameter begins in the middle of one."""
    parts = re.split(r"(?<=\.)\s+(?=((?:\w+, )*\w+): )", paragraph)
    text = parts[0]
    for names, rest in zip(parts[1::2], parts[2::2], strict=True):
        text += ("\n" if set(names.split(", ")) <= known else " ") + rest
    return text.splitlines()


def _escaped(text: str) -> str:
    """Text in which `*`, `<`, `|` and `[` outside of backticks mean themselves."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([*<|\[])", r"\\\1", part) for part in parts)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    def row(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cell or ' ' for cell in cells)} |"

    return [row(head), row("---" for _ in head), *map(row, rows)]
