"""Int8 ONNX files of students that were trained for int8: their learned scales, and weights stored as int8."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
from torch import nn
from torch.ao.quantization.quantize_fx import _convert_to_reference_decomposed_fx

from limbeck.building.quantised_student import QuantisedStudent
from limbeck.packages import need

LARGEST_INT32 = 2**31 - 1


def is_quantised(model: nn.Module) -> bool:
    """Whether the model, or one inside it, was trained for int8."""
    return any(isinstance(module, QuantisedStudent) for module in model.modules())


def with_explicit_quantisation(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode, in which each rounding is an operation that torch's exporter writes as a pair of
    QuantizeLinear and DequantizeLinear, and BatchNorms lie in the convolutions before. It answers as the model does.
    """
    copied = copy.deepcopy(model).eval().requires_grad_(False)
    if isinstance(copied, QuantisedStudent):
        return _converted(copied)
    for name, module in list(copied.named_modules()):
        if isinstance(module, QuantisedStudent):
            parent, _, child = name.rpartition(".")
            setattr(copied.get_submodule(parent), child, _converted(module))
    return copied


def _converted(student: QuantisedStudent) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao announces its successor
        return _convert_to_reference_decomposed_fx(student.network)


def store_as_integers(model: Any) -> None:
    """Store the weights of an exported ONNX model as int8 and its biases as int32, in memory.

    The exporter writes float weights that are quantised anew at each start; the runtime's int8 kernels want integers.
    A bias has the scale of the sums that it is added to, input scale · weight scale, as the runtime's own quantiser
    gives it. One that would overflow stays float, and so does its layer.
    """
    graph = _Graph(model)
    for node in list(model.graph.node):
        if node.op_type == "QuantizeLinear" and node.input[0] in graph.constants:
            graph.store_weight(node)
    for node in list(model.graph.node):
        if node.op_type in ("Conv", "Gemm") and len(node.input) == 3:
            graph.store_bias(node)
    graph.remove_unused()


class _Graph:
    """An ONNX graph with its constants by name."""

    def __init__(self, model: Any) -> None:
        onnx = need("onnx", "export", "export to onnx-int8")
        self.helper, self.arrays = onnx.helper, onnx.numpy_helper
        self.graph = model.graph
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        self.made_by = {name: node for node in self.graph.node for name in node.output}

    def store_weight(self, quantise: Any) -> None:
        """Put int8 numbers in the place of QuantizeLinear (and a Clip after it) of a float constant."""
        readers = [node for node in self.graph.node if quantise.output[0] in node.input]
        clip = readers[0] if len(readers) == 1 and readers[0].op_type == "Clip" else None
        weights, scale = self.value(quantise.input[0]), self.value(quantise.input[1])
        zero = self.value(quantise.input[2])
        axis = next((attribute.i for attribute in quantise.attribute if attribute.name == "axis"), 1)
        if scale.ndim:
            shape = [-1 if place == axis else 1 for place in range(weights.ndim)]
            scale, zero = scale.reshape(shape), zero.reshape(shape)
        low, high = np.iinfo(zero.dtype).min, np.iinfo(zero.dtype).max
        if clip is not None:
            low, high = (self.value(name) for name in clip.input[1:3])
        # Multiplied, not divided, as torch does; both round halves to even.
        rounded = np.rint(weights * (np.float32(1) / scale)) + zero.astype(np.float32)
        last = clip if clip is not None else quantise
        self.add_constant(last.output[0], rounded.clip(low, high).astype(zero.dtype))
        for node in (quantise, clip):
            if node is not None:
                self.graph.node.remove(node)

    def store_bias(self, layer: Any) -> None:
        """Put int32 numbers and a DequantizeLinear in the place of the float bias of a layer of quantised inputs."""
        image, weight = (self.made_by.get(name) for name in layer.input[:2])
        name = layer.input[2]
        if image is None or weight is None or name not in self.constants:
            return
        if not image.op_type == weight.op_type == "DequantizeLinear":
            return
        scale = self.value(image.input[1]).astype(np.float64) * self.value(weight.input[1]).astype(np.float64)
        bias = np.rint(self.value(name).astype(np.float64) / scale)
        if not np.abs(bias).max(initial=0) <= LARGEST_INT32:
            return
        own = f"{layer.output[0]}_bias"
        self.add_constant(f"{own}_int32", bias.astype(np.int32))
        self.add_constant(f"{own}_scale", np.broadcast_to(scale, bias.shape).astype(np.float32))
        node = self.helper.make_node("DequantizeLinear", [f"{own}_int32", f"{own}_scale"], [own], name=own, axis=0)
        self.graph.node.insert(list(self.graph.node).index(layer), node)
        layer.input[2] = own

    def value(self, name: str) -> np.ndarray:
        return self.arrays.to_array(self.constants[name])

    def add_constant(self, name: str, value: np.ndarray) -> None:
        tensor = self.arrays.from_array(np.ascontiguousarray(value), name)
        self.graph.initializer.append(tensor)
        self.constants[name] = tensor

    def remove_unused(self) -> None:
        """Remove constants that no node reads any more."""
        read = {name for node in self.graph.node for name in node.input} | {one.name for one in self.graph.output}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)
