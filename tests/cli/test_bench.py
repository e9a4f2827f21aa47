"""zeropoint bench: the shape of what it prints, never how fast."""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
ZEROPOINT = pathlib.Path(os.environ.get("ZEROPOINT", ROOT / "build/release/zeropoint"))
MODEL = ROOT / "tests/data/fmnist_dscnn.onnx"


def bench(*arguments):
    command = [ZEROPOINT, "bench", *map(str, arguments), "--seconds", "0.05", "--threads", "1"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture
def samples(tmp_path):
    path = tmp_path / "samples.npz"
    np.savez(path, images=np.random.default_rng(0).normal(size=(3, 1, 28, 28)).astype(np.float32))
    return path


def test_json_has_each_node(samples):
    result = bench(MODEL, "--data", samples, "--batch", 4, "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report["batch"], report["threads"], report["integer_percent"]) == (4, 1, 0)
    assert 0 < report["min_ms"] <= report["median_ms"] <= report["p95_ms"]
    for arithmetic in ("int8", "fp32"):
        assert report["ceilings"][arithmetic]["loop"].startswith(f"ceiling_{arithmetic}_")
        assert report["ceilings"][arithmetic]["gop_per_s"] > 0
    macs = sum(node["macs"] for node in report["nodes"])
    assert report["gop_per_s"] == pytest.approx(2e-6 * macs / report["min_ms"])
    products = [node for node in report["nodes"] if node["macs"]]
    assert products
    for node in products:
        assert node["gop_per_s"] == pytest.approx(2e-6 * node["macs"] / node["ms"])
        ceiling = report["ceilings"]["int8" if node["integer"] else "fp32"]["gop_per_s"]
        assert node["ceiling_percent"] == pytest.approx(100 * node["gop_per_s"] / ceiling)
    single = json.loads(bench(MODEL, "--json").stdout)
    assert macs == 4 * sum(node["macs"] for node in single["nodes"])


def test_text_shows_the_slowest_or_all():
    some, all_nodes = bench(MODEL).stdout.splitlines(), bench(MODEL, "--nodes").stdout.splitlines()
    assert some[0].split() == ["us", "share", "GOP/s", "ceiling", "operator", "kernel", "node"]
    times = [
        float(line.split()[0]) for line in some[1:] if "%" in line and "more steps" not in line and "min" not in line
    ]
    assert times == sorted(times, reverse=True)
    assert len(all_nodes) >= len(some) or "more steps" not in "\n".join(some)
    for lines in (some, all_nodes):
        assert lines[-2].startswith("ceilings of 1 thread: ")
        assert "% of the ceiling" in lines[-1]


def test_samples_that_do_not_fit(samples, tmp_path):
    result = bench(MODEL, "--data", tmp_path / "none.npz")
    assert result.returncode == 2
    assert "none.npz" in result.stderr
    folder = tmp_path / "two"
    folder.mkdir()
    for i, size in enumerate((28, 30)):
        np.savez(folder / f"{i}.npz", images=np.zeros((1, 1, size, size), np.float32))
    result = bench(MODEL, "--data", folder, "--batch", 2)
    assert result.returncode == 2
    assert "images" in result.stderr


@pytest.mark.parametrize("verb", [["bench", "--seconds", "0.05"], ["run", "--random"]])
def test_autotune_keeps_what_it_measured(verb, tmp_path):
    model, cache = ROOT / "tests/data/quantized/fmnist_resnet8.static.onnx", tmp_path / "cache"
    command = [ZEROPOINT, *verb, model, "--threads", "1", "--shape", "images=1,1,28,28"]
    tuned = [*map(str, command), "--autotune", "--tuning-cache", str(cache)]
    first = subprocess.run(tuned, capture_output=True, text=True, timeout=120)
    assert first.returncode == 0, first.stderr
    (file,) = cache.iterdir()
    kept = file.read_bytes()
    assert set(json.loads(kept)) == {"version", "program", "model", "processor", "threads", "kernels", "other_sharing"}
    assert subprocess.run(tuned, capture_output=True, timeout=120).returncode == 0
    assert file.read_bytes() == kept
    file.write_text("{")
    assert subprocess.run(tuned, capture_output=True, timeout=120).returncode == 0
    assert json.loads(file.read_text())["version"] == json.loads(kept)["version"]


def test_dimensions_of_one_name_are_one(tmp_path):
    import onnx
    from onnx import helper

    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["y"])],
        "g",
        [tensor("a", 1, ["N", "T"]), tensor("b", 1, ["N", "T"])],
        [tensor("y", 1, ["N", "T"])],
    )
    path = tmp_path / "named.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    result = bench(path, "--shape", "a=2,64", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["shapes"] == {"a": [2, 64], "b": [2, 64]}
