"""Steps before calibration: the float function stays, and the report says what was gained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
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
