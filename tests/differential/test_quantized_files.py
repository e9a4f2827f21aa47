"""Our quantized files in other runtimes: every convolution and matrix product in integers, the numbers near the float model's."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import zeropoint
from blobs import blobs
from onnxruntime_peer import open_session, sqnr_db

DATA = Path(__file__).parents[1] / "data"
MODELS = ["fmnist_resnet8", "fmnist_dscnn"]
# What a quantized file's runtime graph may hold where all is fused; "Conv", "FusedConv", "Gemm", "MatMul" and "Add" may not.
INTEGER_OPERATORS = {
    "QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearAdd", "QLinearGlobalAveragePool", "QGemm", "Flatten", "Reshape",
    "Transpose", "ReorderInput", "ReorderOutput",
}  # fmt: skip
WORKERS = {"Conv", "Gemm", "MatMul"}


def run(model: ort.InferenceSession, x: np.ndarray) -> np.ndarray:
    return np.concatenate([model.run(None, {"images": picture[None]})[0] for picture in x])


@pytest.fixture(scope="module", params=[(name, target) for name in MODELS for target in ("onnxruntime", "openvino")],
                ids=lambda parameter: "-".join(parameter))  # fmt: skip
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """The float file, the quantized one, and the target."""
    name, target = request.param
    samples = [{"images": x[None]} for x in blobs(32, seed=1)]
    result = zeropoint.quantize(zeropoint.load(DATA / f"{name}.onnx"), samples, target=target, threads=1)
    path = tmp_path_factory.mktemp("quantized") / f"{name}.{target}.onnx"
    result.model.save(path)
    assert not result.report.left_in_float
    return DATA / f"{name}.onnx", path, target


def test_file_is_standard_onnx(written: tuple[Path, Path, str]):
    original, path, _ = written
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {opset.domain for opset in model.opset_import} <= {"", "ai.onnx"}
    assert not any(node.domain for node in model.graph.node)
    weights = {node.input[1] for node in model.graph.node if node.op_type in WORKERS}
    makers = {output: node for node in model.graph.node for output in node.output}
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert weights
    for weight in weights:
        assert makers[weight].op_type == "DequantizeLinear"
        assert types[makers[weight].input[0]] == onnx.TensorProto.INT8
    # Parameters of quantizers weigh more in networks this small than weights do saved.
    assert path.stat().st_size < 0.55 * original.stat().st_size


def test_onnxruntime_fuses_everything(written: tuple[Path, Path, str], tmp_path: Path):
    original, path, target = written
    if target != "onnxruntime":
        pytest.skip("signed activations are OpenVINO's")
    open_session(path, write=tmp_path / "optimized.onnx")
    counts = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert set(counts) <= INTEGER_OPERATORS, counts
    assert counts["QLinearConv"] == sum(node.op_type == "Conv" for node in onnx.load(original).graph.node)
    assert counts["QGemm"] == 1
    assert counts["QuantizeLinear"] == 1, "only the input"


def test_onnxruntime_agrees_with_float(written: tuple[Path, Path, str]):
    original, path, _ = written
    x = blobs(64, seed=2)
    expected, actual = run(open_session(original), x), run(open_session(path), x)
    assert sqnr_db(expected, actual) > 25
    assert np.mean(expected.argmax(1) == actual.argmax(1)) >= 0.95


def test_openvino_fuses_everything(written: tuple[Path, Path, str]):
    openvino = pytest.importorskip("openvino")
    original, path, _ = written
    core = openvino.Core()
    model = core.read_model(path)
    model.reshape([1, 1, 28, 28])
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(model, "CPU", settings)
    workers = 0
    for node in compiled.get_runtime_model().get_ops():
        facts = node.get_rt_info()
        kind = facts["layerType"].astype(str) if "layerType" in facts else ""
        if kind in ("Convolution", "FullyConnected", "MatMul"):
            workers += 1
            assert facts["runtimePrecision"].astype(str) in ("u8", "i8"), node.get_friendly_name()
        assert kind != "Eltwise", "a residual Add runs by itself"
    assert workers == sum(node.op_type in WORKERS for node in onnx.load(original).graph.node)
    x = blobs(64, seed=2)
    expected = run(open_session(original), x)
    request = compiled.create_infer_request()
    actual = np.concatenate([next(iter(request.infer({0: picture[None]}).values())).copy() for picture in x])
    assert sqnr_db(expected, actual) > 25


def test_engine_agrees_with_onnxruntime(written: tuple[Path, Path, str]):
    """Whole files: at ties of fused Adds the two may differ by a step, which later layers spread."""
    _, path, _ = written
    x = blobs(32, seed=3)
    ours = zeropoint.Session(path, threads=1)
    assert ours.integer_coverage == 1
    actual = np.concatenate([ours.run(None, {"images": picture[None]})[0] for picture in x])
    assert sqnr_db(run(open_session(path), x), actual) > 35
