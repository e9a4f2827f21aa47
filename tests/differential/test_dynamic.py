"""Dynamic quantization beside ONNX Runtime: our files there, its files here."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

import zeropoint
from onnxruntime_peer import open_session, sqnr_db

DATA = Path(__file__).parents[1] / "data"


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def images(count: int = 4) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((count, 1, 28, 28)).astype(np.float32)


def product_model(path: Path, seed: int, inputs: int = 96, outputs: int = 80) -> None:
    """Two products of one value, one with a bias, then a third behind a Relu."""
    generator = np.random.default_rng(seed)

    def constant(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(generator.standard_normal(shape).astype(np.float32), name)

    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["p1"], name="first"),
        helper.make_node("Add", ["p1", "b1"], ["a1"], name="bias"),
        helper.make_node("Relu", ["a1"], ["r1"], name="relu"),
        helper.make_node("MatMul", ["r1", "w3"], ["y1"], name="third"),
        helper.make_node("MatMul", ["x", "w2"], ["y2"], name="second"),
    ]
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "T", inputs])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y1", "y2")],
        [
            constant("w1", inputs, outputs),
            constant("b1", outputs),
            constant("w2", inputs, 24),
            constant("w3", outputs, 40),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def with_integers(path: Path, out: Path) -> list[str]:
    """Adds the integers of the file (quantized activations and sums) to its outputs."""
    model = onnx.load(path)
    names = []
    for node in model.graph.node:
        if node.op_type == "DynamicQuantizeLinear":
            for name, kind in zip(node.output, (TensorProto.UINT8, TensorProto.FLOAT, TensorProto.UINT8), strict=True):
                names.append((name, kind))
        if node.op_type in ("MatMulInteger", "ConvInteger"):
            names.append((node.output[0], TensorProto.INT32))
    model.graph.output.extend(helper.make_tensor_value_info(name, kind, None) for name, kind in names)
    onnx.save(model, out)
    return [name for name, _ in names]


def test_onnxruntime_fuses_our_products(tmp_path: Path) -> None:
    product_model(tmp_path / "float.onnx", seed=1)
    zeropoint.quantize(tmp_path / "float.onnx", recipe="dynamic_w8a8").model.save(tmp_path / "ours.onnx")
    onnx.checker.check_model(tmp_path / "ours.onnx", full_check=True)
    open_session(tmp_path / "ours.onnx", write=tmp_path / "fused.onnx")
    fused = operators(tmp_path / "fused.onnx")
    # One product has its own quantizer, two share one.
    assert (
        fused["DynamicQuantizeMatMul"] == 1
        and fused["MatMulIntegerToFloat"] == 2
        and fused["DynamicQuantizeLinear"] == 1
    )
    assert not fused.keys() & {"MatMul", "MatMulInteger", "Cast", "Mul"}


@pytest.mark.parametrize("producer", ["ours", "onnxruntime", "onnxruntime per channel", "onnxruntime unsigned"])
def test_same_numbers_as_onnxruntime(tmp_path: Path, producer: str) -> None:
    """Integers bit by bit; reals those of the literal graph, which ONNX Runtime computes when it does not optimize."""
    logging.disable(logging.WARNING)
    for seed in range(6):
        product_model(tmp_path / "float.onnx", seed, inputs=40 + 31 * seed, outputs=16 + 7 * seed)
        path = tmp_path / "quantized.onnx"
        if producer == "ours":
            zeropoint.quantize(tmp_path / "float.onnx", recipe="dynamic_w8a8").model.save(path)
        else:
            weights = QuantType.QUInt8 if producer.endswith("unsigned") else QuantType.QInt8
            quantize_dynamic(
                tmp_path / "float.onnx", path, per_channel=producer.endswith("channel"), weight_type=weights
            )
        shape = (2, 3 + 11 * seed, 40 + 31 * seed)
        feeds = {"x": np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}
        theirs = open_session(path, optimize=False).run(None, feeds)
        for threads in (1, 2):
            for x, y in zip(theirs, zeropoint.Session(path, threads=threads).run(None, feeds), strict=True):
                np.testing.assert_array_equal(x, y)
        for x, y in zip(
            open_session(path).run(None, feeds), theirs, strict=True
        ):  # fused: a bias added with one rounding less
            np.testing.assert_allclose(x, y, rtol=2e-6, atol=2e-6 * float(np.abs(y).max()))
        added = with_integers(path, tmp_path / "integers.onnx")
        theirs = open_session(tmp_path / "integers.onnx", optimize=False).run(added, feeds)
        ours = zeropoint.Session(tmp_path / "integers.onnx", threads=1).run(added, feeds)
        for name, x, y in zip(added, theirs, ours, strict=True):
            np.testing.assert_array_equal(x, y, err_msg=name)


@pytest.mark.parametrize("granularity", ["per_tensor", "auto", "per_row"])
@pytest.mark.parametrize("name", ["fmnist_vit", "fmnist_lstm", "fmnist_resnet8"])
def test_our_files_in_onnxruntime(tmp_path: Path, name: str, granularity: str) -> None:
    x = images()
    (expected,) = open_session(DATA / f"{name}.onnx").run(None, {"images": x})
    weight = zeropoint.int8(zeropoint.PerChannel())
    recipe = zeropoint.recipes.dynamic_w8a8().override(
        ".*", "MatMul", activation=zeropoint.dynamic_uint8(granularity), weight=weight
    )
    if name == "fmnist_resnet8":
        recipe = recipe.override(".*", "Conv", activation=zeropoint.dynamic_uint8("per_tensor"), weight=weight)
    zeropoint.quantize(DATA / f"{name}.onnx", recipe=recipe).model.save(tmp_path / "q.onnx")
    written = operators(tmp_path / "q.onnx")
    if name == "fmnist_vit":
        assert written["MatMulInteger"] == 17 and written["MatMul"] == 8
    if name == "fmnist_lstm":
        assert written["DynamicQuantizeLSTM"] == 1
    if name == "fmnist_resnet8":
        assert written["ConvInteger"] > 5 and written["Conv"] == 0
    (theirs,) = open_session(tmp_path / "q.onnx").run(None, {"images": x})
    assert sqnr_db(expected, theirs) > 22
    if name != "fmnist_lstm":
        (ours,) = zeropoint.Session(tmp_path / "q.onnx", threads=1).run(None, {"images": x})
        assert sqnr_db(theirs, ours) > 35  # floats between the products differ in their last bits, and ties with them


def transformer_model(
    path: Path, seed: int, *, factor: str, masked: bool, gelu: bool, heads: int = 3, depth: int = 24
) -> None:
    """One encoder layer as exporters write it: x [N, T, D] and mask [N, 1, 1, T] -> y."""
    generator = np.random.default_rng(seed)
    width, wide = heads * depth, 2 * heads * depth
    nodes, constants = [], []

    def constant(name: str, values: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(values, name))
        return name

    def node(op: str, inputs: list[str], name: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def number(name: str, value: float) -> str:
        return constant(name, np.array(value, np.float32))

    def dense(x: str, name: str, inputs: int, outputs: int) -> str:
        w = constant(name + "_w", (generator.standard_normal((inputs, outputs)) / np.sqrt(inputs)).astype(np.float32))
        b = constant(name + "_b", (generator.standard_normal(outputs) * 0.2).astype(np.float32))
        return node("Add", [b, node("MatMul", [x, w], name + "_product")], name)

    split = constant("split", np.array([0, 0, heads, depth]))
    join = constant("join", np.array([0, 0, width]))

    def head(x: str, name: str, perm: list[int]) -> str:
        parts = node("Reshape", [dense(x, name, width, width), split], name + "_split")
        return node("Transpose", [parts], name + "_heads", perm=perm)

    def normalized(x: str, name: str) -> str:
        ones, zeros = (
            constant(name + "_g", np.ones(width, np.float32)),
            constant(name + "_z", np.zeros(width, np.float32)),
        )
        return node("LayerNormalization", [x, ones, zeros], name, axis=-1)

    scores = node("MatMul", [head("x", "q", [0, 2, 1, 3]), head("x", "k", [0, 2, 3, 1])], "scores")
    if factor:
        scores = node(factor, [scores, number("factor", 0.2 if factor == "Mul" else 4.9)], "scaled")
    if masked:
        scores = node("Add", [scores, "mask"], "with_mask")
    shares = node("Softmax", [scores], "shares", axis=-1)
    values = node("MatMul", [shares, head("x", "v", [0, 2, 1, 3])], "values")
    context = node("Reshape", [node("Transpose", [values], "context_heads", perm=[0, 2, 1, 3]), join], "context")
    first = normalized(node("Add", [dense(context, "out", width, width), "x"], "first_sum"), "first")
    inner = dense(first, "inner", width, wide)
    if gelu:
        erf = node("Erf", [node("Div", [inner, number("root", 2**0.5)], "by_root")], "erf")
        product = node("Mul", [inner, node("Add", [erf, number("one", 1)], "one_more")], "gelu_product")
        inner = node("Mul", [product, number("half", 0.5)], "gelu")
    else:
        inner = node("Relu", [inner], "relu")
    last = normalized(node("Add", [dense(inner, "narrow", wide, width), first], "last_sum"), "last")
    nodes[-1].output[0] = "y"
    assert last == "last"
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "T", width])]
        + ([helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["N", 1, 1, "T"])] if masked else []),
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.mark.parametrize("target", ["zeropoint", "onnxruntime"])
@pytest.mark.parametrize(
    ("factor", "masked", "gelu"), [("Div", True, True), ("Mul", False, False), ("", True, False), ("Mul", True, True)]
)
def test_a_transformer_layer_has_the_same_bytes_fused_and_operator_by_operator(
    tmp_path: Path, target: str, factor: str, masked: bool, gelu: bool
) -> None:
    model, path = tmp_path / "layer.onnx", tmp_path / "integers.onnx"
    transformer_model(model, 5, factor=factor, masked=masked, gelu=gelu)
    zeropoint.quantize(model, recipe="dynamic_w8a8", target=target).model.save(path)
    for batch, tokens in ((1, 40), (2, 7), (3, 65)):
        generator = np.random.default_rng(tokens)
        feeds = {"x": generator.standard_normal((batch, tokens, 72)).astype(np.float32)}
        if masked:
            feeds["mask"] = np.where(generator.random((batch, 1, 1, tokens)) < 0.2, -3.4e38, 0).astype(np.float32)
            feeds["mask"][..., 0] = 0
        (expected,) = open_session(model).run(None, feeds)
        (literal,) = open_session(path, optimize=False).run(None, feeds)
        (plain,) = zeropoint.Session(path, threads=1, max_isa="scalar").run(None, feeds)
        # ONNX Runtime's exp and sums differ in their last bits, and so do a few integers behind them.
        assert sqnr_db(literal, plain) > 45
        assert sqnr_db(expected, plain) > 28
        for threads in (1, 2):
            fused = zeropoint.Session(path, threads=threads)
            (y,) = fused.run(None, feeds)
            assert y.tobytes() == plain.tobytes()
            steps = fused.explain()
            isas = steps.partition("ISAs: ")[2].splitlines()[0].split()
            whole_products = "amxint8" in isas
            # Query, key and value are one product.
            assert steps.count("matmul_u8s8f32") == (4 if whole_products else 0), steps
            assert ("Erf" in steps) == (gelu and not whole_products), steps
            whole_attention = target == "zeropoint" and not {"avx2", "neon"}.isdisjoint(isas)
            assert steps.count("attention_q8") == whole_attention, steps
    # With a scale for each row, inputs with one huge token leave the others alone.
    if target == "zeropoint":
        feeds["x"][0, 0] *= 1e4
        (expected,), (y,) = open_session(model).run(None, feeds), zeropoint.Session(path, threads=1).run(None, feeds)
        assert sqnr_db(expected[-1], y[-1]) > 28
