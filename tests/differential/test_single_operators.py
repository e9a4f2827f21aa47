"""Operators that no package has tests of: the engine beside ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

import zeropoint


def model_of(node: onnx.NodeProto, feeds: dict, constants: dict, opset: int = 17) -> bytes:
    def info(name: str, x: np.ndarray) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)

    graph = helper.make_graph(
        [node],
        "one",
        [info(name, x) for name, x in feeds.items()],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in node.output],
        [numpy_helper.from_array(x, name) for name, x in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def compare(model: bytes, feeds: dict, tolerance: float = 0) -> None:
    theirs = ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, feeds)
    for ours, their in zip(zeropoint.Session(model, threads=1).run(None, feeds), theirs, strict=True):
        np.testing.assert_allclose(ours, their, rtol=0, atol=tolerance)


@pytest.mark.parametrize("seed", range(12))
def test_max_roi_pool(seed: int) -> None:
    random = np.random.default_rng(seed)
    n, c, h, w = (int(v) for v in random.integers(1, [3, 5, 12, 14], 4))
    h, w = h + 3, w + 3
    scale = float([1.0, 0.5, 0.25][seed % 3])
    corner = random.uniform(0, [w, h], (9, 2)) / scale
    size = random.uniform(0, [w, h], (9, 2)) / scale  # some reach over the edge
    rois = np.concatenate([random.integers(0, n, (9, 1)), corner, corner + size], 1).astype(np.float32)
    if seed % 2:
        rois[:, 1:] = np.round(rois[:, 1:])
    node = helper.make_node(
        "MaxRoiPool", ["x", "rois"], ["y"], pooled_shape=[int(v) for v in random.integers(1, 5, 2)], spatial_scale=scale
    )
    feeds = {"x": random.standard_normal((n, c, h, w)).astype(np.float32), "rois": rois}
    compare(model_of(node, feeds, {}), feeds)


@pytest.mark.parametrize("stash_type", [10, 11, 16])
def test_layer_normalization_refuses_statistics_of_other_types(stash_type: int) -> None:
    feeds = {"x": np.random.default_rng(1).standard_normal((3, 8)).astype(np.float32)}
    constants = {"scale": np.ones(8, np.float32)}
    plain = helper.make_node("LayerNormalization", ["x", "scale"], ["y"], name="norm", stash_type=1)
    compare(model_of(plain, feeds, constants), feeds, 1e-5)
    other = helper.make_node("LayerNormalization", ["x", "scale"], ["y"], name="norm", stash_type=stash_type)
    with pytest.raises(zeropoint.Error, match=rf"norm.*stash_type {stash_type}"):
        zeropoint.Session(model_of(other, feeds, constants), threads=1).run(None, feeds)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_quantized_at_run_time(masked: bool) -> None:
    """DynamicQuantizeLinear and QAttention, as ONNX Runtime's dynamic quantization writes com.microsoft's Attention."""
    random = np.random.default_rng(5 + masked)
    heads, hidden, inner = 4, 32, 24
    feeds = {"x": random.standard_normal((2, 7, inner)).astype(np.float32)}
    if masked:
        feeds["mask"] = np.array([7, 4], np.int32)
    constants = {
        "w": random.integers(-127, 128, (inner, 3 * hidden)).astype(np.int8),
        "w_scale": np.float32(0.004),
        "w_zero": np.int8(0),
        "bias": (0.1 * random.standard_normal(3 * hidden)).astype(np.float32),
    }
    inputs = ["q", "w", "bias", "scale", "w_scale", "mask" if masked else "", "zero", "w_zero"]
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("QAttention", inputs, ["y"], domain="com.microsoft", num_heads=heads),
    ]
    model = onnx.load_from_string(model_of(nodes[1], feeds, {k: np.asarray(v) for k, v in constants.items()}))
    model.graph.node.insert(0, nodes[0])
    compare(model.SerializeToString(), feeds, 2e-5)
