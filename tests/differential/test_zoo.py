"""A zoo of small random networks through the default command, `zeropoint quantize`.

Whatever comes out must be standard ONNX that ONNX Runtime loads and computes alike with and without its optimizations, near the
float model, and that our engine runs with the same result. What stays in float must be in the report.
"""

# ruff: noqa: E501
from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxruntime_peer import open_session, sqnr_db

ROOT = Path(__file__).resolve().parents[2]
ZEROPOINT = Path(os.environ.get("ZEROPOINT", ROOT / "build/release/zeropoint"))
SEED = 20240
PICTURE = (1, 8, 8, 8)


class Net:
    """A graph under construction; weights come from a seeded generator."""

    def __init__(self, opset: int, seed: int = SEED):
        self.opset, self.rng = opset, np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.count = 0

    def input(self, name: str, shape: tuple[int | str, ...], dtype: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def fresh(self, base: str) -> str:
        self.count += 1
        return f"{base}{self.count}"

    def constant(self, value) -> str:
        name = self.fresh("c")
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(self, *dims: int) -> str:
        fan = max(1, int(np.prod(dims[1:])))
        return self.constant((self.rng.normal(size=dims) / np.sqrt(fan)).astype(np.float32))

    def op(self, op_type: str, *inputs: str, outputs: int = 1, **attributes):
        names = [self.fresh(op_type.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(op_type, list(inputs), names, name=f"{op_type}_{self.count}", **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, x: str, i: int, o: int, kernel: tuple[int, ...] = (1, 1), bias: bool = True, **attributes) -> str:
        group = attributes.get("group", 1)
        inputs = [x, self.weight(o, i // group, *kernel)] + ([self.weight(o)] if bias else [])
        return self.op("Conv", *inputs, **attributes)

    def model(self, *outputs: str) -> onnx.ModelProto:
        infos = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
        graph = helper.make_graph(self.nodes, "zoo", self.inputs, infos, self.initializers)
        ir = {7: 3, 8: 3, 9: 4, 10: 5, 11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9}.get(
            self.opset, 10
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=max(ir, 4))
        return onnx.shape_inference.infer_shapes(model)


@dataclass
class Case:
    """`build(net)` returns outputs. `integer`: operators that ONNX Runtime's optimized graph must hold, with counts."""

    build: Callable[[Net], tuple[str, ...]]
    integer: dict[str, int] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)  # operator types that the report must name as left in float
    opsets: tuple[int, ...] = (13, 17)
    sqnr: float = 20
    engine: bool = True


def between(op: Callable[[Net, str], str], channels: int = 8, spatial: int = 2) -> Callable[[Net], tuple[str, ...]]:
    """conv -> relu -> op -> conv: the operator sits among integers."""

    def build(net: Net) -> tuple[str, ...]:
        x = net.input("x", PICTURE[: 2 + spatial])
        y = net.op("Relu", net.conv(x, 8, 8, (1,) * spatial))
        return (net.conv(op(net, y), channels, 4, (1,) * spatial),)

    return build


def two(op: Callable[[Net, str, str], str], channels: int = 8) -> Callable[[Net], tuple[str, ...]]:
    def build(net: Net) -> tuple[str, ...]:
        x = net.input("x", PICTURE)
        a, b = net.conv(x, 8, 8), net.conv(x, 8, 8, (3, 3), pads=[1, 1, 1, 1])
        return (net.conv(op(net, a, b), channels, 4),)

    return build


def unary(op_type: str, **attributes) -> Callable[[Net], tuple[str, ...]]:
    def build(net: Net) -> tuple[str, ...]:
        x = net.input("x", PICTURE)
        return (net.conv(net.op(op_type, net.conv(x, 8, 8), **attributes), 8, 4),)

    return build


def ints(net: Net, *values: int) -> str:
    return net.constant(np.array(values, np.int64))


def pooled(net: Net, x: str) -> str:
    return net.op("Flatten", net.op("GlobalAveragePool", x))


def resize(net: Net, x: str, **attributes) -> str:
    scales = net.constant(np.array([1, 1, 2, 2], np.float32))
    roi = "" if net.opset >= 13 else net.constant(np.array([], np.float32))
    return net.op("Resize", x, roi, scales, **attributes)


def mlp(net: Net) -> tuple[str, ...]:
    x = net.input("x", (1, 16))
    h = net.op("Relu", net.op("Gemm", x, net.weight(16, 32), net.weight(32)))
    return (net.op("Gemm", h, net.weight(10, 32), net.weight(10), transB=1),)


def gemm_factors(net: Net) -> tuple[str, ...]:
    x = net.input("x", (16, 4))
    h = net.op("Gemm", x, net.weight(16, 32), net.weight(32), transA=1, alpha=0.5, beta=2.0)
    return (net.op("Gemm", net.op("Relu", h), net.weight(32, 8), net.weight(8), alpha=3.0),)


def recurrent(op_type: str, gates: int, **attributes) -> Callable[[Net], tuple[str, ...]]:
    directions = 2 if attributes.get("direction") == "bidirectional" else 1

    def build(net: Net) -> tuple[str, ...]:
        x = net.input("x", (6, 1, 24))
        w, r = net.weight(directions, gates * 20, 24), net.weight(directions, gates * 20, 20)
        y = net.op(op_type, x, w, r, hidden_size=20, **attributes)
        flat = net.op("Reshape", y, ints(net, 6, 20 * directions))
        return (net.op("MatMul", flat, net.weight(20 * directions, 5)),)

    return build


def embedding(net: Net) -> tuple[str, ...]:
    ids = net.input("ids", (1, 6), TensorProto.INT64)
    x = net.op("Gather", net.weight(100, 32), ids)
    return (net.op("MatMul", net.op("Relu", net.op("MatMul", x, net.weight(32, 32))), net.weight(32, 4)),)


def embedding_mask(net: Net) -> tuple[str, ...]:
    """Integer and boolean inputs of mixed kinds: ids, a mask that is compared and selects."""
    ids, mask = net.input("ids", (1, 6), TensorProto.INT64), net.input("mask", (1, 6), TensorProto.BOOL)
    x = net.op("Gather", net.weight(100, 32), ids)
    wide = net.op("Cast", net.op("Unsqueeze", mask, ints(net, 2)), to=TensorProto.FLOAT)
    h = net.op("Mul", net.op("MatMul", x, net.weight(32, 32)), wide)
    return (net.op("MatMul", net.op("Relu", h), net.weight(32, 4)),)


def attention(net: Net) -> tuple[str, ...]:
    x = net.input("x", (1, 10, 32))
    q, k, v = (net.op("MatMul", x, net.weight(32, 32)) for _ in range(3))
    q, k, v = (
        net.op("Transpose", net.op("Reshape", t, ints(net, 1, 10, 4, 8)), perm=p)
        for t, p in ((q, [0, 2, 1, 3]), (k, [0, 2, 3, 1]), (v, [0, 2, 1, 3]))
    )
    weights = net.op("Softmax", net.op("Mul", net.op("MatMul", q, k), net.constant(np.float32(0.35))), axis=-1)
    y = net.op("Reshape", net.op("Transpose", net.op("MatMul", weights, v), perm=[0, 2, 1, 3]), ints(net, 1, 10, 32))
    return (net.op("Add", net.op("MatMul", y, net.weight(32, 32)), net.constant(np.ones(32, np.float32))),)


def squeeze_excite(net: Net) -> tuple[str, ...]:
    x = net.input("x", PICTURE)
    y = net.op("HardSwish", net.conv(x, 8, 16)) if net.opset >= 14 else net.op("Relu", net.conv(x, 8, 16))
    gate = net.op("Relu", net.conv(net.op("GlobalAveragePool", y), 16, 8))
    gate = net.op("HardSigmoid", net.conv(gate, 8, 16), alpha=1 / 6)
    return (net.conv(net.op("Mul", y, gate), 16, 4),)


def swish(net: Net) -> tuple[str, ...]:
    x = net.input("x", PICTURE)
    y = net.conv(x, 8, 16)
    return (net.conv(net.op("Mul", y, net.op("Sigmoid", y)), 16, 4),)


def unet(net: Net) -> tuple[str, ...]:
    x = net.input("x", (1, 3, 16, 16))
    a = net.op("Relu", net.conv(x, 3, 8, (3, 3), pads=[1, 1, 1, 1]))
    b = net.op(
        "Relu", net.conv(net.op("MaxPool", a, kernel_shape=[2, 2], strides=[2, 2]), 8, 16, (3, 3), pads=[1, 1, 1, 1])
    )
    up = net.op("ConvTranspose", b, net.weight(16, 8, 2, 2), net.weight(8), strides=[2, 2])
    return (net.conv(net.op("Concat", up, a, axis=1), 16, 2, (3, 3), pads=[1, 1, 1, 1]),)


def unet_resize(net: Net) -> tuple[str, ...]:
    x = net.input("x", (1, 3, 16, 16))
    a = net.op("Relu", net.conv(x, 3, 8, (3, 3), pads=[1, 1, 1, 1]))
    b = net.op(
        "Relu", net.conv(net.op("MaxPool", a, kernel_shape=[2, 2], strides=[2, 2]), 8, 16, (3, 3), pads=[1, 1, 1, 1])
    )
    up = resize(net, b, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    return (net.conv(net.op("Concat", up, a, axis=1), 24, 2, (3, 3), pads=[1, 1, 1, 1]),)


def transposed(o: int, kernel: tuple[int, ...], group: int = 1, bias: bool = True, **attributes):
    def op(net: Net, y: str) -> str:
        inputs = [y, net.weight(8, o // group, *kernel)] + ([net.weight(o)] if bias else [])
        return net.op("ConvTranspose", *inputs, group=group, **attributes)

    return op


def conv3d(net: Net) -> tuple[str, ...]:
    x = net.input("x", (1, 2, 5, 6, 7))
    y = net.op("Relu", net.conv(x, 2, 8, (3, 3, 3), pads=[1, 1, 1, 1, 1, 1]))
    return (net.conv(y, 8, 4, (2, 1, 3), strides=[2, 1, 1], group=2),)


def audio(net: Net) -> tuple[str, ...]:
    x = net.input("x", (1, 1, 256))
    y = net.op("Relu", net.conv(x, 1, 16, (9,), strides=[4], pads=[4, 4]))
    y = net.op("Relu", net.conv(y, 16, 16, (5,), group=16, dilations=[2], pads=[4, 4]))
    return (net.op("Gemm", pooled(net, net.conv(y, 16, 32, (3,))), net.weight(32, 4), net.weight(4)),)


def prelu(slopes: tuple[int, ...]) -> Callable[[Net], tuple[str, ...]]:
    def build(net: Net) -> tuple[str, ...]:
        x = net.input("x", PICTURE)
        y = net.op("PRelu", net.conv(x, 8, 8), net.weight(*slopes))
        return (net.conv(y, 8, 4),)

    return build


def split(net: Net, y: str) -> str:
    parts = ints(net, 4, 4)
    a, b = net.op("Split", y, *([parts] if net.opset >= 13 else []), outputs=2, axis=1,
                  **({} if net.opset >= 13 else {"split": [4, 4]}))  # fmt: skip
    return net.op("Concat", b, a, axis=1)


def pad(mode: str, value: float | None = None) -> Callable[[Net, str], str]:
    def op(net: Net, y: str) -> str:
        inputs = [y, ints(net, 0, 0, 1, 1, 0, 0, 1, 1)] + ([] if value is None else [net.constant(np.float32(value))])
        return net.op("Pad", *inputs, mode=mode)

    return op


def matmul3(net: Net) -> tuple[str, ...]:
    """Constants of more than two dimensions: leading ones, and a batch of matrices."""
    x = net.input("x", (3, 10, 16))
    y = net.op("Relu", net.op("MatMul", x, net.weight(1, 16, 16)))
    return (net.op("MatMul", y, net.weight(3, 16, 8)),)


def two_matrices(net: Net) -> tuple[str, ...]:
    a, b = net.input("a", (2, 10, 16)), net.input("b", (2, 16, 12))
    return (net.op("MatMul", a, b),)


def branch(net: Net) -> tuple[str, ...]:
    """A Conv inside a body of If stays in float."""
    x, yes = net.input("x", PICTURE), net.input("yes", (1,), TensorProto.BOOL)
    y = net.op("Relu", net.conv(x, 8, 8))

    def body(name: str, op: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(op, [y], [name], name=name)], name, [], [out])

    chosen = net.op(
        "If", net.op("Squeeze", yes, ints(net, 0)), then_branch=body("t", "Tanh"), else_branch=body("e", "Abs")
    )
    return (net.conv(chosen, 8, 4),)


def layer_norm(net: Net) -> tuple[str, ...]:
    x = net.input("x", (1, 10, 32))
    y = net.op("MatMul", x, net.weight(32, 32))
    y = net.op("LayerNormalization", y, net.weight(32), net.weight(32))
    return (net.op("MatMul", y, net.weight(32, 4)),)


def mean(keepdims: int) -> Callable[[Net], tuple[str, ...]]:
    def build(net: Net) -> tuple[str, ...]:
        x = net.input("x", PICTURE)
        y = net.op("Relu", net.conv(x, 8, 8))
        axes = [ints(net, 2, 3)] if net.opset >= 18 else []
        y = net.op("ReduceMean", y, *axes, keepdims=keepdims, **({} if axes else {"axes": [2, 3]}))
        return (net.conv(y, 8, 4),) if keepdims else (net.op("Gemm", y, net.weight(8, 4), net.weight(4)),)

    return build


OLDEST = 7  # opset that can be raised
OLD, NEW = (7, 8, 9, 10, 11, 12), (13, 17, 21, 23, 25)
ALL = OLD + NEW
CASES: dict[str, Case] = {
    "conv": Case(between(lambda net, y: net.conv(y, 8, 8, (3, 3), pads=[1, 1, 1, 1])), {"QLinearConv": 3}, opsets=ALL),
    "conv_grouped": Case(between(lambda net, y: net.conv(y, 8, 8, (3, 3), group=4)), {"QLinearConv": 3}, opsets=ALL),
    "conv_depthwise": Case(between(lambda net, y: net.conv(y, 8, 8, (3, 3), group=8)), {"QLinearConv": 3}),
    "conv_dilated": Case(between(lambda net, y: net.conv(y, 8, 8, (3, 3), dilations=[2, 2])), {"QLinearConv": 3}),
    "conv_same": Case(between(lambda net, y: net.conv(y, 8, 8, (3, 3), auto_pad="SAME_UPPER")), {"QLinearConv": 3}),
    "conv_1d": Case(audio, {"QLinearConv": 3, "QGemm": 1}, opsets=ALL),
    "conv_3d": Case(conv3d, {"QLinearConv": 2}, opsets=ALL),
    "conv_transpose": Case(between(transposed(6, (2, 2), strides=[2, 2]), 6), {"QLinearConv": 2}, opsets=ALL),
    "conv_transpose_overlap": Case(
        between(transposed(6, (4, 4), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 0]), 6), {"QLinearConv": 2}),
    "conv_transpose_odd": Case(between(transposed(6, (3, 2), strides=[2, 3], dilations=[2, 1]), 6), {"QLinearConv": 2}),
    "conv_transpose_groups": Case(between(transposed(12, (3, 3), group=4, strides=[2, 1]), 12), {"QLinearConv": 2}),
    "conv_transpose_depthwise": Case(between(transposed(8, (3, 3), group=8, strides=[2, 2]), 8), {"QLinearConv": 2}),
    "conv_transpose_1d": Case(between(transposed(6, (4,), strides=[2]), 6, spatial=1), {"QLinearConv": 2}),
    "conv_transpose_no_bias": Case(between(transposed(6, (3, 3), bias=False), 6), {"QLinearConv": 2}),
    "mlp": Case(mlp, {"QGemm": 2}, opsets=ALL),
    "gemm_factors": Case(gemm_factors, {"QGemm": 2}, opsets=ALL),
    "matmul_activations": Case(two_matrices, {"MatMulIntegerToFloat": 1}, opsets=ALL),
    "matmul_many_dimensions": Case(matmul3, {"QLinearMatMul": 1}),
    "attention": Case(attention, left={"Softmax"}, opsets=(13, 17, 21), sqnr=15),
    "add": Case(two(lambda net, a, b: net.op("Add", a, b)), {"QLinearAdd": 1}, opsets=ALL),
    "mul": Case(two(lambda net, a, b: net.op("Mul", a, b)), {"QLinearMul": 1}, opsets=ALL),
    "sub": Case(two(lambda net, a, b: net.op("Sub", a, b)), left={"Sub"}, opsets=ALL),
    "div": Case(two(lambda net, a, b: net.op("Div", a, net.op("Exp", b))), left={"Div", "Exp"}, sqnr=10),
    "min": Case(two(lambda net, a, b: net.op("Min", a, b)), left={"Min"}),
    "max": Case(two(lambda net, a, b: net.op("Max", a, b)), left={"Max"}),
    "where": Case(two(lambda net, a, b: net.op("Where", net.op("Greater", a, b), a, b)), left={"Where"}),
    "concat": Case(two(lambda net, a, b: net.op("Concat", a, b, axis=1), 16), {"QLinearConcat": 1}, opsets=ALL),
    "split": Case(between(split), {"QLinearConv": 2, "Split": 1}, opsets=(11, 12, 13, 17)),
    "relu": Case(unary("Relu"), {"QLinearConv": 2}, opsets=ALL),
    "clip": Case(between(lambda net, y: net.op("Clip", y, net.constant(np.float32(0)), net.constant(np.float32(6)))), {"QLinearConv": 2}),
    "leaky_relu": Case(unary("LeakyRelu", alpha=0.1), {"QLinearLeakyRelu": 1}, opsets=ALL),
    "sigmoid": Case(unary("Sigmoid"), {"QLinearSigmoid": 1}, opsets=ALL),
    "tanh": Case(unary("Tanh"), left={"Tanh"}, opsets=ALL),
    "elu": Case(unary("Elu"), left={"Elu"}, opsets=ALL),
    "gelu": Case(unary("Gelu"), left={"Gelu"}, opsets=(20, 21)),
    "softplus": Case(unary("Softplus"), left={"Softplus"}),
    "hard_sigmoid": Case(unary("HardSigmoid"), left={"HardSigmoid"}, opsets=ALL),
    "hard_swish": Case(unary("HardSwish"), left={"HardSwish"}, opsets=(14, 17)),
    "mish": Case(unary("Mish"), left={"Mish"}, opsets=(18, 21)),
    "prelu_scalar": Case(prelu((1,)), left={"PRelu"}, opsets=ALL[2:]),
    "prelu_channels": Case(prelu((8, 1, 1)), left={"PRelu"}, opsets=ALL[2:]),
    "swish": Case(swish, {"QLinearSigmoid": 1, "QLinearMul": 1}, opsets=ALL),
    "squeeze_excite": Case(squeeze_excite, {"QLinearConv": 4}, left={"HardSigmoid", "HardSwish"}, opsets=(14, 17, 21)),
    "max_pool": Case(between(lambda net, y: net.op("MaxPool", y, kernel_shape=[2, 2])), {"QLinearConv": 2}, opsets=ALL),
    "average_pool": Case(
        between(lambda net, y: net.op("AveragePool", y, kernel_shape=[2, 2])), {"QLinearAveragePool": 1}, opsets=ALL),
    "global_average_pool": Case(between(lambda net, y: net.op("GlobalAveragePool", y)), {"QLinearGlobalAveragePool": 1}, opsets=ALL),
    "global_max_pool": Case(between(lambda net, y: net.op("GlobalMaxPool", y))),
    "reduce_mean": Case(mean(1), opsets=(11, 13, 17, 18)),
    "reduce_mean_flat": Case(mean(0), opsets=(11, 13, 17, 18)),
    "reduce_max": Case(between(lambda net, y: net.op("ReduceMax", y, axes=[2], keepdims=1))),
    "flatten": Case(
        lambda net: (net.op("Gemm", pooled(net, net.op("Relu", net.conv(net.input("x", PICTURE), 8, 8))), net.weight(8, 4), net.weight(4)),),
        {"QLinearConv": 1, "QGemm": 1}, opsets=ALL),
    "transpose": Case(between(lambda net, y: net.op("Transpose", y, perm=[0, 1, 3, 2])), {"QLinearConv": 2}, opsets=ALL),
    "reshape": Case(between(lambda net, y: net.op("Reshape", y, ints(net, 1, 8, 4, 16))), {"QLinearConv": 2}, opsets=ALL),
    "slice": Case(between(lambda net, y: net.op("Slice", y, ints(net, 1), ints(net, 5), ints(net, 2))), {"QLinearConv": 2}, opsets=(10, 11, 13)),
    "gather": Case(between(lambda net, y: net.op("Gather", y, ints(net, 2, 0, 1), axis=1), 3), {"QLinearConv": 2}, opsets=ALL),
    "tile": Case(between(lambda net, y: net.op("Tile", y, ints(net, 1, 1, 2, 1))), {"QLinearConv": 2}, opsets=ALL),
    "expand": Case(
        between(lambda net, y: net.op("Expand", net.op("GlobalAveragePool", y), ints(net, 1, 8, 4, 4))),
        {"QLinearConv": 2}, opsets=ALL[1:]),
    "resize_nearest": Case(
        between(lambda net, y: resize(net, y, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")),
        {"QLinearConv": 2}, opsets=(11, 13, 17, 19)),
    "resize_linear": Case(between(lambda net, y: resize(net, y, mode="linear")), left={"Resize"}, opsets=(11, 13, 17)),
    "depth_to_space": Case(between(lambda net, y: net.op("DepthToSpace", y, blocksize=2), 2), {"QLinearConv": 2}, opsets=ALL),
    "space_to_depth": Case(between(lambda net, y: net.op("SpaceToDepth", y, blocksize=2), 32), {"QLinearConv": 2}, opsets=ALL),
    "pad_zero": Case(between(pad("constant")), {"QLinearConv": 2}, opsets=(11, 13, 17)),
    "pad_reflect": Case(between(pad("reflect")), {"QLinearConv": 2}, opsets=(11, 13, 17)),
    "pad_one": Case(between(pad("constant", 1.0)), left={"Pad"}),
    "unet": Case(unet, {"QLinearConv": 3}, opsets=ALL),
    "unet_resize": Case(unet_resize, {"QLinearConv": 3}, opsets=(11, 13, 17)),
    "lstm": Case(recurrent("LSTM", 4), left={"LSTM"}, opsets=ALL),
    "lstm_bidirectional": Case(recurrent("LSTM", 4, direction="bidirectional"), left={"LSTM"}, opsets=(17,)),
    "gru": Case(recurrent("GRU", 3), left={"GRU"}, opsets=ALL),
    "rnn": Case(recurrent("RNN", 1), left={"RNN"}, opsets=ALL),
    "embedding": Case(embedding, opsets=ALL),
    "embedding_mask": Case(embedding_mask, opsets=(13, 17, 21)),
    "layer_norm": Case(layer_norm, left={"LayerNormalization"}, opsets=(17, 21)),
    "instance_norm": Case(
        between(lambda net, y: net.op("InstanceNormalization", y, net.weight(8), net.weight(8))), left={"InstanceNormalization"}, opsets=ALL),
    "if": Case(branch, left={"If", "Tanh", "Abs"}, opsets=(13, 17), sqnr=20),
}  # fmt: skip


def feeds(model: onnx.ModelProto, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    result = {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        shape = [max(1, d.dim_value) for d in kind.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if dtype == np.int64:
            result[value.name] = rng.integers(0, 100, shape)
        elif dtype == np.bool_:
            result[value.name] = rng.random(shape) < 0.7
        else:
            result[value.name] = rng.normal(size=shape).astype(dtype)
    return result


def zeropoint(*arguments) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ZEROPOINT, *map(str, arguments)], capture_output=True, text=True, timeout=300)


def quantize(path: Path, folder: Path, model: onnx.ModelProto, *more: str, samples: int = 12) -> tuple[Path, dict]:
    data, output = folder / "samples", folder / "quantized.onnx"
    data.mkdir(exist_ok=True)
    for i in range(samples):
        np.savez(data / f"{i}.npz", **feeds(model, 100 + i))
    # Where quantizers stand is what is tested: no repairs of networks of chance.
    how = ("--json", "--quiet", "--threads", "1", "--no-verify")
    result = zeropoint("quantize", path, "-o", output, "--data", data, *how, *more)
    assert result.returncode == 0, result.stderr
    return output, json.loads(result.stdout)


def run_ours(path: Path, inputs: dict[str, np.ndarray], folder: Path) -> list[np.ndarray]:
    arguments = []
    for name, value in inputs.items():
        np.save(folder / f"in_{name}.npy", value)
        arguments += ["--input", f"{name}={folder / f'in_{name}.npy'}"]
    result = zeropoint("run", path, *arguments, "--output-dir", folder / "out", "--json", "--threads", "1")
    assert result.returncode == 0, result.stderr
    return [np.load(each["file"]) for each in json.loads(result.stdout)]


def check(model: onnx.ModelProto, folder: Path, case: Case, *more: str) -> dict:
    """The whole promise for one model; returns the report."""
    original = folder / "float.onnx"
    onnx.save(model, original)
    quantized, report = quantize(original, folder, model, *more)
    onnx.checker.check_model(str(quantized), full_check=True)
    written = onnx.load(quantized)
    assert {opset.domain for opset in written.opset_import} <= {"", "ai.onnx"}
    optimized = open_session(quantized, write=folder / "optimized.onnx")
    inputs = feeds(model, 7)
    expected = open_session(original).run(None, inputs)
    literal = open_session(quantized, optimize=False).run(None, inputs)
    fused = optimized.run(None, inputs)
    for want, a, b in zip(expected, literal, fused, strict=True):
        assert a.shape == want.shape
        assert sqnr_db(want, a) > case.sqnr, "far from float"
        assert sqnr_db(a, b) > 35, "ONNX Runtime computes it otherwise when it optimizes"
    if case.engine:
        for a, ours in zip(literal, run_ours(quantized, inputs, folder), strict=True):
            assert ours.shape == a.shape
            assert sqnr_db(a, ours) > 35, "our engine computes it otherwise"
    counts = Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)
    for op, least in case.integer.items():
        assert counts[op] >= least, f"{op}: {dict(counts)}"
    left = {node["op_type"] for node in report["left_in_float"]}
    assert case.left <= left, left
    assert all(node["reason"] for node in report["left_in_float"])
    return report


@pytest.mark.parametrize(("name", "opset"), [(name, opset) for name, case in CASES.items() for opset in case.opsets])
def test_default_command(name: str, opset: int, tmp_path: Path):
    case = CASES[name]
    if opset < OLDEST:
        pytest.skip("opset not in this version yet")
    net = Net(opset)
    model = net.model(*case.build(net))
    onnx.checker.check_model(model)
    check(model, tmp_path, case)


# Those whose placement depends on the target; where the engine must not fall back to readable references.
BY_TARGET = [
    "conv_transpose", "conv_transpose_groups", "conv_3d", "pad_zero", "space_to_depth", "hard_swish", "prelu_scalar", "prelu_channels",
    "squeeze_excite", "swish", "lstm", "embedding", "unet", "unet_resize", "global_max_pool", "tile", "matmul_many_dimensions",
    "attention", "split", "elu",
]  # fmt: skip
ALL_IN_INTEGERS = {
    "conv_transpose", "conv_transpose_groups", "conv_3d", "hard_swish", "prelu_scalar", "prelu_channels", "squeeze_excite", "swish", "unet",
    "matmul_many_dimensions", "elu",
}  # fmt: skip


@pytest.mark.parametrize("target", ["openvino", "zeropoint"])
@pytest.mark.parametrize("name", BY_TARGET)
def test_other_targets(name: str, target: str, tmp_path: Path):
    case = CASES[name]
    net = Net(17)
    model = net.model(*case.build(net))
    # These networks are so small that float is faster for some of it; here the integer forms are looked at.
    everything = ["--all-integers"] if target == "zeropoint" else []
    report = check(model, tmp_path, Case(case.build, sqnr=case.sqnr), "--target", target, *everything)
    quantized = tmp_path / "quantized.onnx"
    if target == "zeropoint" and name in ALL_IN_INTEGERS:
        assert report["integer_coverage"] == 1
        engine = json.loads(zeropoint("inspect", quantized, "--json").stdout)["engine"]
        assert engine["reference"]["steps"] == 0, engine
        assert engine["float"]["macs"] == 0, engine
    if target == "openvino":
        openvino = pytest.importorskip("openvino")
        core = openvino.Core()
        settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        request = core.compile_model(core.read_model(quantized), "CPU", settings).create_infer_request()
        inputs = feeds(model, 7)
        expected = open_session(quantized, optimize=False).run(None, inputs)
        for want, value in zip(expected, request.infer(inputs).values(), strict=True):
            assert sqnr_db(want, value) > 25, "OpenVINO computes it otherwise"


def torch_networks():
    """name -> (module, inputs); small networks as people write them."""
    import torch
    from torch import nn

    class UNet(nn.Module):
        def __init__(self, up: str):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
            self.up = nn.ConvTranspose2d(16, 8, 2, 2) if up == "transpose" else nn.Sequential(
                nn.Upsample(scale_factor=2, mode=up), nn.Conv2d(16, 8, 1))  # fmt: skip
            self.norm, self.head = nn.BatchNorm2d(16), nn.Conv2d(16, 2, 1)

        def forward(self, x):
            a = torch.relu(self.a(x))
            b = torch.relu(self.norm(self.b(nn.functional.max_pool2d(a, 2))))
            return self.head(torch.cat([self.up(b), a], 1))

    class Recurrent(nn.Module):
        def __init__(self, kind: type):
            super().__init__()
            self.cell, self.head = kind(24, 32, batch_first=True), nn.Linear(32, 5)

        def forward(self, x):
            return self.head(self.cell(x)[0][:, -1])

    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.up, self.down = nn.Linear(32, 64), nn.Linear(32, 64), nn.Linear(64, 32)
            self.norm = nn.LayerNorm(32)

        def forward(self, x):
            y = self.norm(x)
            return x + self.down(nn.functional.silu(self.gate(y)) * self.up(y))

    class SqueezeExcite(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.depth = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 16, 3, padding=1, groups=16)
            self.norm = nn.BatchNorm2d(16)
            self.reduce, self.expand, self.head = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 16, 1), nn.Conv2d(16, 10, 1)

        def forward(self, x):
            x = nn.functional.hardswish(self.norm(self.stem(x)))
            y = nn.functional.hardswish(self.depth(x))
            gate = self.expand(torch.relu(self.reduce(y.mean((2, 3), keepdim=True))))
            return self.head(x + y * nn.functional.hardsigmoid(gate)).mean((2, 3))

    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = nn.Embedding(200, 32), nn.Linear(32, 4)

        def forward(self, ids):
            return self.head(self.table(ids).mean(1))

    class Audio(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Conv1d(1, 16, 9, 4, 4), nn.BatchNorm1d(16), nn.PReLU(16),
                                     nn.Conv1d(16, 32, 5, 2, 2, dilation=1), nn.LeakyReLU(0.1),
                                     nn.ConvTranspose1d(32, 8, 4, 2, 1), nn.ELU(), nn.Conv1d(8, 1, 3, padding=1), nn.Tanh())  # fmt: skip

        def forward(self, x):
            return self.net(x)

    class Video(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Conv3d(3, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU(), nn.MaxPool3d(2),
                                     nn.Conv3d(8, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
                                     nn.Linear(16, 5))  # fmt: skip

        def forward(self, x):
            return self.net(x)

    torch.manual_seed(SEED)
    picture, rows = torch.randn(1, 3, 16, 16), torch.randn(1, 10, 32)
    encoder = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    return {
        "unet": (UNet("transpose"), picture),
        "unet_nearest": (UNet("nearest"), picture),
        "unet_bilinear": (UNet("bilinear"), picture),
        "transformer": (encoder, rows),
        "lstm": (Recurrent(nn.LSTM), torch.randn(1, 6, 24)),
        "gru": (Recurrent(nn.GRU), torch.randn(1, 6, 24)),
        "gated_mlp": (Gated(), rows),
        "squeeze_excite": (SqueezeExcite(), torch.randn(1, 3, 32, 32)),
        "embedding": (Bag(), torch.randint(0, 100, (1, 7))),
        "audio": (Audio(), torch.randn(1, 1, 128)),
        "video": (Video(), torch.randn(1, 3, 4, 8, 8)),
    }


TORCH_NETWORKS = ["unet", "unet_nearest", "unet_bilinear", "transformer", "lstm", "gru", "gated_mlp", "squeeze_excite", "embedding",
                  "audio", "video"]  # fmt: skip


@pytest.mark.parametrize("exporter", ["script", "newest"])
@pytest.mark.parametrize("name", TORCH_NETWORKS)
def test_networks_of_torch(name: str, exporter: str, tmp_path: Path):
    torch = pytest.importorskip("torch")
    if (name, exporter) == ("transformer", "script"):
        pytest.skip("the older exporter fails on it")
    module, example = torch_networks()[name]
    module.eval()
    path = tmp_path / "exported.onnx"
    torch.onnx.export(module, (example,), str(path), input_names=["x"], dynamo=exporter == "newest", verbose=False,
                      external_data=False, **({} if exporter == "newest" else {"opset_version": 17}))  # fmt: skip
    report = check(onnx.load(path), tmp_path, Case(lambda net: (), sqnr=15))
    assert report["integer_coverage"] > (0 if name in ("lstm", "gru") else 0.99)


def test_half_models_are_refused_with_a_way_out(tmp_path: Path):
    for dtype in (TensorProto.FLOAT16, TensorProto.DOUBLE):
        net = Net(17)
        x = net.input("x", (1, 16), dtype)
        kind = helper.tensor_dtype_to_np_dtype(dtype)
        y = net.op("Gemm", x, net.constant(net.rng.normal(size=(16, 8)).astype(kind)))
        model = net.model(y)
        model.graph.output[0].type.tensor_type.elem_type = dtype
        path = tmp_path / f"half{dtype}.onnx"
        onnx.save(model, path)
        data = tmp_path / f"data{dtype}"
        data.mkdir()
        np.savez(data / "0.npz", x=np.zeros((1, 16), kind))
        result = zeropoint("quantize", path, "-o", tmp_path / "out.onnx", "--data", data)
        assert result.returncode == 2
        assert "export the model in float32" in result.stderr, result.stderr


def test_nothing_in_integers_is_said(tmp_path: Path):
    net = Net(17)
    model = net.model(*recurrent("GRU", 3)(net))
    path = tmp_path / "float.onnx"
    onnx.save(model, path)
    _, report = quantize(path, tmp_path, model, "--exclude", "MatMul_.*")
    assert report["integer_coverage"] == 0
    assert any(
        "none of its multiply-accumulates become integers" in note and "What to do" in note for note in report["notes"]
    )
