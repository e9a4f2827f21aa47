"""Q/DQ graphs in exact arithmetic in torch: the integers that zeropoint's engine computes, bit for bit.

docs/arithmetic.md has the rules; (a), (b) and (c) are those of that page. Convolutions and products run on
integer-valued tensors, in fp32 where no sum can reach 2^24, else in fp64: exact in any order of additions. Nodes that
work on floats, and have more than one rounding, are run by zeropoint itself, one by one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper

import zeropoint as q

from .onnx_graph import INTEGER_LIMITS, OnnxNode, read_graph
from .operators import OPERATORS, numbers, padding, run

Tensor: TypeAlias = torch.Tensor

_EXACT_IN_FP32 = 1 << 24
_MOVES = frozenset(
    "Concat DepthToSpace Expand Flatten Gather GatherElements Identity Reshape Slice SpaceToDepth Split Squeeze Tile "
    "Transpose Unsqueeze MaxPool GlobalMaxPool ReduceMax ReduceMin Shape Size Where Cast".split()
)
# One rounding an operation, or none: the same bits everywhere.
_ONE_ROUNDING = frozenset("Add Sub Mul Div Neg Abs Sqrt Floor Ceil Sign Relu Clip Equal Less Greater".split())
_NUMPY_TYPES: dict[torch.dtype, int] = {
    torch.float32: onnx.TensorProto.FLOAT,
    torch.float64: onnx.TensorProto.DOUBLE,
    torch.int64: onnx.TensorProto.INT64,
    torch.int32: onnx.TensorProto.INT32,
    torch.uint8: onnx.TensorProto.UINT8,
    torch.int8: onnx.TensorProto.INT8,
    torch.bool: onnx.TensorProto.BOOL,
}


@dataclass(frozen=True)
class Quantized:
    """Integers of a type with these limits; integer-valued fp32."""

    values: Tensor
    limits: tuple[int, int]


@dataclass(frozen=True)
class Dequantized:
    """scale * centred, where centred = integer - zero point, an integer-valued fp32 tensor between the bounds."""

    centred: Tensor
    scale: Tensor  # [] or [C] along the axis
    axis: int
    bounds: tuple[int, int]

    def spread(self) -> Tensor:
        if self.scale.ndim == 0:
            return self.scale
        return self.scale.reshape([-1 if i == self.axis % self.centred.ndim else 1 for i in range(self.centred.ndim)])

    def real(self) -> Tensor:
        return self.centred.float() * self.spread()

    @property
    def most(self) -> int:
        return max(abs(self.bounds[0]), abs(self.bounds[1]))


@dataclass(frozen=True)
class Sums:
    """Exact sums of products, at x_scale * w_scale, between limits of the real numbers (a ReLU or Clip behind)."""

    sums: Tensor  # integer-valued, fp32 or fp64
    x_scale: Tensor
    w_scale: Tensor  # broadcasts with the sums
    low: float = -float("inf")
    high: float = float("inf")

    def real(self) -> Tensor:  # (b)
        return torch.clamp(self.sums.float() * (self.x_scale * self.w_scale), self.low, self.high)


Value: TypeAlias = Tensor | Quantized | Dequantized | Sums


def _real(value: Value) -> Tensor:
    if isinstance(value, Dequantized | Sums):
        return value.real()
    return value.values if isinstance(value, Quantized) else value


@contextlib.contextmanager
def exact_floats() -> Iterator[None]:
    """fp32 products in fp32, whatever torch was allowed to do in their place."""
    mkldnn: Any = torch.backends.mkldnn
    before = [(part, part.fp32_precision) for part in (mkldnn.conv, mkldnn.matmul)]
    for part, _ in before:
        part.fp32_precision = "ieee"
    try:
        yield
    finally:
        for part, precision in before:
            part.fp32_precision = precision


def round_to_levels(v: Tensor, low: float, high: float) -> Tensor:
    """Clamped first, then to the nearest, ties to even; NaN is the lowest."""
    return torch.round(torch.clamp(torch.nan_to_num(v, nan=low, posinf=high, neginf=low), low, high))


class IntegerGraph:
    """A Q/DQ model as the engine computes it. Runs on the CPU.

    ``run`` gives all quantized values, too: integers by the name of the QuantizeLinear's output.
    """

    def __init__(self, model: q.Model) -> None:
        self.proto = onnx.load_model_from_string(model.to_bytes())
        self.graph = read_graph(self.proto)
        self._readers = self.graph.readers()
        self._initializers = {tensor.name: tensor for tensor in self.proto.graph.initializer}
        self._protos = [node for node in self.proto.graph.node if node.op_type != "Constant"]
        self._sessions: dict[int, tuple[q.Session, list[str]]] = {}
        self._constants: dict[str, Value] = {
            name: self._constant(name, tensor) for name, tensor in self.graph.constants.items()
        }
        self._weights: dict[tuple[str, bool], tuple[Tensor, float]] = {}

    def _constant(self, name: str, tensor: Tensor) -> Value:
        return tensor

    def run(self, feeds: Mapping[str, Tensor], threads: int | None = None) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Outputs, and the integers (int32) of every quantized value."""
        values: dict[str, Value] = dict(self._constants)
        values |= {name: value.detach().cpu() for name, value in feeds.items()}
        integers: dict[str, Tensor] = {}
        with torch.no_grad(), exact_floats():
            for i, node in enumerate(self.graph.nodes):
                self._step(i, node, values, integers)
        return [_real(values[name]) for name in self.graph.outputs], integers

    # ---- one node

    def _step(self, i: int, node: OnnxNode, values: dict[str, Value], integers: dict[str, Tensor]) -> None:
        inputs = [values[name] if name else None for name in node.inputs]
        kind = node.op_type
        result: Value | None = None
        if kind == "QuantizeLinear":
            quantized = self._quantize(node, values)
            integers[node.outputs[0]] = quantized.values.to(torch.int32)
            values[node.outputs[0]] = quantized
            return
        if kind == "DequantizeLinear":
            result = self._dequantize(node, values)
        elif kind in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            result = self._product(node, inputs)
        elif kind in ("Relu", "Clip") and isinstance(inputs[0], Sums) and self._only_reader(node.inputs[0]):
            result = self._clamped(node, inputs[0], inputs[1:])
        elif kind in ("AveragePool", "GlobalAveragePool", "ReduceMean"):
            result = self._mean(node, inputs)
        elif kind in _MOVES:
            moved = self._moved(node, inputs)
            if moved is not None:
                values |= {name: value for name, value in zip(node.outputs, moved, strict=False) if name}
                return
        if result is not None:
            values[node.outputs[0]] = result
            return
        tensors = [None if value is None else _real(value) for value in inputs]
        floats = any(t is not None and t.is_floating_point() for t in tensors)
        if kind in OPERATORS and not node.domain and (not floats or kind in _MOVES or kind in _ONE_ROUNDING):
            outputs: Sequence[Tensor] = run(node, self.graph.opset, tensors)
        else:
            outputs = self._by_zeropoint(i, node, tensors)
        values |= {name: value for name, value in zip(node.outputs, outputs, strict=False) if name}

    def _only_reader(self, name: str) -> bool:
        return len(self._readers.get(name, ())) == 1 and name not in self.graph.outputs

    def _parameters(self, node: OnnxNode, values: Mapping[str, Value]) -> tuple[Tensor, Tensor]:
        scale = _real(values[node.inputs[1]]).float()
        zero = _real(values[node.inputs[2]]) if node.input(2) else torch.zeros_like(scale)
        if scale.numel() == 1:
            scale, zero = scale.reshape(()), zero.reshape(())
        return scale, zero.float()

    def _quantize(self, node: OnnxNode, values: Mapping[str, Value]) -> Quantized:
        scale, zero = self._parameters(node, values)
        limits = INTEGER_LIMITS[self.graph.constant_types[node.inputs[2]]]
        low, high = limits[0] - float(zero), limits[1] - float(zero)
        value = values[node.inputs[0]]
        if isinstance(value, Sums) and self._only_quantized_alike(node):  # (a)
            ends = [float(round_to_levels(torch.tensor(end) / scale, low, high)) for end in (value.low, value.high)]
            v = value.sums.float() * ((value.x_scale * value.w_scale) / scale)
            return Quantized(round_to_levels(v, *ends) + zero, limits)
        return Quantized(round_to_levels(_real(value) / scale, low, high) + zero, limits)

    def _only_quantized_alike(self, node: OnnxNode) -> bool:
        """Rule (a) holds where one quantizer, or several equal ones, read the sums, and nobody else does."""
        readers = self._readers[node.inputs[0]]
        return node.inputs[0] not in self.graph.outputs and all(
            reader.op_type == "QuantizeLinear" and reader.inputs[1:] == node.inputs[1:] for reader in readers
        )

    def _dequantize(self, node: OnnxNode, values: Mapping[str, Value]) -> Value:
        scale, zero = self._parameters(node, values)
        x = values[node.inputs[0]]
        if isinstance(x, Quantized):
            limits, integer = x.limits, x.values
        else:
            assert isinstance(x, Tensor)
            limits, integer = INTEGER_LIMITS[self.graph.constant_types[node.inputs[0]]], x
            if limits[1] > 65535:  # a bias: fp32 could not hold it
                assert not zero.any()
                return Dequantized(integer.double(), scale, node.attributes.get("axis", 1), limits)
        if scale.ndim and node.attributes.get("block_size", 0):
            raise q.Error("unsupported", str(node), f"{node}: scales of blocks do not run in torch here")
        result = Dequantized(integer.float(), scale, node.attributes.get("axis", 1), limits)
        spread = replace(result, scale=zero).spread()
        bounds = (limits[0] - int(zero.max()), limits[1] - int(zero.min()))
        return replace(result, centred=result.centred - spread, bounds=bounds)

    # ---- sums

    def _product(self, node: OnnxNode, inputs: Sequence[Value | None]) -> Sums | None:
        x, w = inputs[0], inputs[1]
        given = node.attributes
        if not isinstance(x, Dequantized) or not isinstance(w, Dequantized) or x.scale.ndim:
            return None
        if node.op_type == "Gemm" and (
            given.get("transA", 0) or given.get("alpha", 1) != 1 or given.get("beta", 1) != 1
        ):
            return None
        matrix = node.op_type in ("Gemm", "MatMul")
        groups = given.get("group", 1) if node.op_type == "ConvTranspose" else 1
        scale = w.scale
        if scale.ndim and node.op_type == "ConvTranspose" and w.axis == 1:
            scale = scale.repeat(groups)
        unit = x.scale * scale
        spatial = [1] * (w.centred.ndim - 2)
        bias = inputs[2] if len(inputs) > 2 else None
        summand = None
        if bias is not None:
            if isinstance(bias, Dequantized) and bias.bounds[1] > 65535 and torch.equal(bias.scale, unit):
                summand = bias.centred
            else:
                real = _real(bias)
                summand = torch.round(real.double() / unit.double())
        most = float(x.most) * self._most_weight(node, w)
        if summand is not None:
            most += float(summand.abs().max()) if summand.numel() else 0.0
        kind = torch.float32 if most < _EXACT_IN_FP32 else torch.float64
        (sums,) = run(
            replace(node, attributes={k: v for k, v in given.items() if k not in ("alpha", "beta")}),
            self.graph.opset,
            [x.centred.to(kind), w.centred.to(kind)],
        )
        if summand is not None:
            sums = sums + (summand.to(kind) if matrix else summand.to(kind).reshape(-1, *spatial))
        return Sums(sums, x.scale, scale if matrix or not scale.ndim else scale.reshape(-1, *spatial))

    def _most_weight(self, node: OnnxNode, w: Dequantized) -> float:
        """No output sums more magnitude of weights."""
        if node.inputs[1] not in self._initializers_behind():
            return float(w.most) * w.centred.shape[-2]
        found = self._largest.get(node.inputs[1])
        if found is None:
            magnitude = w.centred.abs().double()
            if node.op_type == "Conv":
                found = magnitude.flatten(1).sum(1).max()
            elif node.op_type == "ConvTranspose":
                found = magnitude.transpose(0, 1).flatten(1).sum(1).max()
            elif node.op_type == "Gemm" and node.attributes.get("transB", 0):
                found = magnitude.sum(1).max()
            else:
                found = magnitude.sum(-2).max()
            self._largest[node.inputs[1]] = found
        return float(found)

    def _initializers_behind(self) -> frozenset[str]:
        """Outputs of DequantizeLinear of constants."""
        if not hasattr(self, "_constant_values"):
            self._largest: dict[str, Tensor] = {}
            self._constant_values = frozenset(
                node.outputs[0]
                for node in self.graph.nodes
                if node.op_type == "DequantizeLinear" and node.inputs[0] in self.graph.constants
            )
        return self._constant_values

    def _clamped(self, node: OnnxNode, x: Sums, limits: Sequence[Value | None]) -> Sums:
        low, high = -float("inf"), float("inf")
        if node.op_type == "Relu":
            low = 0.0
        else:
            low, high = node.attributes.get("min", low), node.attributes.get("max", high)
            ends = [None if limit is None else float(_real(limit)) for limit in limits] + [None, None]
            low, high = low if ends[0] is None else ends[0], high if ends[1] is None else ends[1]
        return replace(x, low=min(max(x.low, low), high), high=min(max(x.high, low), high))

    def _mean(self, node: OnnxNode, inputs: Sequence[Value | None]) -> Tensor | None:
        """(c): sums in integers, converted once, times the scale, divided by the count."""
        x = inputs[0]
        if not isinstance(x, Dequantized) or x.scale.ndim or x.centred.ndim < 3:
            return None
        values, spatial = x.centred.double(), tuple(range(2, x.centred.ndim))
        given = node.attributes
        if node.op_type == "AveragePool":
            kernel = given["kernel_shape"]
            if given.get("ceil_mode", 0) or any(d != 1 for d in given.get("dilations", [])):
                return None
            pads = [end for pair in reversed(padding(node, values.shape[2:], kernel)) for end in pair]
            ones = torch.ones_like(values[:1, :1])
            window: Any = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[len(kernel)]
            counted = F.pad(ones, pads, value=float(bool(given.get("count_include_pad", 0))))
            size = float(np.prod(kernel))
            strides = given.get("strides", [1] * len(kernel))
            # Means of integers times their count: exact again once rounded.
            sums = torch.round(window(F.pad(values, pads), kernel, strides) * size)
            count = torch.round(window(counted, kernel, strides) * size)
            return (sums.float() * x.scale) / count.float()
        keep = True
        if node.op_type == "ReduceMean":
            axes = numbers(_real(inputs[1])) if len(inputs) > 1 and inputs[1] is not None else given.get("axes")
            if axes is None or {axis % values.ndim for axis in axes} != set(spatial):
                return None
            keep = bool(given.get("keepdims", 1))
        total = float(np.prod(values.shape[2:]))
        return (values.sum(spatial, keepdim=keep).float() * x.scale) / torch.tensor(total, dtype=torch.float32)

    # ---- everything else

    def _moved(self, node: OnnxNode, inputs: Sequence[Value | None]) -> list[Value] | None:
        """Integers go where their reals would."""
        kind = node.op_type
        if kind in ("Shape", "Size", "Cast", "Where"):
            return None
        sources = inputs if kind == "Concat" else inputs[:1]
        first = sources[0]
        if not isinstance(first, Dequantized) or first.scale.ndim:
            return None
        for each in sources:
            if not isinstance(each, Dequantized) or each.bounds != first.bounds or each.scale.ndim:
                return None
            if each.scale != first.scale:
                return None
        tensors = [
            each.centred if isinstance(each, Dequantized) else None if each is None else _real(each) for each in inputs
        ]
        return [replace(first, centred=moved) for moved in run(node, self.graph.opset, tensors)]

    def _by_zeropoint(self, i: int, node: OnnxNode, tensors: Sequence[Tensor | None]) -> list[Tensor]:
        """One node on the engine: its bits are those of the whole graph (docs/arithmetic.md, 4)."""
        if i not in self._sessions:
            self._sessions[i] = self._session_of(node, tensors)
        session, fed = self._sessions[i]
        feeds = {}
        for name, tensor in zip(node.inputs, tensors, strict=True):
            if name in fed and tensor is not None:
                feeds[name] = np.array(tensor.numpy(), order="C")
        return [torch.from_numpy(np.array(result)) for result in session.run(None, feeds)]

    def _session_of(self, node: OnnxNode, tensors: Sequence[Tensor | None]) -> tuple[q.Session, list[str]]:
        inputs: list[Any] = []
        constants: list[Any] = []
        fed: list[str] = []
        known = self._initializers_behind()
        for name, tensor in zip(node.inputs, tensors, strict=True):
            if tensor is None or name in fed or any(each.name == name for each in constants):
                continue
            if name in self.graph.constants or name in known:
                constants.append(numpy_helper.from_array(np.array(tensor.numpy(), order="C"), name))
                continue
            fed.append(name)
            dims = [f"{name}_{axis}" for axis in range(tensor.ndim)]
            inputs.append(helper.make_tensor_value_info(name, _NUMPY_TYPES[tensor.dtype], dims))
        proto = next(each for each in self._protos if tuple(each.output) == node.outputs)
        outputs = [
            helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None) for name in node.outputs if name
        ]
        graph = helper.make_graph([proto], "node", inputs, outputs, constants)
        made = helper.make_model(graph, opset_imports=list(self.proto.opset_import), ir_version=self.proto.ir_version)
        return q.Session(q.load(made.SerializeToString()), threads=torch.get_num_threads()), fed
