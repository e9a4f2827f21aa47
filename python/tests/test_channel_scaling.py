"""Steps before calibration: the float function stays, and the report says what was gained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import zeropoint as q

DATA = Path(__file__).parents[2] / "tests" / "data"

CASES = [
    ("fmnist_dscnn", "cross_layer_equalization", {}),
    ("fmnist_resnet8", "cross_layer_equalization", {"clip_margin": 2}),
    ("fmnist_dscnn", "equalize_activations", {"strength": 1}),
    ("fmnist_resnet8", "equalize_activations", {}),
    ("fmnist_vit", "smooth_quant", {}),
    ("fmnist_vit", "smooth_quant", {"alpha": 0.5, "explicit": 1}),
    ("fmnist_resnet8", "split_outliers", {"ratio": 0.25, "threshold": 1}),
    ("fmnist_resnet8", "split_outliers", {"ratio": 0.25, "threshold": 1, "weights": 1}),
]


@pytest.mark.parametrize(("name", "step", "parameters"), CASES)
def test_float_function_stays(name: str, step: str, parameters: dict[str, float]):
    model = q.load(DATA / f"{name}.onnx")
    generator = np.random.default_rng(3)
    samples = [{"images": generator.standard_normal((1, 1, 28, 28)).astype(np.float32)} for _ in range(8)]
    recipe = q.recipes.static_w8a8().with_step(step, **parameters)
    assert q.Recipe.from_json(recipe.to_json()) == recipe
    result = q.quantize(model, samples, recipe)
    (gain,) = [gain for gain in result.report.steps if gain.step == step]
    assert gain.after > gain.before
    before, after = q.Session(q.fuse(model)), q.Session(result.fused)
    assert result.fused != q.fuse(model)
    for sample in samples:
        (expected,), (actual,) = before.run(None, sample), after.run(None, sample)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_statistics_are_those_of_the_scaled_graph():
    model = q.load(DATA / "fmnist_dscnn.onnx")
    generator = np.random.default_rng(5)
    samples = [{"images": generator.standard_normal((1, 1, 28, 28)).astype(np.float32)} for _ in range(4)]
    recipe = q.recipes.static_w8a8().with_step("cross_layer_equalization")
    with pytest.raises(q.Error, match="'cross_layer_equalization' changes the graph before calibration") as caught:
        q.quantize(model, recipe=recipe, statistics=q.calibrate(q.fuse(model), samples, recipe))
    assert caught.value.code == "mismatch"
    statistics = q.calibrate(q.prepare(model, recipe), samples, recipe)
    assert q.quantize(model, recipe=recipe, statistics=statistics).model == q.quantize(model, samples, recipe).model


def test_parameters_are_checked():
    recipe = q.recipes.static_w8a8()
    for step, parameters in (
        ("smooth_quant", {"alpha": 1.5}),
        ("split_outliers", {"ratio": -1}),
        ("equalize_activations", {"x": 1}),
    ):
        with pytest.raises(q.Error) as caught:
            recipe.with_step(step, **parameters)
        assert caught.value.code == "bad_recipe"


def badly_scaled(path: Path, generator: np.random.Generator, scale: np.ndarray) -> q.Model:
    """Conv, Relu, Conv, where the first layer's 16 channels are scaled and the second makes up for it."""
    first = generator.standard_normal((16, 3, 3, 3)) * scale[:, None, None, None] / 5
    second = generator.standard_normal((8, 16, 3, 3)) / scale[None, :, None, None] / 12
    constants = {"w": first, "b": generator.standard_normal(16) * scale / 10, "v": second}
    node = onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            node("Conv", ["images", "w", "b"], ["a"], pads=[1, 1, 1, 1]),
            node("Relu", ["a"], ["r"]),
            node("Conv", ["r", "v"], ["y"], pads=[1, 1, 1, 1]),
        ],
        "badly_scaled",
        [onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1, 3, 12, 12])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 8, 12, 12])],
        [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return q.load(path)


def output_db(model: q.Model, quantized: q.Model, samples: list[dict[str, np.ndarray]]) -> float:
    before, after = q.Session(model), q.Session(quantized)
    squares = errors = 0.0
    for sample in samples:
        (expected,), (actual,) = before.run(None, sample), after.run(None, sample)
        squares += np.sum(expected.astype(np.float64) ** 2)
        errors += np.sum((expected.astype(np.float64) - actual) ** 2)
    return 10 * np.log10(squares / errors)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("granularity", "outliers", "step", "parameters", "gain_db"),
    [
        ("per_tensor", 16, "cross_layer_equalization", {}, 8),
        ("per_channel", 16, "equalize_activations", {"strength": 1}, 8),
        ("per_channel", 1, "split_outliers", {"ratio": 0.5}, 5),
    ],
)
def test_gain_on_wild_channels(
    tmp_path: Path, seed: int, granularity: str, outliers: int, step: str, parameters: dict[str, float], gain_db: float
):
    generator = np.random.default_rng(seed)
    scale = np.ones(16)
    scale[:outliers] = 16 if outliers == 1 else np.exp2(generator.uniform(-4, 4, outliers))
    model = badly_scaled(tmp_path / "model.onnx", generator, scale)
    samples = [{"images": generator.standard_normal((1, 3, 12, 12)).astype(np.float32)} for _ in range(24)]
    recipe = q.Recipe.from_json(
        json.dumps(
            {
                "name": "plain",
                "rules": [
                    {
                        "activation": {"dtype": "u8", "range": "min_max"},
                        "weight": {"dtype": "s8", "granularity": granularity},
                    }
                ],
            }
        )
    )
    plain = q.quantize(model, samples[:16], recipe, verify=False).model
    scaled = q.quantize(model, samples[:16], recipe.with_step(step, **parameters), verify=False).model
    assert output_db(model, scaled, samples[16:]) > output_db(model, plain, samples[16:]) + gain_db
