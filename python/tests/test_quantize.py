"""From a float file to an int8 file that other runtimes run, and what that cost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import zeropoint as q

Sample = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    """Smooth pictures: blobs of differing place and size, which the network tells apart."""
    generator = np.random.default_rng(12)
    row, column = np.mgrid[0:28, 0:28].astype(np.float32)
    result = []
    for _ in range(32):
        y, x, size, height = generator.uniform([8, 8, 4, 0.5], [20, 20, 10, 1])
        picture = height * np.exp(-((row - y) ** 2 + (column - x) ** 2) / size**2)
        result.append({"images": ((picture - 0.286) / 0.353).astype(np.float32)[None, None]})
    return result


@pytest.fixture(scope="module")
def quantized(dscnn: q.Model, samples: list[Sample]) -> q.Quantized:
    return q.quantize(dscnn, samples)


def test_result(quantized: q.Quantized, dscnn: q.Model):
    kinds = [node.op_type for node in quantized.model.nodes]
    assert "QuantizeLinear" in kinds and "BatchNormalization" not in kinds
    assert "QuantizeLinear" not in [node.op_type for node in quantized.fused.nodes]
    assert quantized.statistics.samples == 32
    assert set(quantized.statistics) <= set(quantized.qparams)
    assert q.Recipe.from_json(quantized.model.metadata["zeropoint.recipe"]) == q.recipes.static_w8a8()
    assert quantized.model.metadata["zeropoint.statistics"] == quantized.statistics.hash
    assert quantized.model.inputs == dscnn.inputs
    assert "static_w8a8" in repr(quantized)
    assert len(quantized.model.to_bytes()) < len(dscnn.to_bytes()) / 2


def test_stages_give_the_same(quantized: q.Quantized, dscnn: q.Model, samples: list[Sample]):
    recipe = q.recipes.static_w8a8()
    fused = q.fuse(dscnn)
    assert fused == quantized.fused
    statistics = q.calibrate(fused, samples, recipe)
    assert statistics == quantized.statistics
    qparams = q.choose_qparams(fused, statistics, recipe)
    if not recipe.steps:
        assert qparams == quantized.qparams
    again = q.quantize(dscnn, statistics=statistics)
    assert again.model == quantized.model
    assert (
        q.quantize(dscnn, recipe="static_w8a8", samples=iter(samples), threads=1).model.to_bytes()
        == quantized.model.to_bytes()
    )


def test_against_onnxruntime(quantized: q.Quantized, samples: list[Sample], tmp_path: Path):
    quantized.model.save(tmp_path / "int8.onnx")
    theirs = onnxruntime.InferenceSession(tmp_path / "int8.onnx")
    ours = q.Session(tmp_path / "int8.onnx")
    assert ours.integer_coverage > 0.95
    same = 0
    for sample in samples:
        (expected,), (result,) = theirs.run(None, sample), ours.run(None, sample)
        np.testing.assert_allclose(result, expected, atol=0.1 * float(np.abs(expected).max()))
        same += int(result.argmax() == expected.argmax())
    assert same >= 30


def test_compare(quantized: q.Quantized, dscnn: q.Model, samples: list[Sample]):
    calls: list[tuple[int, int]] = []
    report = q.compare(
        dscnn, quantized.model, samples, values=True, progress=lambda done, total: calls.append((done, total))
    )
    assert report.samples == 32 and calls[-1] == (32, 32)
    (logits,) = report.outputs
    assert logits.error.sqnr_db > 10 and logits.error.cosine > 0.95
    assert logits.top1_agreement is not None and logits.top1_agreement >= 0.8
    assert report.values and all(value.error.count > 0 for value in report.values)
    assert report.float_accuracy is None
    as_dict = report.to_dict()
    assert as_dict == json.loads(report.to_json())
    assert str(report).count("\n") > 3 and "Report" in repr(report)


def test_compare_with_itself(dscnn: q.Model, samples: list[Sample]):
    (output,) = q.compare(dscnn, dscnn, samples[:4]).outputs
    assert output.error.sqnr_db == float("inf") and output.top1_agreement == 1


def test_accuracy(quantized: q.Quantized, dscnn: q.Model, samples: list[Sample]):
    session = q.Session(dscnn)
    labels = [int(session.run(None, sample)[0].argmax()) for sample in samples]
    assert q.evaluate(dscnn, samples, labels=labels).top1 == 1
    assert q.evaluate(dscnn, samples, labels=[(label + 1) % 10 for label in labels]).top1 == 0
    report = q.compare(dscnn, quantized.model, samples, labels=labels)
    assert report.float_accuracy is not None and report.quantized_accuracy is not None
    assert report.float_accuracy.top1 == 1
    assert report.quantized_accuracy.top1 == report.outputs[0].top1_agreement
    with pytest.raises(q.Error):
        q.evaluate(dscnn, samples)  # no labels
    with pytest.raises(q.Error, match="3 for 32"):
        q.evaluate(dscnn, samples, labels=[1, 2, 3])


def test_what_is_left_in_float(dscnn: q.Model, samples: list[Sample]):
    result = q.quantize(dscnn, samples, q.recipes.static_w8a8().keep_float(op_type="Conv"))
    assert {node.op_type for node in result.report.left_in_float} >= {"Conv"}
    assert all(node.reason for node in result.report.left_in_float)
    assert q.Session(result.model).integer_coverage < 0.5


def test_targets(dscnn: q.Model, samples: list[Sample]):
    for target in ("onnxruntime", "openvino", "zeropoint"):
        result = q.quantize(dscnn, samples[:4], target=target)
        assert q.Recipe.from_json(result.model.metadata["zeropoint.recipe"]).target == target
    with pytest.raises(q.Error, match="abacus"):
        q.quantize(dscnn, samples, target="abacus")


def test_mistakes(dscnn: q.Model, quantized: q.Quantized, samples: list[Sample]):
    with pytest.raises(TypeError, match="samples or statistics"):
        q.quantize(dscnn)
    with pytest.raises(TypeError, match="samples or statistics"):
        q.quantize(dscnn, samples, statistics=quantized.statistics)
    with pytest.raises(q.Error, match="static_w8a8"):
        q.quantize(dscnn, samples, "static_w9a9")
    with pytest.raises(q.Error) as caught:
        q.quantize(quantized.model, samples)
    assert caught.value.code == "unsupported"
    with pytest.raises(q.Error) as caught:
        q.quantize(dscnn, [])
    assert caught.value.code == "bad_sample"
    bad = {"images": samples[0]["images"].copy()}
    bad["images"][0, 0, 3, 3] = np.nan
    with pytest.raises(q.Error, match="sample 2") as caught:
        q.quantize(dscnn, [*samples[:2], bad])
    assert caught.value.code == "non_finite"


def test_bias_correction(dscnn: q.Model, samples: list[Sample]):
    recipe = q.recipes.static_w8a8()
    if "bias_correction" not in [name for name, _ in recipe.steps]:
        recipe = recipe.with_step("bias_correction")
    assert q.Recipe.from_json(recipe.to_json()) == recipe
    result = q.quantize(dscnn, samples, recipe)
    statistics = q.calibrate(result.fused, samples, recipe)
    qparams = q.choose_qparams(result.fused, statistics, recipe)
    corrected = q.correct_biases(result.fused, qparams, statistics)
    assert corrected != result.fused
    with pytest.raises(q.Error) as caught:
        recipe.with_step("wishful_thinking")
    assert caught.value.where == f"/steps/{len(recipe.steps)}/name"


def test_recipes_without_samples(tmp_path):
    model = q.load(Path(__file__).parents[2] / "tests/data/fmnist_vit.onnx")
    x = np.random.default_rng(0).standard_normal((2, 1, 28, 28)).astype(np.float32)
    (expected,) = q.Session(model, threads=1).run(None, {"images": x})
    for recipe in ("dynamic_w8a8", "weight_only_w8", q.recipes.dynamic_w8a8().with_target("zeropoint")):
        result = q.quantize(model, recipe=recipe, threads=1)
        assert result.report.quantized_bytes < 0.45 * result.report.float_bytes
        result.model.save(tmp_path / "quantized.onnx")
        (actual,) = q.Session(tmp_path / "quantized.onnx", threads=1).run(None, {"images": x})
        assert np.sum(actual * expected) / np.sqrt(np.sum(actual**2) * np.sum(expected**2)) > 0.995
    assert "MatMul" in {node.op_type for node in q.quantize(model, recipe="dynamic_w8a8").report.left_in_float}


def test_speed_aware(dscnn: q.Model, samples: list[Sample]):
    """What stays in float depends on the machine; the recipe says it and makes the same model again."""
    quantized = q.quantize(dscnn, samples, threads=1, timed_on=samples[0])
    speed = quantized.report.speed
    assert speed.seconds > 0 and speed.float_seconds > 0
    assert all(node.integer_seconds > node.float_seconds for node in speed.kept_float)
    recipe = q.Recipe.from_json(quantized.model.metadata["zeropoint.recipe"])
    assert q.quantize(dscnn, statistics=quantized.statistics, recipe=recipe).model == quantized.model
    assert q.quantize(dscnn, samples, threads=1).report.speed is None
    with pytest.raises(q.Error, match="images"):
        q.quantize(dscnn, samples, timed_on={"pictures": samples[0]["images"]})
