"""Reading, writing, printing and comparing models."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

import zeropoint as q


def test_what_a_model_says(dscnn: q.Model):
    (images,) = dscnn.inputs
    assert (images.name, images.dtype) == ("images", "float32")
    assert isinstance(images.shape[0], str) and images.shape[1:] == [1, 28, 28]
    assert dscnn.opset == 17
    assert {node.op_type for node in dscnn.nodes} >= {"Conv", "BatchNormalization"}
    assert "Conv(" in str(dscnn)
    assert repr(dscnn).startswith("<zeropoint.Model '") and f"{len(dscnn.nodes)} nodes" in repr(dscnn)
    name = dscnn.constants[0]
    assert isinstance(dscnn.constant(name), np.ndarray) and not dscnn.constant(name).flags.writeable
    with pytest.raises(KeyError):
        dscnn.constant("nothing")


def test_path_string_and_bytes_are_the_same(dscnn: q.Model, dscnn_path: Path):
    assert q.load(str(dscnn_path)) == dscnn
    assert q.load(dscnn_path.read_bytes()) == dscnn
    with pytest.raises(TypeError):
        q.load(3)


def test_round_trips(dscnn: q.Model, tmp_path: Path):
    dscnn.save(tmp_path / "copy.onnx")
    assert q.load(tmp_path / "copy.onnx") == dscnn
    assert q.load(dscnn.to_bytes()) == dscnn
    assert pickle.loads(pickle.dumps(dscnn)) == dscnn
    assert q.Model.from_text(dscnn.text(max_elements=None)) == dscnn


def test_comparison(small: q.Model):
    other = q.Model.from_text(small.text().replace("0.5", "0.25"))
    assert other != small and other.hash != small.hash
    assert small != "a model"
    with pytest.raises(TypeError):
        hash(small)


def test_fuse_keeps_the_function(dscnn: q.Model, pictures: np.ndarray):
    fused = q.fuse(dscnn)
    assert len(fused.nodes) < len(dscnn.nodes)
    assert not any(node.op_type == "BatchNormalization" for node in fused.nodes)
    (before,) = q.Session(dscnn).run(None, {"images": pictures})
    (after,) = q.Session(fused).run(None, {"images": pictures})
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-3)


def test_inspect(dscnn: q.Model, dscnn_path: Path):
    found = q.inspect(dscnn)
    sizes = found.sizes
    assert list(sizes)[:4] == ["fp32", "fp16", "int8", "int8 g128"]
    assert sizes["fp32"] == found.parameter_bytes and sizes["fp16"] < sizes["fp32"]
    for group in ("", " g128", " g64", " g32"):
        assert sizes["fp16"] > sizes[f"int8{group}"] > sizes[f"int4{group}"] > sizes[f"int2{group}"]
    # Halving the width of the weights takes off half a byte a weight, a quarter of one at the next step.
    assert sizes["int8"] - sizes["int4"] == found.quantizable_parameters // 2
    assert sizes["int4"] - sizes["int2"] == found.quantizable_parameters // 4
    assert not found.quantized and found.to_dict()["sizes"] == sizes
    assert "plan" not in found.to_dict() and "engine" not in found.to_dict()
    assert q.inspect(dscnn_path, shapes={"images": (4, 1, 28, 28)}).macs == 4 * found.macs
    planned = q.inspect(dscnn, recipe="static_w8a8", target="openvino", engine=True).to_dict()
    assert planned["plan"]["target"] == "openvino" and planned["engine"]["float"]["macs"] == found.macs
    assert "size of all constants" in str(found) and "parameters" in repr(found)
    with pytest.raises(TypeError, match="a model is"):
        q.inspect(3)
