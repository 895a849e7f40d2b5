"""Augmentation policies: which operations each image gets, and their magnitudes."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from limbeck.recipes.views import AutoAugment, Policy, TrivialAugment

from .operations import KINDS, Operations

# One letter per operation keeps the tables readable.
LETTERS = {
    "H": "shear_x", "h": "shear_y", "X": "translate_x", "Y": "translate_y", "R": "rotate", "B": "brightness",
    "C": "saturation", "K": "contrast", "S": "sharpness", "P": "posterize", "Z": "solarize", "I": "invert",
    "A": "auto_contrast", "E": "equalize",
}  # fmt: skip
# Cubuk et al. 2019, "AutoAugment", appendix: 25 pairs of operations each. An operation has a letter, a probability in
# tenths (`*`: 1) and a magnitude from 0 to 9 (`-`: none).
TABLES = {
    "cifar10": (
        "I1- K26, R72 X39, S81 S93, h58 Y79, A5- E9-, h27 P37, C43 B67, S39 B79, E6- E5-, K67 S65, C77 X58, E3- A4-, "
        "Y43 S26, B96 C28, Z52 I0-, E2- A6-, E2- E6-, C99 E6-, A8- Z28, B13 C70, Z45 A9-, Y99 Y79, A9- Z83, E8- I1-, "
        "Y79 A9-"
    ),
    "imagenet": (
        "P48 R69, Z65 A6-, E8- E6-, P67 P66, E4- Z24, E4- R88, Z63 E6-, P85 E*-, R23 Z68, E6- P46, R88 C40, R49 E6-, "
        "E0- E8-, I6- E*-, C64 K*8, R88 C*2, C88 Z87, S47 I6-, H65 E*-, C40 E6-, E4- Z24, Z65 A6-, I6- E*-, C64 K*8, "
        "E8- E6-"
    ),
    "svhn": (
        "H94 I2-, h98 I7-, E6- Z66, I9- E6-, E6- R93, H94 A8-, h98 I4-, h95 Z26, I9- A8-, E6- R93, H94 Z33, h88 I7-, "
        "E9- Y66, I9- E6-, K33 R84, I8- Y02, h76 Z48, I6- R84, h37 X93, H16 I6-, Z72 Y67, h84 I8-, H79 Y83, h85 A7-, "
        "H72 I1-"
    ),
}
SIGNED_OPERATIONS = frozenset(
    ("shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "saturation", "contrast", "sharpness")
)
RANDOM_OPERATIONS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "saturation", "contrast",
    "sharpness", "posterize", "solarize", "auto_contrast", "equalize",
)  # fmt: skip
_IS_SIGNED = torch.tensor([name in SIGNED_OPERATIONS for name in KINDS])


def draw(policy: Policy, batch: int, height: int, width: int, generator: torch.Generator) -> tuple[Operations, ...]:
    """Draw the operations of each image of a view, one `Operations` per round.

    Magnitudes of operations that have a direction are negative with probability 1/2.
    """
    if isinstance(policy, AutoAugment):
        kinds, probabilities, bins = _policy_table(policy.table)
        magnitude_table = _magnitude_table(10, height, width, wide=False)
        pair = torch.randint(len(kinds), (batch,), generator=generator)
        applied = torch.rand(batch, 2, generator=generator) < probabilities[pair]
        negative = torch.rand(batch, 2, generator=generator) < 0.5
        kinds, bins = kinds[pair] * applied, bins[pair]
    else:
        wide = isinstance(policy, TrivialAugment)
        magnitude_table = _magnitude_table(31, height, width, wide=wide)
        table = torch.tensor([KINDS[name] for name in RANDOM_OPERATIONS])
        drawn: list[tuple[Tensor, Tensor, Tensor]] = []
        for _ in range(1 if wide else policy.operations):
            kinds = table[torch.randint(len(table), (batch,), generator=generator)]
            negative = torch.rand(batch, generator=generator) < 0.5
            bins = torch.randint(31, (batch,), generator=generator)
            drawn.append((kinds, bins if wide else torch.full((batch,), policy.magnitude), negative))
        kinds, bins, negative = (torch.stack(of_rounds, dim=1) for of_rounds in zip(*drawn, strict=True))
    magnitudes = magnitude_table[kinds, bins] * torch.where(_IS_SIGNED[kinds] & negative, -1.0, 1.0)
    return tuple(Operations(*of_round) for of_round in zip(kinds.unbind(1), magnitudes.unbind(1), strict=True))


@functools.cache
def _policy_table(table: str) -> tuple[Tensor, Tensor, Tensor]:
    """Kinds, probabilities and magnitude bins of a table, `[25, 2]` each."""
    words = [pair.split() for pair in TABLES[table].split(",")]
    kinds = torch.tensor([[KINDS[LETTERS[word[0]]] for word in pair] for pair in words])
    chances = torch.tensor([[1.0 if word[1] == "*" else int(word[1]) / 10 for word in pair] for pair in words])
    bins = torch.tensor([[0 if word[2] == "-" else int(word[2]) for word in pair] for pair in words])
    return kinds, chances, bins


@functools.cache
def _magnitude_table(bins: int, height: int, width: int, *, wide: bool) -> Tensor:
    """The magnitude of every kind of operation for each of `bins` bins, `[kinds, bins]` float32.

    wide: use the ranges of TrivialAugment (Wide). Otherwise use AutoAugment's, with translations scaled to the image.
    """
    slope, factor, degrees, bits = (0.99, 0.99, 135.0, 6) if wide else (0.3, 0.9, 30.0, 4)
    across, down = (32.0, 32.0) if wide else (150 / 331 * width, 150 / 331 * height)
    maxima = {
        "shear_x": slope,
        "shear_y": slope,
        "translate_x": across,
        "translate_y": down,
        "rotate": degrees,
    }
    maxima |= dict.fromkeys(("brightness", "saturation", "contrast", "sharpness"), factor)
    magnitude_table = torch.zeros(len(KINDS), bins)
    for name, maximum in maxima.items():
        magnitude_table[KINDS[name]] = torch.linspace(0.0, maximum, bins)
    magnitude_table[KINDS["posterize"]] = (8 - torch.arange(bins) / ((bins - 1) / bits)).round()
    magnitude_table[KINDS["solarize"]] = torch.linspace(1.0, 0.0, bins)
    return magnitude_table
