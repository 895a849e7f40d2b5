"""Fold BatchNorm layers into the preceding convolutions, which gives the same outputs with fewer operations."""

from __future__ import annotations

import copy
from collections import Counter

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(model: nn.Module) -> nn.Module:
    """A copy of `model` in evaluation mode whose BatchNorm layers are folded into convolutions where possible.

    The outputs equal those of `model.eval()` up to rounding, and the copy shares no tensors with the model. Symbolic
    tracing finds the convolution before each BatchNorm. The copy still runs the model's own forward, so it returns the
    same structure. A model that cannot be traced is copied without folding.
    """
    folded = copy.deepcopy(model).eval()
    for conv_name, norm_name in _pairs(folded):
        conv, norm = folded.get_submodule(conv_name), folded.get_submodule(norm_name)
        _replace(folded, conv_name, fuse_conv_bn_eval(conv, norm))  # pyright: ignore[reportArgumentType]
        _replace(folded, norm_name, _rest(norm))
    return folded


def _pairs(model: nn.Module) -> list[tuple[str, str]]:
    """Names of (convolution, BatchNorm) pairs in which only the BatchNorm reads the convolution."""
    try:
        graph = _Tracer().trace(model)
    except Exception:  # tracing can raise anything
        return []
    modules = dict(model.named_modules(remove_duplicate=False))
    times_registered = Counter(map(id, modules.values()))
    times_called = Counter(node.target for node in graph.nodes if node.op == "call_module")

    def once(node: fx.Node) -> bool:
        module = modules.get(str(node.target))
        return node.op == "call_module" and times_called[node.target] == times_registered[id(module)] == 1

    pairs = []
    for norm in graph.nodes:
        conv = norm.args[0] if norm.args else None
        if not (isinstance(conv, fx.Node) and once(norm) and once(conv) and len(conv.users) == 1):
            continue
        if _can_fold(modules[str(conv.target)], modules[str(norm.target)]):
            pairs.append((str(conv.target), str(norm.target)))
    return pairs


class _Tracer(fx.Tracer):
    """Do not trace into convolutions and BatchNorm layers, including subclasses from other libraries."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d | nn.BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)


def _can_fold(conv: nn.Module, norm: nn.Module) -> bool:
    # Subclasses are excluded: one that standardises its weights in forward would undo the folding.
    return (
        type(conv) is nn.Conv2d
        and (type(norm) is nn.BatchNorm2d or _normalises_then_activates(norm))
        and isinstance(norm, nn.BatchNorm2d)
        and norm.running_mean is not None
        and not (conv._forward_hooks or conv._forward_pre_hooks or norm._forward_hooks or norm._forward_pre_hooks)
    )


def _normalises_then_activates(norm: nn.Module) -> bool:
    return type(norm).__name__ == "BatchNormAct2d" and type(norm).__module__.startswith("timm.")


def _rest(norm: nn.Module) -> nn.Module:
    """The rest of a normalisation layer without its normalisation."""
    if _normalises_then_activates(norm):
        return nn.Sequential(norm.drop, norm.act)  # pyright: ignore[reportArgumentType]
    return nn.Identity()


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
