"""Weights alone in integers: our files in ONNX Runtime, and its MatMulNBits here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import zeropoint
from onnxruntime_peer import open_session, sqnr_db

DATA = Path(__file__).parents[1] / "data"


def session(path: Path, optimize: bool = True) -> ort.InferenceSession:
    # Activations stay in float: MatMulNBits would else be free to round them.
    return open_session(path, optimize=optimize, entries={"session.qdq_matmulnbits_accuracy_level": "1"})


@pytest.mark.parametrize("name", ["fmnist_vit", "fmnist_lstm", "fmnist_resnet8", "fmnist_dscnn"])
@pytest.mark.parametrize(
    ("recipe", "least_db"), [("weight_only_w8", 33), ("weight_only_w4_g32", 15), ("weight_only_w4_g128", 12)]
)
def test_our_files(tmp_path: Path, name: str, recipe: str, least_db: float) -> None:
    x = np.random.default_rng(5).standard_normal((3, 1, 28, 28)).astype(np.float32)
    (expected,) = session(DATA / f"{name}.onnx").run(None, {"images": x})
    path = tmp_path / "q.onnx"
    result = zeropoint.quantize(DATA / f"{name}.onnx", recipe=recipe)
    result.model.save(path)
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path)
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert TensorProto.INT8 in kinds or TensorProto.UINT4 in kinds
    if name == "fmnist_vit" and "w4" in recipe:
        assert TensorProto.UINT4 in kinds and model.opset_import[0].version >= 21
        assert result.report.quantized_bytes < 0.3 * result.report.float_bytes
    (literal,) = session(path, optimize=False).run(None, {"images": x})
    (theirs,) = session(path).run(None, {"images": x})
    assert sqnr_db(literal, theirs) > 60
    assert sqnr_db(expected, literal) > least_db
    for threads in (1, 2):
        (ours,) = zeropoint.Session(path, threads=threads).run(None, {"images": x})
        np.testing.assert_allclose(ours, literal, rtol=2e-4, atol=2e-4 * float(np.abs(literal).max()))


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("zero_points", ["none", "integers", "reals"])
def test_matmul_nbits_of_onnxruntime(tmp_path: Path, bits: int, zero_points: str) -> None:
    generator = np.random.default_rng(bits)
    for k, n, block, rows in [(64, 33, 32, 1), (100, 17, 16, 5), (200, 40, 64, 30), (96, 8, 128, 3)]:
        blocks = -(-k // block)
        integers = generator.integers(0, 256, (n, blocks, block * bits // 8), dtype=np.uint8)
        if bits == 2 and block < 32:
            continue  # ONNX Runtime's shortest
        tensors = [
            numpy_helper.from_array(integers, "b"),
            numpy_helper.from_array(generator.random((n * blocks,), dtype=np.float32) / 50, "s"),
        ]
        inputs = ["x", "b", "s"]
        if zero_points == "integers":
            packed = generator.integers(0, 256, (n * -(-blocks * bits // 8),), dtype=np.uint8)
            tensors.append(numpy_helper.from_array(packed, "z"))
            inputs.append("z")
        if zero_points == "reals":
            if bits != 4:
                pytest.skip("ONNX Runtime has real zero points of 4 bits only")
            tensors.append(numpy_helper.from_array(generator.random((n * blocks,), dtype=np.float32) * 15, "z"))
            inputs.append("z")
        node = helper.make_node(
            "MatMulNBits",
            inputs,
            ["y"],
            domain="com.microsoft",
            K=k,
            N=n,
            bits=bits,
            block_size=block,
            accuracy_level=1,
        )
        graph = helper.make_graph(
            [node],
            "product",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["M", k])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["M", n])],
            tensors,
        )
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        path = tmp_path / "model.onnx"
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
        x = generator.standard_normal((rows, k)).astype(np.float32)
        (theirs,) = session(path).run(None, {"x": x})
        (ours,) = zeropoint.Session(path, threads=1).run(None, {"x": x})
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * float(np.abs(theirs).max()))
