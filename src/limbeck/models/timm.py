"""Models of the timm library by name, as in `timm:resnet18`."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from limbeck.types import Outputs

from .constructor_options import constructor_options, refused
from .foreign_names import cannot_have_weights, no_such_model, package_missing
from .options import share
from .stem import shrink_less
from .torchvision_operators import declare_missing_operators


class TimmModel(nn.Module):
    """A timm model that answers with `Outputs`; features are what its `forward_intermediates` gives."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.gives_features = hasattr(model, "forward_intermediates") and hasattr(model, "forward_head")

    def forward(self, images: Tensor) -> Outputs:
        """`[B, 3, H, W]` to logits and the stages' outputs (no features where timm offers none)."""
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
    """Any image classifier of timm by its name.

    pretrained: start from timm's published weights, read from a safetensors file only; the head is new unless
        the number of classes is the same.
    drop_rate, drop_path_rate: dropout before the head and stochastic depth.
    img_size: the side of the images, for the transformers that fix it.
    stem_stride: by how much the stem shrinks the image, where it is to be less than as published (small images).
    further: whatever else the model's constructor takes (`patch_size`, `num_heads`, `depths`, …).

    Raises LimbeckError for a name that timm does not know, weights that cannot be had, options it refuses.
    """
    declare_missing_operators()
    try:
        import timm
    except ImportError:
        raise package_missing("timm") from None
    if not timm.is_model(name):
        raise no_such_model("timm", name, timm.list_models())
    options: dict[str, Any] = {"num_classes": num_classes}
    if share("drop_rate", drop_rate):
        options["drop_rate"] = drop_rate
    if share("drop_path_rate", drop_path_rate):
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
    except Exception as error:  # with options of a person's own a constructor may raise anything
        raise refused(f"timm:{name}", further, error) from error
    if stem_stride is not None:
        shrink_less(model, stem_stride, f"timm:{name}")
    return TimmModel(model)


def _published_weights(name: str) -> str:
    """The path of the model's safetensors file, downloaded to the hub's cache if it is not there yet."""
    import timm
    from huggingface_hub import hf_hub_download

    config = timm.models.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise cannot_have_weights("timm", name, "timm publishes none as safetensors")
    try:
        return hf_hub_download(config.hf_hub_id, "model.safetensors")
    except Exception as error:  # the hub's client and the network below fail in many ways, all the same here
        raise cannot_have_weights("timm", name, f"{config.hf_hub_id}: {error}") from error
