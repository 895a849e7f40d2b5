"""Which columns of a Hugging Face parquet file hold images and labels, and what the classes are called."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from limbeck.errors import LimbeckError, did_you_mean

PREFERRED_LABELS = ("label", "fine_label")


@dataclass(frozen=True)
class Columns:
    """image, label: names of columns. class_names: from the metadata, or None where it has none."""

    image: str
    label: str
    class_names: tuple[str, ...] | None


def choose(schema: Any, where: str, image: str | None, label: str | None) -> Columns:
    """The columns that were named, or the only ones possible.

    schema: a `pyarrow.Schema`. where: the file.
    Raises LimbeckError that lists the columns where the choice is open.
    """
    features = _features(schema, where)
    images = [n for n in schema.names if features.get(n, {}).get("_type") == "Image" or _holds_bytes(schema.field(n))]
    labels = [n for n in schema.names if n not in images and _holds_labels(schema.field(n).type)]
    declared = [n for n in labels if features.get(n, {}).get("_type") == "ClassLabel"]
    chosen_image = _choose(image, images, (), where, "image", schema.names)
    chosen_label = _choose(
        label, declared if label is None and declared else labels, PREFERRED_LABELS, where, "label", labels
    )
    names = features.get(chosen_label, {}).get("names")
    if isinstance(names, Mapping):  # {"0": "cat", …}
        names = [names[str(place)] for place in range(len(names)) if str(place) in names]
    if names is not None and len({str(name) for name in names}) != len(names):
        raise LimbeckError(f"{where}: column {chosen_label!r} has two classes of one name")
    return Columns(chosen_image, chosen_label, tuple(str(name) for name in names) if names else None)


def _choose(
    named: str | None,
    possible: list[str],
    preferred: tuple[str, ...],
    where: str,
    kind: str,
    listed: list[str],
) -> str:
    if named is not None:
        if named not in possible:
            raise LimbeckError(f"{where}: no {kind} column {named!r}{did_you_mean(named, possible or listed)}")
        return named
    for name in preferred:
        if name in possible:
            return name
    if len(possible) == 1:
        return possible[0]
    if not possible:
        raise LimbeckError(f"{where}: no column holds {kind}s; the columns are {', '.join(listed) or 'none'}")
    raise LimbeckError(f"{where}: several columns may hold the {kind}s: {', '.join(possible)}; name one with {kind}: …")


def _features(schema: Any, where: str) -> Mapping[str, Any]:
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return {}
    try:
        features = json.loads(text)["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LimbeckError(f"{where}: the schema's 'huggingface' metadata cannot be read: {error}") from error


def _holds_bytes(field: Any) -> bool:
    import pyarrow.types as types

    kind = field.type
    if types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return types.is_binary(kind) or types.is_large_binary(kind)


def _holds_labels(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return types.is_integer(kind) or types.is_boolean(kind) or types.is_string(kind) or types.is_large_string(kind)
