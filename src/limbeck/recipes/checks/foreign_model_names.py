"""Names of models that timm and torchvision have, read from their source: nothing of them is imported for a hint."""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path

from limbeck.synonyms import simplified

REGISTERED = re.compile(r"^@register_model\b.*\n(?:(?:@| |\)).*\n)*def (\w+)\(", re.MULTILINE)
WELL_KNOWN: str = (
    "resnet18 resnet34 resnet50 resnet101 resnet152 resnext50_32x4d densenet121 densenet169 densenet201 vgg11 vgg13 "
    "vgg16 vgg19 efficientnet_b0 mnasnet_small convnext_tiny convnext_small convnext_base"
)
"""What is hinted at where a package is not installed."""


def elsewhere(name: str) -> list[str]:
    """`timm:resnet18` and `torchvision:resnet18` for `resnet18`: models of this name, however it is spelt."""
    found = []
    for package in ("timm", "torchvision"):
        near = _names(package).get(simplified(name))
        found += [f"{package}:{near}"] if near else []
    return found


@functools.cache
def _names(package: str) -> dict[str, str]:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    places = list(spec.submodule_search_locations or ()) if spec else []
    names = WELL_KNOWN.split() if not places else []
    for place in places:
        for path in sorted((Path(place) / "models").glob("*.py")):
            names += REGISTERED.findall(path.read_text(encoding="utf-8", errors="replace"))
    return {simplified(name): name for name in names}
