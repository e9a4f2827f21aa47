"""What stays in float because integers make it slower: what is printed and that recipes make the same file.

--speed-aware measures on this machine, --target zeropoint goes by a table. Given times: src/pipeline/speed_test.cpp.
"""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
ZEROPOINT = pathlib.Path(os.environ.get("ZEROPOINT", ROOT / "build/release/zeropoint"))
MODEL = ROOT / "tests/data/fmnist_vit.onnx"


def run(*arguments):
    command = [ZEROPOINT, "quantize", MODEL, *map(str, arguments), "--threads", "1", "--quiet"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def quantize(*arguments):
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "samples.npz"
    np.savez(path, images=np.random.default_rng(0).normal(size=(4, 1, 28, 28)).astype(np.float32))
    return path


def test_the_recipe_makes_the_same_file(data, tmp_path):
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


def test_target_zeropoint_goes_by_the_table_of_costs(data, tmp_path):
    first, again, recipe = tmp_path / "first.onnx", tmp_path / "again.onnx", tmp_path / "recipe.json"
    report = json.loads(
        quantize("--data", data, "-o", first, "--target", "zeropoint", "--save-recipe", recipe, "--json")
    )
    slower = {node["node"] for node in report["left_in_float"] if "by the table of costs" in node["reason"]}
    # Products of two small activations: quantizing and packing take longer than the product.
    assert {"/MatMul", "/MatMul_1"} <= slower
    written = json.loads(recipe.read_text())
    assert written["all_integers"]
    assert len(written["rules"]) == 1 + len(slower)
    quantize("--data", data, "-o", again, "--recipe", recipe)
    assert again.read_bytes() == first.read_bytes()


def test_all_integers(data, tmp_path):
    out = tmp_path / "all.onnx"
    arguments = ("--data", data, "-o", out, "--all-integers", "--json")
    report = json.loads(quantize(*arguments, "--target", "zeropoint"))
    assert not [node for node in report["left_in_float"] if "slower" in node["reason"]]
    refused = run(*arguments)
    assert refused.returncode == 2
    assert "--all-integers: only the target zeropoint" in refused.stderr
