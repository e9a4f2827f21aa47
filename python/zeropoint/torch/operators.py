"""ONNX's operators in torch: float arithmetic that gradients flow through.

``OPERATORS[op_type](node, opset, *inputs)`` gives a tensor or a tuple of them; inputs that are left out are None.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F

import zeropoint as q

from .onnx_graph import OnnxNode

Tensor: TypeAlias = torch.Tensor
Operator: TypeAlias = Callable[..., Tensor | tuple[Tensor, ...]]

OPERATORS: dict[str, Operator] = {}

_TYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
}


def _operator(*names: str) -> Callable[[Operator], Operator]:
    def register(function: Operator) -> Operator:
        for name in names:
            OPERATORS[name] = function
        return function

    return register


def unsupported(node: OnnxNode, what: str) -> q.Error:
    return q.Error("unsupported", str(node), f"{what} does not run in torch here")


def run(node: OnnxNode, opset: int, inputs: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    result = OPERATORS[node.op_type](node, opset, *inputs)
    return result if isinstance(result, tuple) else (result,)


def numbers(tensor: Tensor) -> list[int]:
    return [int(value) for value in tensor.reshape(-1).tolist()]


def _axes(node: OnnxNode, given: Tensor | None) -> list[int] | None:
    """Of an operator that took them as an attribute in older versions."""
    if given is not None:
        return numbers(given)
    axes = node.attributes.get("axes")
    return None if axes is None else [int(axis) for axis in axes]


# ---- products


def padding(node: OnnxNode, size: Sequence[int], kernel: Sequence[int]) -> list[tuple[int, int]]:
    """(begin, end) of each spatial axis, auto_pad resolved."""
    given = node.attributes
    spatial = len(kernel)
    strides, dilations = given.get("strides", [1] * spatial), given.get("dilations", [1] * spatial)
    mode = given.get("auto_pad", "NOTSET")
    if mode == "VALID":
        return [(0, 0)] * spatial
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        result = []
        for length, k, stride, dilation in zip(size, kernel, strides, dilations, strict=True):
            total = max(0, (-(-length // stride) - 1) * stride + (k - 1) * dilation + 1 - length)
            small = total // 2
            result.append((small, total - small) if mode == "SAME_UPPER" else (total - small, small))
        return result
    pads = given.get("pads", [0] * (2 * spatial))
    return [(pads[i], pads[i + spatial]) for i in range(spatial)]


def _flat(pads: Sequence[tuple[int, int]]) -> list[int]:
    """As F.pad takes them: the last axis first."""
    return [pad for pair in reversed(pads) for pad in pair]


_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@_operator("Conv")
def conv(node: OnnxNode, opset: int, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    spatial = w.ndim - 2
    given = node.attributes
    pads = padding(node, x.shape[2:], w.shape[2:])
    if any(begin != end for begin, end in pads):
        x, pads = F.pad(x, _flat(pads)), [(0, 0)] * spatial
    if spatial == 2 and x.dtype == torch.float32:  # two to four times as fast on CPUs
        w = w.contiguous(memory_format=torch.channels_last)
    return _CONVOLUTIONS[spatial](
        x,
        w,
        b,
        stride=given.get("strides", [1] * spatial),
        padding=[begin for begin, _ in pads],
        dilation=given.get("dilations", [1] * spatial),
        groups=given.get("group", 1),
    )


@_operator("ConvTranspose")
def conv_transpose(node: OnnxNode, opset: int, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    spatial = w.ndim - 2
    given = node.attributes
    strides, dilations = given.get("strides", [1] * spatial), given.get("dilations", [1] * spatial)
    extra = given.get("output_padding", [0] * spatial)
    mode = given.get("auto_pad", "NOTSET")
    if mode not in ("NOTSET", "VALID") or "output_shape" in given:
        shape = given.get("output_shape") or [x.shape[i + 2] * strides[i] for i in range(spatial)]
        pads = []
        for i in range(spatial):
            full = (x.shape[i + 2] - 1) * strides[i] + extra[i] + (w.shape[i + 2] - 1) * dilations[i] + 1
            total = max(0, full - shape[-spatial:][i])
            pads.append((total // 2, total - total // 2) if mode == "SAME_UPPER" else (total - total // 2, total // 2))
    else:
        pads = padding(node, x.shape[2:], w.shape[2:])
    # What padding takes away at the end, where that differs from the beginning, is cut off or left standing.
    y = _TRANSPOSED[spatial](
        x, w, None, stride=strides, output_padding=0, dilation=dilations, groups=given.get("group", 1)
    )
    y = F.pad(y, _flat([(-begin, more - end) for (begin, end), more in zip(pads, extra, strict=True)]))
    return y if b is None else y + b.reshape([-1] + [1] * spatial)


@_operator("Gemm")
def gemm(node: OnnxNode, opset: int, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    given = node.attributes
    alpha, beta = given.get("alpha", 1.0), given.get("beta", 1.0)
    left = a.mT if given.get("transA", 0) else a
    right = b.mT if given.get("transB", 0) else b
    y = left @ right
    if alpha != 1:
        y = alpha * y
    return y if c is None else y + (c if beta == 1 else beta * c)


@_operator("MatMul")
def matmul(node: OnnxNode, opset: int, a: Tensor, b: Tensor) -> Tensor:
    return torch.matmul(a, b)


@_operator("Einsum")
def einsum(node: OnnxNode, opset: int, *inputs: Tensor) -> Tensor:
    return torch.einsum(node.attributes["equation"], *inputs)


# ---- normalization


@_operator("BatchNormalization")
def batch_normalization(
    node: OnnxNode, opset: int, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, node.attributes.get("epsilon", 1e-5))


@_operator("InstanceNormalization")
def instance_normalization(node: OnnxNode, opset: int, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=bias, eps=node.attributes.get("epsilon", 1e-5))


@_operator("LayerNormalization")
def layer_normalization(node: OnnxNode, opset: int, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    axis = node.attributes.get("axis", -1) % x.ndim
    return F.layer_norm(x, x.shape[axis:], scale, bias, node.attributes.get("epsilon", 1e-5))


@_operator("GroupNormalization")
def group_normalization(node: OnnxNode, opset: int, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups = node.attributes["num_groups"]
    if opset < 21:  # one of each a group
        scale, bias = (each.repeat_interleave(x.shape[1] // groups) for each in (scale, bias))
    return F.group_norm(x, groups, scale, bias, node.attributes.get("epsilon", 1e-5))


# ---- elementwise


def _unary(name: str, function: Callable[[Tensor], Tensor]) -> None:
    OPERATORS[name] = lambda node, opset, x: function(x)


_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Relu": F.relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "HardSwish": F.hardswish,
    "Mish": F.mish,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Log": torch.log,
    "Sqrt": torch.sqrt,
    "Reciprocal": torch.reciprocal,
    "Abs": torch.abs,
    "Neg": torch.neg,
    "Floor": torch.floor,
    "Ceil": torch.ceil,
    "Round": torch.round,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Cos": torch.cos,
    "Not": torch.logical_not,
    "Identity": lambda x: x,
}
for _name, _function in _UNARY.items():
    _unary(_name, _function)


def _binary(name: str, function: Callable[[Tensor, Tensor], Tensor]) -> None:
    OPERATORS[name] = lambda node, opset, a, b: function(a, b)


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": _divide,
    "PRelu": lambda x, slope: torch.where(x < 0, x * slope, x),
    "Equal": torch.eq,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "And": torch.logical_and,
    "Or": torch.logical_or,
}
for _name, _pair in _BINARY.items():
    _binary(_name, _pair)


@_operator("Pow")
def power(node: OnnxNode, opset: int, x: Tensor, exponent: Tensor) -> Tensor:
    if exponent.numel() == 1 and exponent.ndim <= x.ndim and float(exponent) == 2:
        return x * x
    return torch.pow(x, exponent.to(x.dtype))


@_operator("Clip")
def clip(node: OnnxNode, opset: int, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    least = node.attributes.get("min") if low is None else float(low)
    most = node.attributes.get("max") if high is None else float(high)
    if least is not None and most is not None and x.is_floating_point() and least <= most:
        return F.hardtanh(x, least, most)  # clamp, with a backward pass of one sweep
    return x if least is None and most is None else torch.clamp(x, least, most)


@_operator("LeakyRelu")
def leaky_relu(node: OnnxNode, opset: int, x: Tensor) -> Tensor:
    return F.leaky_relu(x, node.attributes.get("alpha", 0.01))


@_operator("Elu")
def elu(node: OnnxNode, opset: int, x: Tensor) -> Tensor:
    return F.elu(x, node.attributes.get("alpha", 1.0))


@_operator("HardSigmoid")
def hard_sigmoid(node: OnnxNode, opset: int, x: Tensor) -> Tensor:
    return torch.clamp(node.attributes.get("alpha", 0.2) * x + node.attributes.get("beta", 0.5), 0, 1)


@_operator("Gelu")
def gelu(node: OnnxNode, opset: int, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=node.attributes.get("approximate", "none"))


@_operator("Swish")
def swish(node: OnnxNode, opset: int, x: Tensor) -> Tensor:
    return x * torch.sigmoid(node.attributes.get("alpha", 1.0) * x)


@_operator("Min")
def minimum(node: OnnxNode, opset: int, *inputs: Tensor) -> Tensor:
    result = inputs[0]
    for each in inputs[1:]:
        result = torch.minimum(result, each)
    return result


@_operator("Max")
def maximum(node: OnnxNode, opset: int, *inputs: Tensor) -> Tensor:
    result = inputs[0]
    for each in inputs[1:]:
        result = torch.maximum(result, each)
    return result


@_operator("Where")
def where(node: OnnxNode, opset: int, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition, a, b)


@_operator("Cast")
def cast(node: OnnxNode, opset: int, x: Tensor) -> Tensor:
    if node.attributes["to"] not in _TYPES:
        raise unsupported(node, f"a Cast to ONNX's type {node.attributes['to']}")
    return x.to(_TYPES[node.attributes["to"]])


@_operator("Softmax", "LogSoftmax")
def softmax(node: OnnxNode, opset: int, x: Tensor) -> Tensor:
    function = F.softmax if node.op_type == "Softmax" else F.log_softmax
    if opset >= 13:
        return function(x, dim=node.attributes.get("axis", -1))
    axis = node.attributes.get("axis", 1) % x.ndim  # over all axes from this one on
    return function(x.reshape(*x.shape[:axis], -1), dim=-1).reshape(x.shape)


# ---- pools and reductions


@_operator("MaxPool")
def max_pool(node: OnnxNode, opset: int, x: Tensor) -> Tensor:
    if len(node.outputs) > 1:
        raise unsupported(node, "the indices of a MaxPool")
    given = node.attributes
    kernel = given["kernel_shape"]
    pads = padding(node, x.shape[2:], kernel)
    x = F.pad(x, _flat(pads), value=-math.inf) if any(map(any, pads)) else x
    function: Any = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[len(kernel)]
    strides, dilations = given.get("strides", [1] * len(kernel)), given.get("dilations", [1] * len(kernel))
    result: Tensor = function(x, kernel, strides, 0, dilations, bool(given.get("ceil_mode", 0)))
    return result


@_operator("AveragePool")
def average_pool(node: OnnxNode, opset: int, x: Tensor) -> Tensor:
    given = node.attributes
    kernel = given["kernel_shape"]
    if given.get("ceil_mode", 0) or any(d != 1 for d in given.get("dilations", [])):
        raise unsupported(node, "an AveragePool with ceil_mode or dilations")
    pads = padding(node, x.shape[2:], kernel)
    function: Any = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[len(kernel)]
    strides = given.get("strides", [1] * len(kernel))
    y: Tensor = function(F.pad(x, _flat(pads)), kernel, strides)
    if given.get("count_include_pad", 0) or not any(map(any, pads)):
        return y
    inside: Tensor = function(F.pad(torch.ones_like(x[:1, :1]), _flat(pads)), kernel, strides)
    return y / inside


@_operator("GlobalAveragePool")
def global_average_pool(node: OnnxNode, opset: int, x: Tensor) -> Tensor:
    return x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)


@_operator("GlobalMaxPool")
def global_max_pool(node: OnnxNode, opset: int, x: Tensor) -> Tensor:
    return x.amax(dim=tuple(range(2, x.ndim)), keepdim=True)


def _reduction(name: str, function: Callable[[Tensor, tuple[int, ...], bool], Tensor]) -> None:
    def reduce(node: OnnxNode, opset: int, x: Tensor, given: Tensor | None = None) -> Tensor:
        axes = _axes(node, given)
        if not axes:
            if node.attributes.get("noop_with_empty_axes", 0):
                return x
            axes = list(range(x.ndim))
        return function(x, tuple(axes), bool(node.attributes.get("keepdims", 1)))

    OPERATORS[name] = reduce


_reduction("ReduceMean", lambda x, axes, keep: x.mean(axes, keepdim=keep))
_reduction("ReduceSum", lambda x, axes, keep: x.sum(axes, keepdim=keep))
_reduction("ReduceMax", lambda x, axes, keep: x.amax(axes, keepdim=keep))
_reduction("ReduceMin", lambda x, axes, keep: x.amin(axes, keepdim=keep))
_reduction("ReduceL2", lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt())
_reduction("ReduceSumSquare", lambda x, axes, keep: x.square().sum(axes, keepdim=keep))


@_operator("ArgMax")
def arg_max(node: OnnxNode, opset: int, x: Tensor) -> Tensor:
    if node.attributes.get("select_last_index", 0):
        raise unsupported(node, "an ArgMax with select_last_index")
    return x.argmax(dim=node.attributes.get("axis", 0), keepdim=bool(node.attributes.get("keepdims", 1)))


# ---- shapes and what moves values


@_operator("Shape")
def shape(node: OnnxNode, opset: int, x: Tensor) -> Tensor:
    begin, end = node.attributes.get("start", 0), node.attributes.get("end", x.ndim)
    return torch.tensor(x.shape[begin:end], dtype=torch.int64)


@_operator("Size")
def size(node: OnnxNode, opset: int, x: Tensor) -> Tensor:
    return torch.tensor(x.numel(), dtype=torch.int64)


@_operator("ConstantOfShape")
def constant_of_shape(node: OnnxNode, opset: int, dims: Tensor) -> Tensor:
    value = node.attributes.get("value", torch.zeros(1))
    filled: Tensor = value.reshape(()).expand(numbers(dims)).clone()
    return filled


@_operator("Range")
def arange(node: OnnxNode, opset: int, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


@_operator("Reshape")
def reshape(node: OnnxNode, opset: int, x: Tensor, dims: Tensor) -> Tensor:
    wanted = numbers(dims)
    if not node.attributes.get("allowzero", 0):
        wanted = [x.shape[i] if d == 0 else d for i, d in enumerate(wanted)]
    return x.reshape(wanted)


@_operator("Flatten")
def flatten(node: OnnxNode, opset: int, x: Tensor) -> Tensor:
    axis = node.attributes.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), -1)


@_operator("Squeeze")
def squeeze(node: OnnxNode, opset: int, x: Tensor, given: Tensor | None = None) -> Tensor:
    axes = _axes(node, given)
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


@_operator("Unsqueeze")
def unsqueeze(node: OnnxNode, opset: int, x: Tensor, given: Tensor | None = None) -> Tensor:
    axes = _axes(node, given) or []
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


@_operator("Transpose")
def transpose(node: OnnxNode, opset: int, x: Tensor) -> Tensor:
    return x.permute(node.attributes.get("perm", list(range(x.ndim))[::-1]))


@_operator("Concat")
def concat(node: OnnxNode, opset: int, *inputs: Tensor) -> Tensor:
    return torch.cat(inputs, dim=node.attributes["axis"])


def _parts(x: Tensor, lengths: int | list[int], axis: int = 0) -> tuple[Tensor, ...]:
    parts: tuple[Tensor, ...] = torch.split(x, lengths, axis)
    return parts


@_operator("Split")
def split(node: OnnxNode, opset: int, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = node.attributes.get("axis", 0)
    lengths = numbers(given) if given is not None else node.attributes.get("split")
    if lengths is None:
        return _parts(x, -(-x.shape[axis] // len(node.outputs)), axis)
    return _parts(x, lengths, axis)


@_operator("Slice")
def slice_(node: OnnxNode, opset: int, x: Tensor, *rest: Tensor | None) -> Tensor:
    if opset < 10:
        starts, ends = node.attributes["starts"], node.attributes["ends"]
        axes, steps = node.attributes.get("axes"), None
    else:
        starts, ends, axes, steps = (None if t is None else numbers(t) for t in (*rest, *[None] * (4 - len(rest))))
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis, step, length = (axes[i] if axes else i) % x.ndim, steps[i] if steps else 1, 0
        length = x.shape[axis]
        begin, stop, stride = slice(start, max(end, -length - 1) if step < 0 else end, step).indices(length)
        if step < 0:
            # ONNX counts an end below 0 from the length on; what lies before the first element means all of it.
            chosen = torch.arange(begin, stop, stride)
            x = x.index_select(axis, chosen)
        elif step == 1:
            x = x.narrow(axis, begin, max(0, stop - begin))
        else:
            x = x[(slice(None),) * axis + (slice(begin, stop, stride),)]
    return x


@_operator("Gather")
def gather(node: OnnxNode, opset: int, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.attributes.get("axis", 0) % x.ndim
    wrapped = torch.where(indices < 0, indices + x.shape[axis], indices)
    chosen = x.index_select(axis, wrapped.reshape(-1))
    return chosen.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


@_operator("GatherElements")
def gather_elements(node: OnnxNode, opset: int, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.attributes.get("axis", 0) % x.ndim
    return torch.gather(x, axis, torch.where(indices < 0, indices + x.shape[axis], indices))


@_operator("Expand")
def expand(node: OnnxNode, opset: int, x: Tensor, dims: Tensor) -> Tensor:
    return x.expand(np.broadcast_shapes(tuple(x.shape), tuple(numbers(dims))))


@_operator("Tile")
def tile(node: OnnxNode, opset: int, x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(numbers(repeats))


@_operator("Pad")
def pad(
    node: OnnxNode,
    opset: int,
    x: Tensor,
    pads: Tensor | None = None,
    value: Tensor | None = None,
    given_axes: Tensor | None = None,
) -> Tensor:
    amounts = numbers(pads) if pads is not None else list(node.attributes["pads"])
    axes = [axis % x.ndim for axis in numbers(given_axes)] if given_axes is not None else list(range(x.ndim))
    pairs = [(0, 0)] * x.ndim
    for i, axis in enumerate(axes):
        pairs[axis] = (amounts[i], amounts[i + len(axes)])
    mode = node.attributes.get("mode", "constant")
    if mode == "constant":
        fill = node.attributes.get("value", 0.0) if value is None else value.item()
        return F.pad(x, _flat(pairs), value=fill)
    for axis, (begin, end) in enumerate(pairs):
        if not begin and not end:
            continue
        places = torch.arange(-begin, x.shape[axis] + end)
        length = x.shape[axis]
        if mode == "edge":
            places = places.clamp(0, length - 1)
        elif mode == "wrap":
            places = places % length
        else:  # reflect
            places = places.abs() % max(1, 2 * (length - 1))
            places = torch.where(places >= length, 2 * (length - 1) - places, places)
        x = x.index_select(axis, places)
    return x


@_operator("DepthToSpace")
def depth_to_space(node: OnnxNode, opset: int, x: Tensor) -> Tensor:
    block, (n, c, h, w) = node.attributes["blocksize"], x.shape
    each = c // block**2
    if node.attributes.get("mode", "DCR") == "DCR":
        y = x.reshape(n, block, block, each, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        y = x.reshape(n, each, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
    return y.reshape(n, each, h * block, w * block)


@_operator("SpaceToDepth")
def space_to_depth(node: OnnxNode, opset: int, x: Tensor) -> Tensor:
    block, (n, c, h, w) = node.attributes["blocksize"], x.shape
    y = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return y.reshape(n, c * block**2, h // block, w // block)


@_operator("Resize")
def resize(
    node: OnnxNode,
    opset: int,
    x: Tensor,
    region: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Tensor:
    given = node.attributes
    plain = {"antialias": 0, "axes": list(range(x.ndim)), "exclude_outside": 0, "keep_aspect_ratio_policy": "stretch"}
    for name, usual in plain.items():
        if given.get(name, usual) != usual:
            raise unsupported(node, f"a Resize with {name} {given[name]}")
    mode, place = given.get("mode", "nearest"), given.get("coordinate_transformation_mode", "half_pixel")
    if sizes is not None and sizes.numel():
        lengths = numbers(sizes)
    elif scales is not None:
        lengths = [math.floor(n * s) for n, s in zip(x.shape, scales.tolist(), strict=True)]
    else:
        raise unsupported(node, "a Resize without scales and sizes")
    if list(x.shape[:2]) != lengths[:2]:
        raise unsupported(node, "a Resize of batch or channels")
    if mode == "nearest" and place == "asymmetric" and given.get("nearest_mode", "round_prefer_floor") == "floor":
        return F.interpolate(x, size=lengths[2:], mode="nearest")
    whole = all(y % n == 0 for n, y in zip(x.shape, lengths, strict=True))
    if mode == "nearest" and place == "half_pixel" and whole:
        return F.interpolate(x, size=lengths[2:], mode="nearest-exact")
    if mode == "linear" and x.ndim == 4 and place in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        return F.interpolate(x, size=lengths[2:], mode="bilinear", align_corners=place == "align_corners")
    raise unsupported(node, f"a Resize by {mode} with {place}")


# ---- recurrent


@_operator("LSTM")
def lstm(
    node: OnnxNode,
    opset: int,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    h0: Tensor | None = None,
    c0: Tensor | None = None,
    peepholes: Tensor | None = None,
) -> tuple[Tensor, ...]:
    given = node.attributes
    hidden, directions = r.shape[-1], w.shape[0]
    forward_only = given.get("direction", "forward") == "forward"
    plain = given.get("activations") in (None, ["Sigmoid", "Tanh", "Tanh"] * directions)
    if (
        lengths is not None
        or peepholes is not None
        or not plain
        or given.get("layout", 0)
        or "clip" in given
        or given.get("input_forget", 0)
        or not (forward_only or given.get("direction") == "bidirectional")
    ):
        raise unsupported(node, "this form of LSTM")

    def gates(tensor: Tensor) -> Tensor:  # i o f c -> i f g o
        i, o, f, c = _parts(tensor, hidden)
        return torch.cat([i, f, c, o])

    weights: list[Tensor] = []
    for d in range(directions):
        weights += [gates(w[d]), gates(r[d])]
        if b is not None:
            weights += [gates(each) for each in _parts(b[d], 4 * hidden)]
    zeros = x.new_zeros(directions, x.shape[1], hidden)
    start = (zeros if h0 is None else h0, zeros if c0 is None else c0)
    y, h, c = torch.lstm(x, start, weights, b is not None, 1, 0.0, False, directions == 2, False)
    return y.reshape(*y.shape[:2], directions, hidden).transpose(1, 2), h, c


@_operator("GRU")
def gru(
    node: OnnxNode,
    opset: int,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    h0: Tensor | None = None,
) -> tuple[Tensor, ...]:
    given = node.attributes
    hidden, directions = r.shape[-1], w.shape[0]
    direction = given.get("direction", "forward")
    plain = given.get("activations") in (None, ["Sigmoid", "Tanh"] * directions)
    if (
        lengths is not None
        or not plain
        or given.get("layout", 0)
        or "clip" in given
        or not given.get("linear_before_reset", 0)
        or direction == "reverse"
    ):
        raise unsupported(node, "this form of GRU")

    def gates(tensor: Tensor) -> Tensor:  # z r h -> r z n
        z, reset, h = _parts(tensor, hidden)
        return torch.cat([reset, z, h])

    weights: list[Tensor] = []
    for d in range(directions):
        weights += [gates(w[d]), gates(r[d])]
        if b is not None:
            weights += [gates(each) for each in _parts(b[d], 3 * hidden)]
    start = x.new_zeros(directions, x.shape[1], hidden) if h0 is None else h0
    y, h = torch.gru(x, start, weights, b is not None, 1, 0.0, False, directions == 2, False)
    return y.reshape(*y.shape[:2], directions, hidden).transpose(1, 2), h
