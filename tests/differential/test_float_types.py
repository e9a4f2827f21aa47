"""16-bit floats: half the file, the same inputs and outputs, near the float model in ONNX Runtime and the engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import zeropoint as z
from blobs import blobs
from onnxruntime_peer import open_session, sqnr_db

DATA = Path(__file__).parents[1] / "data"
MODELS = ["fmnist_dscnn", "fmnist_resnet8", "fmnist_vit", "fmnist_lstm"]
FLOAT16, BFLOAT16 = onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16


def run(session, name: str, x: np.ndarray) -> np.ndarray:
    return np.concatenate([session.run(None, {name: picture[None]})[0] for picture in x])


@pytest.fixture(scope="module", params=[(m, t) for m in MODELS for t in ("fp16", "bf16")], ids="-".join)
def written(request, tmp_path_factory) -> tuple[str, str, Path, z.Quantized]:
    model, recipe = request.param
    result = z.quantize(z.load(DATA / f"{model}.onnx"), recipe=recipe, threads=1)
    path = tmp_path_factory.mktemp("floats") / f"{model}_{recipe}.onnx"
    result.model.save(path)
    return model, recipe, path, result


def test_file(written):
    _, recipe, path, result = written
    onnx.checker.check_model(onnx.load(path), full_check=True)
    graph = onnx.load(path).graph
    types = {i.type.tensor_type.elem_type for i in [*graph.input, *graph.output]}
    assert types == {onnx.TensorProto.FLOAT}
    half = FLOAT16 if recipe == "fp16" else BFLOAT16
    sizes = dict.fromkeys((half, onnx.TensorProto.FLOAT), 0)
    for tensor in graph.initializer:
        if tensor.data_type in sizes:
            sizes[tensor.data_type] += int(np.prod(tensor.dims))
    assert sizes[half] > 100 * sizes[onnx.TensorProto.FLOAT]
    assert result.report.quantized_bytes < 0.52 * result.report.float_bytes
    # bf16 has no kernels in ONNX Runtime: what computes stays in f32, and says so.
    computed = {node.op_type for node in graph.node} - {"Cast"}
    assert computed
    if recipe == "fp16":
        assert not result.report.left_in_float
    else:
        assert all("no bf16 kernels" in node.reason for node in result.report.left_in_float)
        assert result.report.left_in_float


def test_near_float(written):
    model, recipe, path, _ = written
    name = z.load(DATA / f"{model}.onnx").inputs[0].name
    x = blobs(16, seed=2)
    expected = run(open_session(DATA / f"{model}.onnx"), name, x)
    least = 50 if recipe == "fp16" else 30
    assert sqnr_db(expected, run(z.Session(path, threads=1), name, x)) > least
    assert sqnr_db(expected, run(open_session(path), name, x)) > least
    assert sqnr_db(expected, run(open_session(path, optimize=False), name, x)) > least


def test_engine_computes_in_f32(written):
    """The kernels of the f32 model: no Casts, nothing by slow references."""
    model, _, path, _ = written
    steps = z.Session(path, threads=1).steps
    assert not any("Cast" in step.op for step in steps)
    kernels = {step.kernel for step in z.Session(DATA / f"{model}.onnx", threads=1).steps}
    assert ("reference" in {step.kernel for step in steps}) <= ("reference" in kernels)


def test_samples_show_what_leaves_the_range(tmp_path: Path):
    """A network that multiplies by 1,000 twice: the second result is infinite in f16, unless samples show it."""
    helper = onnx.helper
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "k"], ["a"], "first"),
            helper.make_node("Mul", ["a", "k"], ["b"], "second"),
            helper.make_node("Div", ["b", "k"], ["c"], "third"),
            helper.make_node("Div", ["c", "k"], ["y"], "fourth"),
        ],
        "big",
        [helper.make_tensor_value_info("x", 1, [1, 4])],
        [helper.make_tensor_value_info("y", 1, [1, 4])],
        [onnx.numpy_helper.from_array(np.float32(1000), "k")],
    )
    model = z.load(onnx_file(graph, tmp_path))
    x = np.array([[1, -2, 3, 0.5]], np.float32)
    blind = z.quantize(model, recipe="fp16")
    assert not np.isfinite(literal(blind, tmp_path, x)).all()
    seen = z.quantize(model, [{"x": x}], "fp16")
    reasons = {node.node: node.reason for node in seen.report.left_in_float}
    assert set(reasons) == {"second", "third"}
    assert "reached 3000000 on the samples" in reasons["second"]
    np.testing.assert_allclose(literal(seen, tmp_path, x), x, rtol=2e-3)


def onnx_file(graph: onnx.GraphProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def literal(result: z.Quantized, folder: Path, x: np.ndarray) -> np.ndarray:
    """By the onnx package's reference: ONNX Runtime computes these operators in f32 on CPUs."""
    result.model.save(folder / "made.onnx")
    with np.errstate(over="ignore"):
        return ReferenceEvaluator(str(folder / "made.onnx")).run(None, {"x": x})[0]
