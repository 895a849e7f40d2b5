"""What the parts of a recipe are made of: strict numbers, names that folders can have, names with options."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from limbeck.errors import printable

# Strict: `yes` is a word and '3' is a word; what looks like a slip is not read as something else.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
BelowOne = Annotated[Number, Field(ge=0, lt=1)]
Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**63, strict=True)]


def folder_name(value: str) -> str:
    """`value`, if it can serve as a folder's name on every system. Raises ValueError where it cannot."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", value) or value.endswith("."):
        raise ValueError(
            f"{shortened(value)} must serve as a folder's name: at most 80 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit, not ending in '.'"
        )
    return value


def _arm_name(value: str, info: ValidationInfo) -> str:
    if isinstance(info.context, dict) and value in info.context.get("odd names", ()):
        return value  # told already; the arm behind the name is checked all the same
    # ARM-seedN is what a trained arm's files are called.
    if re.search(r"-seed\d*$", value):
        raise ValueError(f"{shortened(value)} ends like the name of a trained model; leave out the seed")
    return folder_name(value)


def shortened(value: object) -> str:
    """What was given, in a recipe's words and in a line that stays a line."""
    text = _in_words(value, 4)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _in_words(value: object, levels: int) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value - value != 0:
        return f".{value}".replace(".-", "-.")
    if isinstance(value, dict | list) and value and not levels:
        return "…"
    if isinstance(value, dict):
        return (
            f"{{{', '.join(f'{printable(str(key))}: {_in_words(item, levels - 1)}' for key, item in value.items())}}}"
        )
    if isinstance(value, list):
        return f"[{', '.join(_in_words(item, levels - 1) for item in value)}]"
    return repr(value)


FolderName = Annotated[str, AfterValidator(folder_name)]
ArmName = Annotated[str, AfterValidator(_arm_name)]


class RecipePart(BaseModel):
    """A part of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class NameWithOptions(BaseModel):
    """A name with options of its own: the keyword-only parameters of what it names."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)
    name: str
    """The name of what is taken; further keys are its options."""

    @property
    def options(self) -> dict[str, Any]:
        """The options given."""
        return dict(self.model_extra or {})


def _as_named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


Model = Annotated[NameWithOptions, BeforeValidator(_as_named, json_schema_input_type=str | NameWithOptions)]
