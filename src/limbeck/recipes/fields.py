"""Types shared by all sections of a recipe: strict numbers, names valid as folder names, names with options."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
)

from limbeck.errors import printable

GROUPS = ("teachers", "students")
"""The two groups of arms."""
KeyPath = tuple[str | int, ...]
"""The keys and list indices that lead to a value."""
Problem = tuple[KeyPath, str]
"""Where a recipe is wrong, and what is wrong there."""

# Strict: `yes` and '3' are strings. A likely typo is never converted to something else.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
BelowOne = Annotated[Number, Field(ge=0, lt=1)]
Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**63, strict=True)]


def folder_name(value: str) -> str:
    """Return `value` if it is a valid folder name on every system. Raises ValueError otherwise."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", value) or value.endswith("."):
        raise ValueError(
            f"{shortened(value)} is not a valid folder name: use at most 80 letters, digits, '.', '_' or '-', "
            "begin with a letter or digit, and do not end with '.'"
        )
    return value


def _arm_name(value: str, info: ValidationInfo) -> str:
    if isinstance(info.context, dict) and value in info.context.get("invalid arm names", ()):
        return value  # already reported; the arm itself is still checked
    if re.search(r"-seed\d*(-epoch\d*)?$", value):
        raise ValueError(f"{shortened(value)} ends with -seed…, which is reserved for trained models")
    return folder_name(value)


def shortened(value: object) -> str:
    """A value in YAML notation, on one line of at most 60 characters."""
    text = _yaml_notation(value, 4)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _yaml_notation(value: object, levels: int) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value - value != 0:  # infinite or not a number
        return f".{value}".replace(".-", "-.")
    if isinstance(value, dict | list) and value and not levels:
        return "…"
    if isinstance(value, dict):
        items = (f"{printable(str(key))}: {_yaml_notation(item, levels - 1)}" for key, item in value.items())
        return f"{{{', '.join(items)}}}"
    if isinstance(value, list):
        return f"[{', '.join(_yaml_notation(item, levels - 1) for item in value)}]"
    return repr(value)


FolderName = Annotated[str, AfterValidator(folder_name)]
ArmName = Annotated[str, AfterValidator(_arm_name)]


class RecipePart(BaseModel):
    """A section of a recipe: immutable, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ExtendedPart(RecipePart):
    """A section that may gain options.

    Options in its own `added_later` do not appear in dumped recipes at their default. Checkpoints are identified by
    such dumps: those from before an option existed stay valid.
    """

    added_later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_added_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        added_later = {key for part in type(self).__mro__ for key in vars(part).get("added_later", ())}
        return {
            key: value
            for key, value in handler(self).items()
            if key not in added_later or getattr(self, key) != fields[key].get_default(call_default_factory=True)
        }


class NameWithOptions(BaseModel):
    """The name of a model or loss; further keys are its options, the keyword-only parameters of its function."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)
    name: str
    """Name, as printed by `limbeck list`; further keys are its options."""

    @property
    def options(self) -> dict[str, Any]:
        """The options given."""
        return dict(self.model_extra or {})


def _from_string(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


Model = Annotated[NameWithOptions, BeforeValidator(_from_string, json_schema_input_type=str | NameWithOptions)]
