"""Models of torchvision by name, for example `torchvision:mobilenet_v3_small`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from limbeck.errors import LimbeckError
from limbeck.types import Outputs

from .constructor_options import constructor_options, invalid_options
from .foreign_names import no_such_model, package_missing, weights_unavailable
from .stem import reduce_stem_stride
from .torchvision_operators import declare_missing_operators

WITH_SECOND_HEAD = ("googlenet", "inception_v3")
OTHER_LAYOUT = ("swin", "vit")  # their features are [B, H, W, C] or tokens, which losses on features do not expect
OWN_OPTIONS = ("pretrained", "stem_stride")
HEADS = ("classifier", "fc", "head", "heads")
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


class TorchvisionModel(nn.Module):
    """A torchvision model that returns `Outputs`."""

    def __init__(self, model: nn.Module, stages: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.stages = stages

    def forward(self, images: Tensor) -> Outputs:
        """`[B, 3, H, W]` to logits and the last output at each resolution (none for transformers)."""
        answer = nn.Module.__call__(self.model, images)  # a traced module's own call prints its errors to stderr
        if not self.stages:
            return Outputs(answer)
        return Outputs(answer["logits"], tuple(answer[stage] for stage in self.stages))


def build(
    num_classes: int, name: str, *, pretrained: bool = False, stem_stride: int | None = None, **further: Any
) -> TorchvisionModel:
    """Any image classifier of torchvision, by name.

    pretrained: not supported, because torchvision publishes its weights as pickles; import the file instead.
    stem_stride: stride of the stem, if it should be smaller than published (for small images).
    further: other options of the model's constructor (`dropout`, `width_mult`, …).

    Raises LimbeckError for an unknown name, for `pretrained` and for invalid options.
    """
    declare_missing_operators()
    try:
        import torchvision
    except ImportError:
        raise package_missing("torchvision") from None
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise no_such_model("torchvision", name, known)
    if pretrained:
        raise weights_unavailable("torchvision", name, f"they are published as a pickle, {_address(name)}")
    options: dict[str, Any] = {"num_classes": num_classes}
    if name in WITH_SECOND_HEAD:
        options |= {"aux_logits": False, "init_weights": True}
        if "aux_logits" in further:
            raise LimbeckError(f"torchvision:{name}: aux_logits: cannot be set; the auxiliary head is always omitted")
    published = dict(options)
    options |= constructor_options(
        f"torchvision:{name}", lambda: torchvision.models.get_model(name, **published), further, OWN_OPTIONS
    )
    try:
        model = torchvision.models.get_model(name, **options)
    except Exception as error:  # with custom options a constructor can raise anything
        raise invalid_options(f"torchvision:{name}", further, error) from error
    if stem_stride is not None:
        reduce_stem_stride(model, stem_stride, f"torchvision:{name}")
    if name.startswith(OTHER_LAYOUT):
        return TorchvisionModel(model, ())
    stages = _stages(model)
    return TorchvisionModel(_with_features(model, stages) if stages else model, stages)


def _address(name: str) -> str:
    import torchvision

    return str(list(torchvision.models.get_model_weights(name))[-1].url)


def _stages(model: nn.Module) -> tuple[str, ...]:
    """Names of the last module at each resolution, shallow to deep.

    Found by a forward pass of a 224-pixel image on the meta device, without arithmetic.
    """
    sizes: dict[str, tuple[int, int]] = {}

    def note(name: str, answer: object) -> None:
        if isinstance(answer, Tensor) and answer.ndim == 4 and answer.shape[-1] > 1:
            sizes[name] = (answer.shape[-2], answer.shape[-1])

    def watch(name: str, module: nn.Module) -> RemovableHandle:
        return module.register_forward_hook(lambda _module, _inputs, answer: note(name, answer))

    hooks = [
        watch(name, module)
        for name, module in model.named_modules()
        if name and name.count(".") <= 1 and not isinstance(module, POOLS)
    ]
    tensors = {k: torch.empty_like(v, device="meta") for k, v in model.state_dict().items()}
    model.eval()
    torch.func.functional_call(model, tensors, torch.empty(1, 3, 224, 224, device="meta"))
    model.train()
    for hook in hooks:
        hook.remove()
    last = {sizes[name]: name for name in _parts(model, sizes)}
    return tuple(last.values()) if len(last) > 1 else ()


def _parts(model: nn.Module, sizes: Mapping[str, tuple[int, int]]) -> list[str]:
    """Top-level modules that return feature maps. One that contains several resolutions is replaced by its parts."""
    parts: list[str] = []
    for name, child in model.named_children():
        if name in HEADS:
            continue
        inner = [f"{name}.{part}" for part, _ in child.named_children() if f"{name}.{part}" in sizes]
        sequence = isinstance(child, nn.Sequential | nn.ModuleList)  # not parallel branches of a block
        if sequence and len({sizes[part] for part in inner}) > 1:
            parts += inner
        elif name in sizes:
            parts.append(name)
    return parts


def _with_features(model: nn.Module, stages: tuple[str, ...]) -> nn.Module:
    """A module with the weights of `model` that returns a dict of its stages and its logits."""
    from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

    wanted = {stage: stage for stage in stages}
    train, evaluation = get_graph_node_names(model)
    return create_feature_extractor(
        model,
        train_return_nodes=wanted | {train[-1]: "logits"},
        eval_return_nodes=wanted | {evaluation[-1]: "logits"},
    )
