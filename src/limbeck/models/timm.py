"""Models of the timm library by name, for example `timm:resnet18`."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from limbeck.types import Outputs

from .constructor_options import constructor_options, invalid_options
from .foreign_names import no_such_model, package_missing, weights_unavailable
from .options import probability
from .stem import reduce_stem_stride
from .torchvision_operators import declare_missing_operators


class TimmModel(nn.Module):
    """A timm model that returns `Outputs`; its features come from `forward_intermediates`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.gives_features = hasattr(model, "forward_intermediates") and hasattr(model, "forward_head")

    def forward(self, images: Tensor) -> Outputs:
        """`[B, 3, H, W]` to logits and the outputs of the stages (no features if timm offers none)."""
        if not self.gives_features:
            return Outputs(self.model(images))
        model: Any = self.model
        final, features = model.forward_intermediates(images)
        return Outputs(model.forward_head(final), tuple(features))


def build(
    num_classes: int,
    name: str,
    *,
    pretrained: bool = False,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    img_size: int | None = None,
    stem_stride: int | None = None,
    **further: Any,
) -> TimmModel:
    """Any image classifier of timm, by name.

    pretrained: start from timm's published weights, if they exist as safetensors; the head is new unless the number
        of classes is the same.
    drop_rate, drop_path_rate: probabilities of dropout before the head and of stochastic depth.
    img_size: side of the images in pixels, for transformers with a fixed input size.
    stem_stride: stride of the stem, if it should be smaller than published (for small images).
    further: other options of the model's constructor (`patch_size`, `num_heads`, `depths`, …).

    Raises LimbeckError for an unknown name, unavailable weights and invalid options.
    """
    declare_missing_operators()
    try:
        import timm
    except ImportError:
        raise package_missing("timm") from None
    if not timm.is_model(name):
        raise no_such_model("timm", name, timm.list_models())
    options: dict[str, Any] = {"num_classes": num_classes}
    if probability("drop_rate", drop_rate):
        options["drop_rate"] = drop_rate
    if probability("drop_path_rate", drop_path_rate):
        options["drop_path_rate"] = drop_path_rate
    if img_size is not None:
        options["img_size"] = img_size
    if pretrained:
        file = _published_weights(name)
        options |= {"pretrained": True, "pretrained_cfg_overlay": {"file": file, "custom_load": False}}
    own = ("pretrained", "drop_rate", "drop_path_rate", "img_size", "stem_stride")
    options |= constructor_options(f"timm:{name}", lambda: timm.create_model(name), further, own)
    try:
        model = timm.create_model(name, **options)
    except Exception as error:  # with custom options a constructor can raise anything
        raise invalid_options(f"timm:{name}", further, error) from error
    if stem_stride is not None:
        reduce_stem_stride(model, stem_stride, f"timm:{name}")
    return TimmModel(model)


def _published_weights(name: str) -> str:
    """The path of the model's safetensors file in the Hub's cache; downloads it if necessary."""
    import timm
    from huggingface_hub import hf_hub_download

    config = timm.models.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise weights_unavailable("timm", name, "timm publishes none as safetensors")
    try:
        return hf_hub_download(config.hf_hub_id, "model.safetensors")
    except Exception as error:  # the Hub's client and the network raise many kinds of errors
        raise weights_unavailable("timm", name, f"{config.hf_hub_id}: {error}") from error
