"""zeropoint quantize --speed-aware: what it prints and that its recipe makes the same file, never how fast."""

import json
import os
import pathlib
import subprocess

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
ZEROPOINT = pathlib.Path(os.environ.get("ZEROPOINT", ROOT / "build/release/zeropoint"))
MODEL = ROOT / "tests/data/fmnist_vit.onnx"


def quantize(*arguments):
    command = [ZEROPOINT, "quantize", MODEL, *map(str, arguments), "--threads", "1", "--quiet"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_recipe_makes_the_same_file(tmp_path):
    data = tmp_path / "samples.npz"
    np.savez(data, images=np.random.default_rng(0).normal(size=(4, 1, 28, 28)).astype(np.float32))
    first, again, recipe = tmp_path / "first.onnx", tmp_path / "again.onnx", tmp_path / "recipe.json"
    report = json.loads(quantize("--data", data, "-o", first, "--speed-aware", "--save-recipe", recipe, "--json"))
    speed = report["speed"]
    assert speed["seconds"] > 0
    assert speed["float_seconds"] > 0
    kept = {node["node"] for node in speed["kept_float"]}
    assert kept <= {node["node"] for node in report["left_in_float"]}
    quantize("--data", data, "-o", again, "--recipe", recipe)
    assert again.read_bytes() == first.read_bytes()


def test_without_samples(tmp_path):
    text = quantize("--recipe", "dynamic_w8a8", "-o", tmp_path / "dynamic.onnx", "--speed-aware")
    assert "ms in float" in text
