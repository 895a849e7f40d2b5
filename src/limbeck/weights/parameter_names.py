"""Map the tensor names in a weights file to those of a model: wrapper prefixes, adapters and public checkpoints.

Public checkpoints are supported if their layers correspond one to one to a model of Limbeck, with the same shapes and
order of operations. These are the ResNets, wide ResNets and VGGs of the distillation literature, and VGG, ShuffleNetV2,
MobileNetV2 and MobileNetV3-small with torchvision's names, which public CIFAR checkpoints use. The MobileNetV2 and
ShuffleNetV2 of the distillation literature are different networks, with unrounded channels and a 1×1 stem.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence

COUNTER = "num_batches_tracked"
Names = dict[str, str]
"""From names in the file to names in the model."""

WRAPPERS = ("module.", "_orig_mod.")  # added by DataParallel and torch.compile
BODIES = ("backbone.", "encoder.", "model.", "net.", "network.", "base.", "student.")
"""Prefixes that frameworks add to all layers but the head."""

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


def match_names(stored: Collection[str], own: Collection[str]) -> Names:
    """Map each name in the file to a name in the model, by the first renaming that matches completely, or the best one.

    Renamings remove wrapper prefixes and other common prefixes, add the prefix of an adapter (a file saved by timm fits
    `timm:…`), remove `backbone.` from the body and `head.` from the head, and translate the names of public
    checkpoints.
    """
    best: Names = {}
    most = -1
    for names in _renamings(stored, own):
        if covers(names, own):
            return names
        shared = len(set(names.values()) & set(own))
        if shared > most and len(set(names.values())) == len(names):  # no two tensors share a name
            best, most = names, shared
    return best


def _renamings(stored: Collection[str], own: Collection[str]) -> Iterator[Names]:
    adapter = _shared_prefix(own)
    for names in _without_prefixes(stored):
        yield names
        if adapter:
            yield {name: adapter + renamed for name, renamed in names.items()}
        if ours := _public_names(names.values(), own):
            yield {name: ours[renamed] for name, renamed in names.items()}


def _without_prefixes(stored: Collection[str]) -> Iterator[Names]:
    names = {name: name for name in stored}
    plain = names
    while (prefix := _shared_prefix(plain.values())) in WRAPPERS:
        plain = _without(plain, prefix)
    yield plain
    while prefix := _shared_prefix(names.values()):
        yield names
        names = _without(names, prefix)
    yield names
    for body in BODIES:
        if any(name.startswith(body) for name in names.values()):
            yield _without(names, body)
            yield _without(_without(names, body), "head.")


def _shared_prefix(names: Collection[str]) -> str:
    """The first part of all names including its dot, or an empty string."""
    first = next(iter(names), "").partition(".")
    prefix = first[0] + first[1] if first[2] else ""
    return prefix if prefix and all(name.startswith(prefix) for name in names) else ""


def _without(names: Names, prefix: str) -> Names:
    return {name: renamed.removeprefix(prefix) for name, renamed in names.items()}


def _public_names(stored: Collection[str], own: Collection[str]) -> Names | None:
    """A renaming of public checkpoint names that yields exactly the model's names, or None.

    `num_batches_tracked` may be missing on either side.
    """
    for rename in (_resnet, _wide_resnet, _vgg_blocks, _shufflenet, _features):
        names = rename(stored, own)
        if names is not None and covers(names, own):
            return names
    return None


def covers(names: Names, own: Collection[str]) -> bool:
    """Whether a renaming yields each name of the model exactly once, ignoring `num_batches_tracked`."""
    renamed = [name for name in names.values() if not name.endswith(COUNTER)]
    return len(set(renamed)) == len(renamed) and set(renamed) == {name for name in own if not name.endswith(COUNTER)}


def _each(stored: Collection[str], rename: Callable[[str], str | None]) -> Names | None:
    """Rename all names. Returns None if one cannot be renamed."""
    names: Names = {}
    for name in stored:
        renamed = rename(name)
        if renamed is None:
            return None
        names[name] = renamed
    return names


def _by_rules(stored: Collection[str], rules: Sequence[tuple[str, str]]) -> Names | None:
    """Rename by rules. The groups of a pattern are stage (counted from one), block and part."""

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
    """torchvision's stages 2 to 4. Limbeck's last stage also contains the last convolution."""

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
    """The VGG of the distillation literature: convolution, BatchNorm and ReLU in turn in `block0` to `block4`."""

    def rename(name: str) -> str | None:
        if found := re.match(r"block([0-4])\.(\d+)\.", name):
            convolution, layer = divmod(int(found[2]), 3)
            return f"stages.{found[1]}.{convolution}.{layer}.{name[found.end() :]}"
        return f"head.0.{name.removeprefix('classifier.')}" if name.startswith("classifier.") else None

    return _each(stored, rename)


def _features(stored: Collection[str], own: Collection[str]) -> Names | None:
    """torchvision's networks number layers consecutively in `features`; Limbeck numbers them within stages."""
    places = sorted({(int(m[1]), int(m[2])) for name in own if (m := re.match(r"stages\.(\d+)\.(\d+)\.", name))})
    norms = {name.rpartition(".")[0] for name in stored if name.endswith(".running_mean")}
    numbers = sorted({int(m[1]) for name in stored if (m := re.match(r"features\.(\d+)\.", name))})
    flat = any(re.fullmatch(r"features\.\d+\.weight", name) for name in stored)  # VGG numbers single layers
    starts = [number for number in numbers if f"features.{number}" not in norms] if flat else numbers
    linear: dict[str, int] = {}  # for each inverted residual of MobileNetV2, the index of its last convolution
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
