"""Test-time augmentation: the views of one image over which a model's probabilities are averaged."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from .fields import Flag, RecipePart, shortened

Scale = Annotated[float, Field(ge=0.5, le=2, strict=True, allow_inf_nan=False)]
DIRECTIONS = 4
"""Left, right, up and down."""


class AveragedViews(RecipePart):
    """Test-time augmentation: probabilities are averaged over every combination of these changes to an image. The
    unchanged image is always among the views.
    """

    flip: Flag = False
    """Mirror the image left to right."""
    shifts: Annotated[int, Field(ge=0, le=4096, strict=True)] = 0
    """Move the image by this many pixels left, right, up and down; the border is black, as in `views.crop`."""
    scales: Annotated[tuple[Scale, ...], Field(max_length=8)] = ()
    """Enlarge (above 1) or shrink (below 1) the content about the centre; the size of the image stays the same, and the
    border is black."""

    @field_validator("scales")
    @classmethod
    def _scales_differ(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(value)) != len(value) or 1 in value:
            raise ValueError(
                "expected different scales other than 1, such as [0.9, 1.1] (the unchanged image is always used); "
                f"got {shortened(list(value))}"
            )
        return value

    @model_validator(mode="after")
    def _something(self) -> AveragedViews:
        if not (self.flip or self.shifts or self.scales):
            raise ValueError("expected `flip`, `shifts` or `scales`, such as {flip: true, shifts: 2}")
        return self

    @property
    def count(self) -> int:
        """The number of views of one image, and so of forward passes."""
        return (1 + self.flip) * (1 + (DIRECTIONS if self.shifts else 0)) * (1 + len(self.scales))

    def describe(self) -> str:
        """In words: `flip, shifts of 2 px, scales 0.9 and 1.1`."""
        scales = [f"{scale:g}" for scale in self.scales]
        listed = " and ".join(filter(None, [", ".join(scales[:-1]), *scales[-1:]]))
        parts = {
            "flip": self.flip,
            f"shifts of {self.shifts} px": self.shifts,
            f"scale{'s' * (len(scales) > 1)} {listed}": scales,
        }
        return ", ".join(text for text, given in parts.items() if given)
