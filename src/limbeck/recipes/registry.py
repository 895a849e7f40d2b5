"""The folder is the registry: which losses, models and data sources exist, and which options each takes.

Names come from file names and options from signatures, by parsing the source and never by importing it. So listing them
does not import torch, and a recipe can be checked before anything heavy is loaded.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from limbeck.errors import LimbeckError, did_you_mean
from limbeck.synonyms import NOT_INCLUDED, simplified

PACKAGE = Path(__file__).resolve().parents[1]
SINGULAR = {"losses": "loss", "models": "model", "data": "data source"}
FUNCTION = {"losses": None, "models": "build", "data": "build"}  # None: the function has the file's name
FOLDER = {"data": "data/sources"}  # the folder of a category, if it has another name
# Parameters that Limbeck passes itself; all other keyword-only parameters are options.
FIXED = {"losses": ("student", "teacher", "targets", "state"), "models": ("num_classes",), "data": ()}
NO_DEFAULT = "required"
NOTHING: Mapping[str, Any] = MappingProxyType({})
Hint = Callable[[str, Iterable[str]], str]
"""From an unknown option and the valid ones to what the message adds."""


@dataclass(frozen=True)
class Entry:
    """One loss, model or data source.

    Attributes:
        name: as in a recipe.
        category: `losses`, `models` or `data`.
        file: the module that defines it, without a folder.
        summary: the first line of its docstring.
        options: from each option to the source text of its default (`NO_DEFAULT` if it is required).
        argument: name of the value after a colon (`folder:PATH`), or None.
        preset: options that the name itself sets (`resnet20` is `resnet` with `depth` 20).
        needs_teacher: for a loss, unless its file says `NEEDS_TEACHER = False`.
        needs_features: for a loss whose file says `NEEDS_FEATURES = True`: it compares more than logits.
        annotations: the source text of each option's annotation, if it has one.
        open_options: whether it passes further options on to another constructor, which checks them.
    """

    name: str
    category: str
    file: str
    summary: str
    options: Mapping[str, str]
    argument: str | None = None
    preset: Mapping[str, Any] = field(default_factory=dict)
    needs_teacher: bool = True
    needs_features: bool = False
    annotations: Mapping[str, str] = field(default_factory=dict)
    open_options: bool = False


@functools.cache
def entries(category: str) -> Mapping[str, Entry]:
    """Every entry of `losses`, `models` or `data` by name, in alphabetical order."""
    paths = sorted((PACKAGE / FOLDER.get(category, category)).glob("*.py"))
    named = {entry.name: entry for path in paths for entry in _read(category, path)}
    return MappingProxyType(dict(sorted(named.items())))


def _read(category: str, path: Path) -> list[Entry]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wanted = FUNCTION[category] or path.stem
    function = next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == wanted), None)
    if function is None:
        return []  # a module that supports the others
    arguments = function.args
    positional = [a.arg for a in arguments.posonlyargs + arguments.args if a.arg not in FIXED[category]]
    summary = ((ast.get_docstring(function) or ast.get_docstring(tree) or "").splitlines() or [""])[0].rstrip(".")
    plain = Entry(
        name=path.stem,
        category=category,
        file=path.stem,
        summary=summary,
        options={
            a.arg: NO_DEFAULT if default is None else ast.unparse(default)
            for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
            if a.arg not in FIXED[category]
        },
        argument=positional[0] if positional else None,
        needs_teacher=bool(_constant(tree, "NEEDS_TEACHER", True)),
        needs_features=bool(_constant(tree, "NEEDS_FEATURES", False)),
        annotations={a.arg: ast.unparse(a.annotation) for a in arguments.kwonlyargs if a.annotation is not None},
        open_options=arguments.kwarg is not None,
    )
    return [plain] + [
        replace(
            plain,
            name=name,
            summary=f"{summary} ({', '.join(f'{k} {v}' for k, v in preset.items())})",
            options={option: default for option, default in plain.options.items() if option not in preset},
            preset=preset,
        )
        for name, preset in _constant(tree, "SIZES", {}).items()
    ]


def _constant(tree: ast.Module, name: str, default: Any) -> Any:
    """The value of a module's constant, such as `SIZES = {"resnet20": {"depth": 20}, …}`."""
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and target.id == name and value is not None:
            return ast.literal_eval(value)
    return default


def entry_of_function(category: str, name: str, function: Callable[..., Any]) -> Entry:
    """The entry of a function that a caller from Python provides."""
    parameters = inspect.signature(function).parameters.values()
    return Entry(
        name=name,
        category=category,
        file=name,
        summary=(inspect.getdoc(function) or name).splitlines()[0],
        options={
            p.name: NO_DEFAULT if p.default is p.empty else repr(p.default)
            for p in parameters
            if p.kind is p.KEYWORD_ONLY and p.name not in FIXED[category]
        },
        needs_teacher=bool(getattr(function, "NEEDS_TEACHER", category == "losses")),
        needs_features=bool(getattr(function, "NEEDS_FEATURES", False)),
        open_options=any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


def split_name(name: str) -> tuple[str, str | None]:
    """Split `"folder:photos"` into `("folder", "photos")`, `"digits"` into `("digits", None)`."""
    head, colon, tail = name.partition(":")
    return head, tail if colon else None


def find(category: str, name: str, custom: Mapping[str, Callable[..., Any]] = NOTHING) -> Entry:
    """The entry of a name. `custom` holds the functions that a caller from Python provides, which take precedence.

    Raises LimbeckError that names the nearest valid name.
    """
    head, argument = split_name(name)
    if head in custom:
        return entry_of_function(category, head, custom[head])
    known = entries(category)
    if head not in known:
        hint = _hint(category, head, [*known, *custom])
        raise LimbeckError(f"no {SINGULAR[category]} named {head!r}{hint}")
    entry = known[head]
    if entry.argument and not argument:
        raise LimbeckError(f"{head!r} needs a {entry.argument} after a colon: {head}:{entry.argument.upper()}")
    if argument is not None and not entry.argument:
        raise LimbeckError(f"{head!r} takes no value after a colon; got {argument!r}")
    return entry


def load(entry: Entry, custom: Mapping[str, Callable[..., Any]] = NOTHING) -> Callable[..., Any]:
    """Import the function of an entry. Options that the name presets are bound."""
    if entry.name in custom:
        return custom[entry.name]
    folder = FOLDER.get(entry.category, entry.category).replace("/", ".")
    module = importlib.import_module(f"limbeck.{folder}.{entry.file}")
    function = getattr(module, FUNCTION[entry.category] or entry.file)
    return functools.partial(function, **entry.preset) if entry.preset else function


def load_state(entry: Entry, custom: Mapping[str, Callable[..., Any]] = NOTHING) -> Any:
    """The `state` function of a loss: in its file, or an attribute of a function from Python. None if it has none."""
    if entry.name in custom:
        return getattr(custom[entry.name], "state", None)
    return getattr(importlib.import_module(f"limbeck.losses.{entry.file}"), "state", None)


def load_candidates(entry: Entry) -> Callable[[], list[dict[str, Any]]] | None:
    """The `candidates` function in the file of a model: options of its sizes. None if it has none."""
    return getattr(importlib.import_module(f"limbeck.models.{entry.file}"), "candidates", None)


def _hint(category: str, name: str, known: Iterable[str]) -> str:
    """What the user probably meant by an unknown name."""
    same = [word for word in known if simplified(word) == simplified(name)]
    if category == "models" and (candidates := [*same, *zoo_models(name)]):
        return f"; did you mean {' or '.join(map(repr, candidates))}?"
    own = "to use your own images, give folder:PATH or parquet:PATH"
    if category == "data" and simplified(name) in NOT_INCLUDED:
        return f", which Limbeck does not include; {own}"
    hint = did_you_mean(name, known)
    return hint if category != "data" or "did you mean" in hint else f"{hint}; {own}"


ZOOS = ("timm", "torchvision")
REGISTERED = re.compile(r"^@register_model\b.*\n(?:(?:@| |\)).*\n)*def (\w+)\(", re.MULTILINE)
WELL_KNOWN: str = (
    "resnet18 resnet34 resnet50 resnet101 resnet152 resnext50_32x4d densenet121 densenet169 densenet201 vgg11 vgg13 "
    "vgg16 vgg19 efficientnet_b0 mnasnet_small convnext_tiny convnext_small convnext_base"
)
"""Models to suggest if neither package is installed."""


def zoo_models(name: str) -> list[str]:
    """`timm:resnet18` and `torchvision:resnet18` for `resnet18`, in any spelling."""
    models = {zoo: _names_in(zoo).get(simplified(name)) for zoo in ZOOS}
    return [f"{zoo}:{model}" for zoo, model in models.items() if model]


@functools.cache
def _names_in(package: str) -> dict[str, str]:
    """The models of timm or torchvision, read from their source: neither is imported for a hint."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    folders = list(spec.submodule_search_locations or ()) if spec else []
    names = WELL_KNOWN.split() if not folders else []
    for folder in folders:
        for path in sorted((Path(folder) / "models").glob("*.py")):
            names += REGISTERED.findall(path.read_text(encoding="utf-8", errors="replace"))
    return {simplified(name): name for name in names}


def check_options(
    entry: Entry, options: Mapping[str, Any], also: Iterable[str] = (), hint: Hint = did_you_mean
) -> list[tuple[str, str]]:
    """What is wrong with the options of an entry, as pairs (option, message).

    Args:
        entry: the loss, model or data source.
        options: the options given.
        also: other keys that are valid in the same place, for hints.
        hint: what to add about an unknown option, from it and the valid ones.
    """
    valid = [*entry.options, *also]
    unknown = [name for name in options if name not in entry.options]
    errors: list[tuple[str, str]] = []
    if entry.open_options:
        errors += [(name, "is set from the data; remove it") for name in unknown if name in FIXED[entry.category]]
        errors += [(name, _not_finite(options[name])) for name in unknown if not _finite(options[name])]
    else:
        errors += [
            (name, f"{entry.name!r} has no option {name!r}{hint(name, valid) or '; it takes none'}") for name in unknown
        ]
    for name, value in options.items():
        if name in entry.options:
            wrong = _wrong_type(value, entry.options[name], entry.annotations.get(name, ""))
            errors += [(name, wrong)] if wrong else []
    for name, default in entry.options.items():
        if name not in options and default == NO_DEFAULT:
            errors.append((name, f"{entry.name!r} needs a value for {name!r}"))
    return errors


def check_options_of_unknown(
    category: str,
    options: Mapping[str, Any],
    custom: Mapping[str, Callable[..., Any]] = NOTHING,
    also: Iterable[str] = (),
    hint: Hint = did_you_mean,
) -> list[tuple[str, str]]:
    """What is wrong with the options of an unknown name, whichever name was meant: pairs as in `check_options`."""
    known = [*entries(category).values(), *(entry_of_function(category, name, custom[name]) for name in custom)]
    valid = {option for entry in known for option in entry.options}.union(also)
    return [
        (name, f"no {SINGULAR[category]} has an option {name!r}{hint(name, valid)}")
        for name in options
        if name not in valid
    ]


TYPES: dict[str, tuple[Any, str]] = {
    "bool": (bool, "true or false"),
    "int": (int, "an integer"),
    "float": ((int, float), "a number"),
    "str": (str, "a string"),
    "tuple": ((list, tuple), "a list"),
}


def _wrong_type(value: object, default: str, annotation: str) -> str | None:
    """A message if a value has another type than the default that it replaces, or than its annotation."""
    if not _finite(value):
        return _not_finite(value)
    try:
        expected = type(ast.literal_eval(default)).__name__
    except (ValueError, SyntaxError):
        return None
    names = [name.strip().split("[")[0] for name in annotation.split(" | ")]
    if expected in TYPES:
        right = any(_has_type(value, name) for name in {expected, *names} if name in TYPES)
        return None if right else f"expected {_wanted(expected, names)}, like its default {default}; got {value!r}"
    named = [name for name in names if name != "None"] if expected == "NoneType" else []
    if value is None or not named or not all(name in TYPES for name in named):
        return None
    right = any(_has_type(value, name) for name in named)
    return None if right else f"expected {' or '.join(TYPES[name][1] for name in named)}; got {value!r}"


def _wanted(expected: str, names: Iterable[str]) -> str:
    """The type of the default, then other types of the annotation, in words."""
    words = dict.fromkeys(TYPES[name][1] for name in (expected, *names) if name in TYPES and name != "int")
    return " or ".join(words) if len(words) > 1 else TYPES[expected][1]


def _has_type(value: object, name: str) -> bool:
    return isinstance(value, bool) == (name == "bool") and isinstance(value, TYPES[name][0])


def _not_finite(value: object) -> str:
    return f"expected finite numbers; got {value!r}"


def _finite(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
