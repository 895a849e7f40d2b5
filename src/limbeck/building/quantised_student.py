"""Students that are trained for int8: torch's own quantisation-aware training, on a traced copy of the model.

While such a student learns, its weights and activations are rounded as an int8 runtime rounds them ("fake
quantisation": values stay float32), so that it learns to be right in spite of it. The scales of this rounding are kept
with the weights, and an exported file uses them.

Weights are signed, with a scale for each output channel, that of the present weights. Activations are unsigned, with
one scale and zero point for each tensor, from moving averages of the smallest and largest value. This is what ONNX
Runtime computes. Logits stay float: rounded, several classes would tie.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, fx, nn
from torch.ao.nn.intrinsic.qat.modules.conv_fused import _ConvBnNd
from torch.ao.quantization import (
    FakeQuantize,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    QConfig,
    QConfigMapping,
    quantize_fx,
)

from limbeck.errors import LimbeckError, one_line
from limbeck.training.teacher import as_outputs
from limbeck.types import Outputs

FREEZE_AFTER = 0.75
"""Share of training after which scales and batch statistics stay as they are, so that the last steps learn for the
numbers that the device will use. That both are frozen towards the end is common practice (Krishnamoorthi 2018,
"Quantizing deep convolutional networks for efficient inference", section 3.2); this share is Limbeck's own choice."""

ACTIVATIONS = FakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver,
    quant_min=0,
    quant_max=255,
    dtype=torch.quint8,
    qscheme=torch.per_tensor_affine,
    reduce_range=False,
)
WEIGHTS = FakeQuantize.with_args(
    observer=MovingAveragePerChannelMinMaxObserver,
    averaging_constant=1.0,
    quant_min=-127,
    quant_max=127,
    dtype=torch.qint8,
    qscheme=torch.per_channel_symmetric,
    ch_axis=0,
    reduce_range=False,
)


class QuantisedStudent(nn.Module):
    """A student whose weights and activations are rounded to int8 values at every forward pass.

    It always computes in float32, also under autocast. Scales follow what passes in training mode, until
    `at_fraction` freezes them; evaluation never changes them.

    network: the traced model with torch's `FakeQuantize` modules in it; it returns what the model returned.
    """

    def __init__(self, network: fx.GraphModule) -> None:
        super().__init__()
        self.network = network
        self.frozen = False

    def forward(self, pixels: Tensor) -> Outputs:
        """Prepared images `[B, C, H, W]` to `Outputs`, float32."""
        follows = self.training and not self.frozen
        for module in _quantisers(self):  # at every pass: loading a state dict sets these switches too
            module.enable_observer(follows)
        with torch.autocast(pixels.device.type, enabled=False):
            return as_outputs(self.network(pixels.float()))

    def at_fraction(self, fraction: float) -> None:
        """Called before each step with the fraction of training that is done; freezes from `FREEZE_AFTER` on."""
        self.frozen = fraction >= FREEZE_AFTER
        for module in self.network.modules():
            if isinstance(module, _ConvBnNd):
                if module.freeze_bn != self.frozen:
                    module.freeze_bn_stats() if self.frozen else module.update_bn_stats()
            elif self.frozen and isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def quantised(model: nn.Module, where: str) -> QuantisedStudent:
    """The model, ready for training: it keeps its weights and goes into training mode. where: for errors.

    The ranges of the activations are still unknown: `observe` or a state dict fills them. Draws no random numbers.
    Raises LimbeckError where the model's forward cannot be traced.
    """
    mapping = QConfigMapping().set_global(QConfig(activation=ACTIVATIONS, weight=WEIGHTS))
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao announces its successor
        try:
            network = quantize_fx.prepare_qat_fx(model.train(), mapping, (torch.zeros(1),))
        except Exception as error:  # tracing runs the model's own code on stand-ins: it may fail in any way
            raise LimbeckError(
                f"{where}: quantise: int8: this model cannot be traced, which quantisation needs ({one_line(error)}); "
                "leave `quantise` out and quantise after training (limbeck export --to onnx-int8)"
            ) from error
    _leave_logits_unquantised(network)
    with torch.no_grad():
        for module in network.modules():  # so that every buffer has its size
            if isinstance(quantiser := getattr(module, "weight_fake_quant", None), FakeQuantize):
                quantiser(module.weight)
    return QuantisedStudent(network)


def observe(student: QuantisedStudent, pixels: Tensor) -> None:
    """Set the ranges of the activations from some prepared images `[B, C, H, W]`, as training would see them.

    Batch statistics and torch's generators stay as they are.
    """
    norms = {name: value.clone() for name, value in student.state_dict().items() if "running_" in name}
    counts = {name: value.clone() for name, value in student.state_dict().items() if "num_batches" in name}
    student.train()
    dropped = [module for module in student.modules() if isinstance(module, nn.modules.dropout._DropoutNd)]
    for module in dropped:
        module.eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        student(pixels)
    student.train()
    student.load_state_dict(norms | counts, strict=False)


def _quantisers(module: nn.Module) -> Iterator[FakeQuantize]:
    return (part for part in module.modules() if isinstance(part, FakeQuantize))


def _leave_logits_unquantised(network: fx.GraphModule) -> None:
    """Take the rounding of the logits out of a graph that `prepare_qat_fx` made."""
    output = next(node for node in network.graph.nodes if node.op == "output").args[0]
    logits = output.args[0] if isinstance(output, fx.Node) and output.target is Outputs else output
    if not isinstance(logits, fx.Node) or logits.op != "call_module":
        return
    if isinstance(network.get_submodule(str(logits.target)), FakeQuantize) and len(logits.users) == 1:
        logits.replace_all_uses_with(logits.args[0])  # pyright: ignore[reportArgumentType]
        network.graph.erase_node(logits)
        network.delete_submodule(str(logits.target))
        network.recompile()
