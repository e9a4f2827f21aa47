"""What quantize() finds and repairs by itself, and sensitivity()."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import zeropoint as q


@pytest.fixture(scope="module")
def model() -> bytes:
    """Two products with a Relu between; one hidden channel is a thousand times as large as the others."""
    generator = np.random.default_rng(3)
    first = generator.normal(0, 0.2, (32, 64)).astype(np.float32)
    second = generator.normal(0, 0.2, (64, 16)).astype(np.float32)
    first[:, 5] *= 1000
    second[5] /= 1000
    nodes = [
        helper.make_node("Gemm", ["x", "first"], ["a"], "one"),
        helper.make_node("Relu", ["a"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "second"], ["y"], "two"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16])],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


@pytest.fixture(scope="module")
def samples() -> list[dict[str, np.ndarray]]:
    generator = np.random.default_rng(4)
    return [{"x": generator.normal(size=(1, 32)).astype(np.float32)} for _ in range(64)]


def test_quantize_repairs(model: bytes, samples: list[dict[str, np.ndarray]]):
    broken = q.quantize(model, samples, verify=False)
    assert broken.report.self_check is None
    assert q.compare(model, broken.model, samples[:8]).outputs[0].error.sqnr_db < 20

    result = q.quantize(model, samples)
    check = result.report.self_check
    assert check.sound and check.kept_aside and check.samples == 16 and check.calibrated_on == 48
    assert check.before_db < 20 <= check.least_db <= check.sqnr_db
    assert "two" in [repair.node for repair in result.report.repairs]
    assert q.compare(model, result.model, samples[:8]).outputs[0].error.sqnr_db > 20
    told = json.loads(result.report.to_json())
    assert told["self_check"]["sound"] is True and told["repairs"][0]["cause"]
    assert "self check on 16 samples kept aside" in str(result.report)

    recipe = q.Recipe.from_json(result.model.metadata["zeropoint.recipe"])
    again = q.quantize(model, statistics=result.statistics, recipe=recipe)
    assert bytes(again.model.to_bytes()) == bytes(result.model.to_bytes())
    assert again.report.self_check.samples == 0
    assert recipe.checked and "checked=True" in repr(recipe) and not recipe.keep_float("one").checked
    replayed = q.quantize(model, samples, recipe=recipe)
    assert bytes(replayed.model.to_bytes()) == bytes(result.model.to_bytes())
    assert not replayed.report.repairs and replayed.report.self_check.sound
    onnx.checker.check_model(onnx.load_from_string(bytes(result.model.to_bytes())), full_check=True)


def test_sensitivity(model: bytes, samples: list[dict[str, np.ndarray]]):
    found = q.sensitivity(model, samples, restored=1)
    worst = found.nodes[0]
    assert worst.node == "two" and worst.cause == "wide_channel_spread" and worst.measured and worst.restored_measured
    assert found.sqnr_db < 20 < worst.restored_db
    assert worst.share > 0.9
    json.loads(worst.recipe)
    assert found.to_dict()["nodes"][0]["node"] == "two"
    assert "wide_channel_spread" in str(found)


def test_compare_tells_what_a_quantizer_cannot_tell_apart(model: bytes, samples: list[dict[str, np.ndarray]]):
    broken = q.quantize(model, samples, verify=False)
    values = {value.value: value for value in q.compare(model, broken.model, samples[:8], values=True).values}
    assert values["r"].dead > 0.2
    assert values["x"].saturated < 0.05
