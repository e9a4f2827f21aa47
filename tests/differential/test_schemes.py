"""Static schemes beside 8 bits: files as the standard has them, in ONNX Runtime and in the engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import zeropoint as z
from blobs import blobs
from onnxruntime_peer import open_session, sqnr_db

DATA = Path(__file__).parents[1] / "data"
MODELS = ["fmnist_dscnn", "fmnist_resnet8", "fmnist_vit"]
INT16, UINT16, INT4, UINT4, INT2 = (
    getattr(onnx.TensorProto, name) for name in ("INT16", "UINT16", "INT4", "UINT4", "INT2")
)


def of(activation: z.Scheme, weight: z.Scheme) -> z.Recipe:
    return z.recipes.static_w8a8().override(activation=activation, weight=weight)


CHANNELS = z.PerChannel()
# Recipe, least SQNR against float in dB, type of weights, type of activations, opset.
SCHEMES = {
    "w8a16": (z.recipes.static_w8a16(), 37, onnx.TensorProto.INT8, UINT16, 21),
    "w16a16": (of(z.int16(), z.int16(CHANNELS)), 66, INT16, INT16, 21),
    "w4a8": (z.recipes.static_w4a8(), 13, INT4, onnx.TensorProto.UINT8, 21),
    "w4a4": (of(z.uint4(range="mse"), z.int4(CHANNELS, range="mse")), 6, INT4, UINT4, 21),
    "w2a8": (
        of(z.uint8(), z.int2(CHANNELS, range="mse")).with_target("zeropoint").with_all_integers(),
        1, INT2, onnx.TensorProto.UINT8, 25,
    ),
    "w6a6": (of(z.uint8(bits=6), z.int8(CHANNELS, bits=6)), 15, onnx.TensorProto.INT8, onnx.TensorProto.UINT8, 17),
    "w8a12": (of(z.uint16(bits=12), z.int8(CHANNELS)), 33, onnx.TensorProto.INT8, UINT16, 21),
    "powers": (
        of(z.int8(scale="power_of_two", range="mse"), z.int8(CHANNELS, scale="power_of_two")),
        22, onnx.TensorProto.INT8, onnx.TensorProto.INT8, 17,
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=[(m, s) for m in MODELS for s in SCHEMES], ids="-".join)
def written(request, tmp_path_factory) -> tuple[str, str, Path, z.Quantized]:
    model, scheme = request.param
    samples = [{"images": x[None]} for x in blobs(16, seed=1)]
    result = z.quantize(z.load(DATA / f"{model}.onnx"), samples, SCHEMES[scheme][0], threads=1, verify=False)
    path = tmp_path_factory.mktemp("schemes") / f"{model}_{scheme}.onnx"
    result.model.save(path)
    return model, scheme, path, result


def test_file(written):
    model_name, scheme, path, _ = written
    _, _, weight, activation, opset = SCHEMES[scheme]
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == opset
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    zeros = [types[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    # A Clip right before 4-bit quantizers is more than ONNX Runtime takes.
    beside = {onnx.TensorProto.UINT8} if activation == UINT4 and model_name == "fmnist_dscnn" else set()
    assert activation in zeros
    assert set(zeros) <= {activation} | beside
    stored = [types[n.input[0]] for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in types]
    assert set(stored) == {weight, onnx.TensorProto.INT32}


def test_levels(written):
    """Integers that the file holds at run time use the levels of their bits, and no more; scales are as asked for."""
    _, scheme, path, result = written
    rule = SCHEMES[scheme][0].rules[-1]
    if rule.activation.scale == "power_of_two":
        for name, parameters in result.qparams.items():
            assert np.all(np.frexp(np.asarray(parameters.scale))[0] == 0.5), name
    if rule.activation.bits in (6, 12):
        quantized = onnx.load(path)
        values = [node.output[0] for node in quantized.graph.node if node.op_type == "QuantizeLinear"]
        quantized.graph.output.extend(onnx.helper.make_empty_tensor_value_info(value) for value in values)
        literal = open_session(quantized)
        held = literal.run(values, {"images": 3 * blobs(1, seed=4)[0][None]})  # beyond the range
        most = max(int(q.max()) for q in held)
        assert most == 2**rule.activation.bits - 1


def test_engine_in_integers(written):
    """All products of the convolutional networks, of the transformer all but none."""
    model, _, path, _ = written
    session = z.Session(path, threads=1)
    assert session.integer_coverage == (1 if model != "fmnist_vit" else pytest.approx(1, abs=0.05))


def run(session, x: np.ndarray) -> np.ndarray:
    return np.concatenate([session.run(None, {"images": picture[None]})[0] for picture in x])


def test_engine_agrees_with_onnxruntime(written):
    """Sums of floats that round to the other side of a tie are all that differs.

    Its optimizer changes 16-bit transformers by more: the literal graph is what we mean.
    """
    model, scheme, path, _ = written
    if scheme == "w2a8":
        pytest.skip("ONNX Runtime takes no 2-bit integers")
    x = blobs(16, seed=3)
    actual = run(z.Session(path, threads=1), x)
    assert sqnr_db(run(open_session(path, optimize=False), x), actual) > 45
    # As users run it, the file is as good as in the engine.
    float_result = run(open_session(DATA / f"{model}.onnx"), x)
    assert sqnr_db(float_result, run(open_session(path), x)) > sqnr_db(float_result, actual) - 4


def test_near_float(written):
    model, scheme, path, _ = written
    x = blobs(32, seed=2)
    expected, actual = run(open_session(DATA / f"{model}.onnx"), x), run(z.Session(path, threads=1), x)
    assert sqnr_db(expected, actual) > SCHEMES[scheme][1]


def test_target_is_named():
    """Who reads no 2-bit integers: said with the way out, not in a file that is refused."""
    samples = [{"images": x[None]} for x in blobs(2, seed=1)]
    recipe = of(z.uint8(), z.int2(CHANNELS))
    for target in ("onnxruntime", "openvino"):
        with pytest.raises(z.Error, match=rf"2-bit.*{target}.*s4 with 2 bits"):
            z.quantize(z.load(DATA / "fmnist_dscnn.onnx"), samples, recipe.with_target(target), threads=1)
    z.quantize(z.load(DATA / "fmnist_dscnn.onnx"), samples, of(z.uint8(), z.int4(CHANNELS, bits=2)), threads=1)
