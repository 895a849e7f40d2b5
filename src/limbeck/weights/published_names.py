"""The names that public checkpoints give to the layers of nets which we have too, but name otherwise.

Covered are nets whose layers correspond one to one: same shapes, same order of operations. The residual and wide
residual nets and the VGGs of the distillation literature's tables; and the VGGs, ShuffleNetV2, MobileNetV2 and
MobileNetV3-small under torchvision's names, which the public CIFAR checkpoints keep. (The literature's own MobileNetV2
and ShuffleNetV2 are other nets: channels that are not rounded, a 1×1 stem.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

COUNTER = "num_batches_tracked"
Names = dict[str, str]
"""From the name in a file to the name in our model."""

RESNET = (
    (r"conv1\.", "stem.0."),
    (r"bn1\.", "stem.1."),
    (r"layer([123])\.(\d+)\.conv1\.", "stages.{stage}.{block}.first.0."),
    (r"layer([123])\.(\d+)\.bn1\.", "stages.{stage}.{block}.first.1."),
    (r"layer([123])\.(\d+)\.conv2\.", "stages.{stage}.{block}.second.0."),
    (r"layer([123])\.(\d+)\.bn2\.", "stages.{stage}.{block}.second.1."),
    (r"layer([123])\.(\d+)\.(?:downsample|shortcut)\.", "stages.{stage}.{block}.shortcut."),
    (r"(?:fc|linear)\.", "head."),
)
WIDE_RESNET = (
    (r"conv1\.", "stem."),
    (r"bn1\.", "norm."),
    (r"block([123])\.layer\.(\d+)\.bn([12])\.", "stages.{stage}.{block}.norm{part}."),
    (r"block([123])\.layer\.(\d+)\.conv([12])\.", "stages.{stage}.{block}.conv{part}."),
    (r"block([123])\.layer\.(\d+)\.convShortcut\.", "stages.{stage}.{block}.shortcut."),
    (r"fc\.", "head."),
)
BRANCHES = {
    1: {0: "0.0", 1: "0.1", 2: "1.0", 3: "1.1"},
    2: {0: "0.0", 1: "0.1", 3: "1.0", 4: "1.1", 5: "2.0", 6: "2.1"},
}


def in_our_names(stored: Collection[str], own: Collection[str]) -> Names | None:
    """The renaming under which the names of a file are exactly those of a model, or None where none is known.

    Counts of batches may be missing on either side.
    """
    for rename in (_resnet, _wide_resnet, _vgg_blocks, _shufflenet, _features):
        names = rename(stored, own)
        if names is not None and covers(names, own):
            return names
    return None


def covers(names: Names, own: Collection[str]) -> bool:
    """Whether a renaming gives each name of a model once and no other, counts of batches aside."""
    renamed = [name for name in names.values() if not name.endswith(COUNTER)]
    return len(set(renamed)) == len(renamed) and set(renamed) == {name for name in own if not name.endswith(COUNTER)}


def _each(stored: Collection[str], rename: Callable[[str], str | None]) -> Names | None:
    """All names renamed, or None where one cannot be."""
    names: Names = {}
    for name in stored:
        renamed = rename(name)
        if renamed is None:
            return None
        names[name] = renamed
    return names


def _by_rules(stored: Collection[str], rules: Sequence[tuple[str, str]]) -> Names | None:
    """Rules whose groups are stage (counted from one), block and part."""

    def rename(name: str) -> str | None:
        for pattern, ours in rules:
            if found := re.match(pattern, name):
                stage, block, part = (*found.groups(), "", "", "")[:3]
                stage = str(int(stage) - 1) if stage else ""
                return ours.format(stage=stage, block=block, part=part) + name[found.end() :]
        return None

    return _each(stored, rename)


def _resnet(stored: Collection[str], own: Collection[str]) -> Names | None:
    return _by_rules(stored, RESNET)


def _wide_resnet(stored: Collection[str], own: Collection[str]) -> Names | None:
    return _by_rules(stored, WIDE_RESNET)


def _shufflenet(stored: Collection[str], own: Collection[str]) -> Names | None:
    """torchvision's stages 2 to 4; our last stage holds the last convolution too."""

    def rename(name: str) -> str | None:
        if found := re.match(r"stage([234])\.(\d+)\.branch([12])\.(\d+)\.", name):
            stage, block, branch, layer = map(int, found.groups())
            place = BRANCHES[branch].get(layer)
            where = f"stages.{stage - 1}.{'0.' if stage == 4 else ''}{block}.{('short', 'path')[branch - 1]}"
            return f"{where}.{place}.{name[found.end() :]}" if place else None
        for theirs, ours in (("conv1.", "stages.0."), ("conv5.", "stages.3.1."), ("fc.", "head.")):
            if name.startswith(theirs):
                return ours + name.removeprefix(theirs)
        return None

    return _each(stored, rename)


def _vgg_blocks(stored: Collection[str], own: Collection[str]) -> Names | None:
    """The distillation tables' VGG: convolution, BatchNorm and ReLU in turn within `block0` to `block4`."""

    def rename(name: str) -> str | None:
        if found := re.match(r"block([0-4])\.(\d+)\.", name):
            convolution, layer = divmod(int(found[2]), 3)
            return f"stages.{found[1]}.{convolution}.{layer}.{name[found.end() :]}"
        return f"head.0.{name.removeprefix('classifier.')}" if name.startswith("classifier.") else None

    return _each(stored, rename)


def _features(stored: Collection[str], own: Collection[str]) -> Names | None:
    """torchvision's nets that count their layers through in `features`, ours within stages."""
    places = sorted({(int(m[1]), int(m[2])) for name in own if (m := re.match(r"stages\.(\d+)\.(\d+)\.", name))})
    norms = {name.rpartition(".")[0] for name in stored if name.endswith(".running_mean")}
    numbers = sorted({int(m[1]) for name in stored if (m := re.match(r"features\.(\d+)\.", name))})
    flat = any(re.fullmatch(r"features\.\d+\.weight", name) for name in stored)  # VGG: no module within a number
    starts = [number for number in numbers if f"features.{number}" not in norms] if flat else numbers
    linear: dict[str, int] = {}  # of an inverted residual of MobileNetV2: where its last, bare convolution is
    for name in stored:
        if found := re.fullmatch(r"(features\.\d+)\.conv\.(\d+)\.weight", name):
            linear[found[1]] = min(int(found[2]), linear.get(found[1], 99))

    def rename(name: str) -> str | None:
        if name.startswith("classifier."):
            return f"head.{name.removeprefix('classifier.')}"
        found = re.match(r"features\.(\d+)\.", name)
        if found is None:
            return None
        number, rest = int(found[1]), name[found.end() :]
        start = max((s for s in starts if s <= number), default=None)
        if start is None or starts.index(start) >= len(places):
            return None
        stage, block = places[starts.index(start)]
        if flat:
            return f"stages.{stage}.{block}.{number - start}.{rest}"
        if within := re.match(r"conv\.(\d+)\.(?!\d)", rest):
            last = linear.get(f"features.{number}", 0)
            rest = f"path.{last}.{int(within[1]) - last}.{rest[within.end() :]}"
        rest = re.sub(r"^(?:conv|block)\.", "path.", rest)
        rest = re.sub(r"\.fc([12])\.", lambda gate: f".gate.{2 * (int(gate[1]) - 1)}.", rest)
        return f"stages.{stage}.{block}.{rest}"

    return _each(stored, rename)
