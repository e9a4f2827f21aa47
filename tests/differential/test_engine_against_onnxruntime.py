"""The engine against ONNX Runtime: quantized operators bit for bit, whole files node by node."""

import pathlib
import platform
import random

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import zeropoint
from onnxruntime_peer import open_session

# Without VNNI, ONNX Runtime's x86 kernels saturate sums of two u8*s8 products at 16 bits: nothing to compare with.
CPU = pathlib.Path("/proc/cpuinfo").read_text() if platform.machine() == "x86_64" else "vnni"
exact_products = pytest.mark.skipif("vnni" not in CPU, reason="ONNX Runtime saturates on a CPU without VNNI")

SEED = random.SystemRandom().randrange(2**32)
CASES = 400  # of each operator
NP = {TensorProto.UINT8: np.uint8, TensorProto.INT8: np.int8}


def make_model(nodes, initializers, inputs, outputs, opset=17):
    graph = helper.make_graph(
        nodes, "g", inputs, outputs, [numpy_helper.from_array(np.asarray(v), k) for k, v in initializers.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return model.SerializeToString()


def assert_same(model: bytes, feeds, note):
    ours = zeropoint.Session(model, threads=1).run(None, feeds)
    theirs = open_session(model).run(None, feeds)
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape, note
        different = np.flatnonzero(a.ravel() != b.ravel())
        assert different.size == 0, (
            f"{note}: {different.size} of {a.size} differ, first at {different[0]}: {a.ravel()[different[0]]} and {b.ravel()[different[0]]}"
        )


def bounds(dtype):
    return np.iinfo(dtype).min, np.iinfo(dtype).max


def draw(rng, dtype, shape):
    low, high = bounds(dtype)
    return rng.integers(low, high, shape, endpoint=True).astype(dtype)


def draw_scale(rng):
    # Half of them powers of two: products then end exactly between two steps, where orders of rounding differ.
    return np.float32(2.0 ** rng.integers(-9, -1)) if rng.random() < 0.5 else np.float32(rng.uniform(0.001, 0.2))


@exact_products
def test_qlinear_conv():
    rng = np.random.default_rng(SEED)
    for case in range(CASES):
        # ONNX Runtime's x86 kernels take one signedness for x and y.
        kind = [TensorProto.UINT8, TensorProto.INT8][case % 2]
        dtype = NP[kind]
        groups = int(rng.choice([1, 1, 1, 2, 4]))
        depthwise = rng.random() < 0.25
        c = int(rng.integers(1, 9)) * groups if not depthwise else int(rng.integers(1, 70))
        o = c if depthwise else int(rng.integers(1, 20)) * groups
        groups = c if depthwise else groups
        kernel = int(rng.integers(1, 4))
        size = int(rng.integers(kernel + 2, 12))
        stride, dilation, pad = int(rng.integers(1, 3)), int(rng.integers(1, 3)), int(rng.integers(0, 2))
        per_channel = rng.random() < 0.7
        w_scale = (
            np.array([draw_scale(rng) for _ in range(o)], np.float32) if per_channel else np.array(draw_scale(rng))
        )
        w_zero = np.zeros(w_scale.shape, np.int8)
        w = draw(rng, np.int8, (o, c // groups, kernel, kernel))
        y_scale = np.float32(draw_scale(rng) * 64)
        initializers = {
            "xs": draw_scale(rng),
            "xz": draw(rng, dtype, ()),
            "w": w,
            "ws": w_scale,
            "wz": w_zero,
            "ys": y_scale,
            "yz": draw(rng, dtype, ()),
            "b": rng.integers(-5000, 5000, o).astype(np.int32),
        }
        node = helper.make_node(
            "QLinearConv",
            ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"],
            ["y"],
            group=groups,
            strides=[stride, stride],
            dilations=[dilation, dilation],
            pads=[pad] * 4,
        )
        reach = (kernel - 1) * dilation + 1
        if size + 2 * pad < reach:
            continue
        model = make_model(
            [node],
            initializers,
            [helper.make_tensor_value_info("x", kind, [1, c, size, size])],
            [helper.make_tensor_value_info("y", kind, None)],
        )
        assert_same(model, {"x": draw(rng, dtype, (1, c, size, size))}, f"seed {SEED}, case {case}")


@exact_products
def test_qlinear_matmul():
    rng = np.random.default_rng(SEED + 1)
    for case in range(CASES):
        kind = [TensorProto.UINT8, TensorProto.INT8][case % 2]
        dtype = NP[kind]
        m, k, n = (int(v) for v in rng.integers(1, 70, 3))
        per_channel = rng.random() < 0.5
        b_scale = (
            np.array([draw_scale(rng) for _ in range(n)], np.float32) if per_channel else np.array(draw_scale(rng))
        )
        initializers = {
            "as": draw_scale(rng),
            "az": draw(rng, dtype, ()),
            "b": draw(rng, np.int8, (k, n)),
            "bs": b_scale,
            "bz": np.zeros(b_scale.shape, np.int8),
            "ys": np.float32(draw_scale(rng) * 64),
            "yz": draw(rng, dtype, ()),
        }
        node = helper.make_node("QLinearMatMul", ["a", "as", "az", "b", "bs", "bz", "ys", "yz"], ["y"])
        model = make_model(
            [node],
            initializers,
            [helper.make_tensor_value_info("a", kind, [m, k])],
            [helper.make_tensor_value_info("y", kind, None)],
        )
        assert_same(model, {"a": draw(rng, dtype, (m, k))}, f"seed {SEED}, case {case}")


def test_quantize_linear():
    rng = np.random.default_rng(SEED + 2)
    for case in range(CASES):
        kind = [TensorProto.UINT8, TensorProto.INT8][case % 2]
        scale = draw_scale(rng)
        # Ties: multiples of half a step; besides, reals and what lies beyond the range.
        ties = (rng.integers(-600, 600, 300).astype(np.float32) + np.float32(0.5)) * scale
        x = np.concatenate(
            [
                ties,
                rng.normal(0, 20 * scale, 300).astype(np.float32),
                np.float32([0, -0.0, 1e30, -1e30, np.inf, -np.inf]),
            ]
        )
        node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])
        model = make_model(
            [node],
            {"s": scale, "z": draw(rng, NP[kind], ())},
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [x.size])],
            [helper.make_tensor_value_info("y", kind, None)],
        )
        assert_same(model, {"x": x}, f"seed {SEED}, case {case}")


def test_dynamic_quantize_linear():
    rng = np.random.default_rng(SEED + 3)
    for case in range(CASES):
        x = (rng.normal(rng.uniform(-2, 2), 1, int(rng.integers(1, 500))) * 10.0 ** rng.integers(-3, 4)).astype(
            np.float32
        )
        node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])
        model = make_model(
            [node],
            {},
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [x.size])],
            [
                helper.make_tensor_value_info("y", TensorProto.UINT8, None),
                helper.make_tensor_value_info("s", TensorProto.FLOAT, None),
                helper.make_tensor_value_info("z", TensorProto.UINT8, None),
            ],
        )
        assert_same(model, {"x": x}, f"seed {SEED}, case {case}")


# ---- whole files


def pieces(model: onnx.ModelProto):
    """Each operator of a Q/DQ graph with the quantizers around it, as a model of its own on integers: (name, model, integer inputs)."""
    graph = model.graph
    producers = {output: node for node in graph.node for output in node.output}
    consumers = {}
    for node in graph.node:
        for value in node.input:
            consumers.setdefault(value, []).append(node)
    constants = {i.name: i for i in graph.initializer}
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear", "Relu", "Clip"):
            continue
        nodes, inputs, used = [], [], set()
        for value in node.input:
            source = producers.get(value)
            if value in constants:
                used.add(value)
            elif source is not None and source.op_type == "DequantizeLinear":
                if source not in nodes:
                    nodes.append(source)
                used.update(v for v in source.input if v in constants)
                if source.input[0] not in constants and source.input[0] not in inputs:
                    inputs.append(source.input[0])
            elif value:
                break
        else:
            nodes.append(node)
            end = node.output[0]
            while len(consumers.get(end, [])) == 1 and consumers[end][0].op_type in ("Relu", "Clip", "QuantizeLinear"):
                behind = consumers[end][0]
                nodes.append(behind)
                used.update(v for v in behind.input if v in constants)
                end = behind.output[0]
                if behind.op_type == "QuantizeLinear":
                    break
            if not inputs or nodes[-1].op_type != "QuantizeLinear":
                continue
            yield node.name or node.output[0], nodes, [constants[v] for v in used], inputs, end


def quantized_type(model, value):
    constants = {i.name: i for i in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.output[0] == value:
            return constants[node.input[2]].data_type
    raise KeyError(value)


@exact_products
@pytest.mark.parametrize("name", ["fmnist_resnet8", "fmnist_dscnn"])
def test_each_node_of_a_file_is_one_step_from_onnxruntime_at_most(name, quantized_models, capsys):
    path, images = quantized_models[name]
    model = onnx.load(path)
    everything = onnx.ModelProto()
    everything.CopyFrom(model)
    integers = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    for value in integers:
        everything.graph.output.append(helper.make_tensor_value_info(value, quantized_type(model, value), None))
    values = dict(
        zip(
            [o.name for o in everything.graph.output],
            open_session(everything.SerializeToString()).run(None, {"images": images}),
            strict=True,
        )
    )
    equal = total = 0
    for piece, nodes, constants, inputs, end in pieces(model):
        infos = [helper.make_tensor_value_info(v, quantized_type(model, v), values[v].shape) for v in inputs]
        graph = helper.make_graph(
            nodes, "piece", infos, [helper.make_tensor_value_info(end, quantized_type(model, end), None)], constants
        )
        one = helper.make_model(
            graph, opset_imports=model.opset_import, ir_version=model.ir_version
        ).SerializeToString()
        feeds = {v: values[v] for v in inputs}
        ours, theirs = zeropoint.Session(one, threads=1).run(None, feeds)[0], open_session(one).run(None, feeds)[0]
        steps = np.abs(ours.astype(int) - theirs.astype(int))
        assert steps.max() <= 1, f"{piece}: {steps.max()} steps apart"
        equal += int((steps == 0).sum())
        total += steps.size
    with capsys.disabled():
        print(
            f"\n{name}: {100 * equal / total:.4f} % of {total} integers equal ONNX Runtime's, the others one step apart"
        )
    assert total > 0
