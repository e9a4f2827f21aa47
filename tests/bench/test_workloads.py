"""bench/workloads.py: what its tables say about given figures, and that the published page shows the published ones."""

import json
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import peers  # noqa: E402
import workloads  # noqa: E402
from runtimes import RUNTIMES  # noqa: E402


def result(model, runtime, ms):
    return {"model": model, "runtime": runtime, "min_ms": ms, "median_ms": ms, "p95_ms": ms}


def node(name, op, ms, macs=0):
    rate = 2e-6 * macs / ms if macs else None
    told = {"name": name, "op": op, "kernel": "k", "integer": True, "ms": ms, "macs": macs}
    return told | {"gop_per_s": rate, "ceiling_percent": rate and rate / 10}


def entry(ours_ms):
    return {
        "date": "2026-01-02",
        "commit": "abc",
        "cpu": "A CPU",
        "isas": "scalar avx2",
        "versions": {"onnxruntime": "1.0"},
        "results": [
            result("resnet18.onnx", "onnxruntime", 20),
            result("resnet18.onnx", "zeropoint", 30),
            result("resnet18.zeropoint.onnx", "openvino", 2.5),
            result("resnet18.zeropoint_engine.onnx", "zeropoint", ours_ms),
            result("resnet18.onnxruntime.onnx", "onnxruntime", 5),
            result("resnet18.nncf.xml", "openvino", 2),
        ],
        "profile": workloads.summary(
            {
                "min_ms": 1.1,
                "gop_per_s": 236,
                "ceiling_percent": 24,
                "integer_percent": 100,
                "ceilings": {"int8": {"gop_per_s": 1000}, "fp32": {"gop_per_s": 100}},
                "nodes": [
                    node("conv1", "Conv", 0.5, 100_000_000),
                    node("a", "Add", 0.2),
                    node("conv2", "Conv", 0.3, 30_000_000),
                ],
            }
        ),
    }


PAGE = (
    "top\n<!-- tables -->\nold\n<!-- end of tables -->\nmiddle\n<!-- profiles -->\n<!-- end of profiles -->\nbottom\n"
)


def test_the_fastest_of_each_side_decides():
    contest = workloads.Contest(workloads.WORKLOADS[0], entry(1.0)["results"])
    assert contest.ours["model"] == "resnet18.zeropoint_engine.onnx"
    assert contest.best["model"] == "resnet18.nncf.xml"
    assert contest.ratio == 0.5


@pytest.mark.parametrize(("ours_ms", "verdict"), [(1.0, "met"), (1.9, "missed")])
def test_table(ours_ms, verdict):
    page = workloads.render({"resnet18": {"1": entry(ours_ms)}}, PAGE)
    assert page.startswith("top\n") and "middle" in page and page.endswith("bottom\n") and "old" not in page
    assert "- A CPU (scalar avx2); onnxruntime 1.0; 2026-01-02 at commit abc" in page
    (row,) = [line for line in page.splitlines() if line.startswith("| ResNet-18, batch 1 ")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:11] == ["20", "5", "-", "-", "2", "2.5", "-", "30", f"{ours_ms:.3g}", "-"]
    assert cells[11:13] == [f"**{ours_ms / 2:.2f}**", f"0.80 {verdict}"]
    assert cells[13:] == ["static_w8a8 --target zeropoint", "OpenVINO, NNCF's file"]
    assert ("### ResNet-18, batch 1" in page) == (verdict == "missed")
    if verdict == "missed":  # steps of a kind together, slowest kind first; GOP/s of the kind
        assert "| 80.0 % | 800 | 2 | 325 | 32.5 % | Conv | `k` |\n| 20.0 % | 200 | 1 |  |  | Add | `k` |" in page
        assert "| 500.0 | 400 | 40.0 % | `conv1` |" in page


def test_figures_of_different_machines_are_told_apart():
    other = {**entry(1.0), "cpu": "Another CPU"}
    page = workloads.render({"resnet18": {"1": entry(1.0)}, "resnet50": {"1": other}}, PAGE)
    assert "- resnet18: A CPU" in page
    assert "- resnet50: Another CPU" in page


def test_markers_are_needed():
    with pytest.raises(SystemExit, match="markers"):
        workloads.render({}, "no markers")


def test_the_page_shows_the_figures():
    measured = json.loads(workloads.RESULTS.read_text())
    page = workloads.PAGE.read_text()
    assert workloads.render(measured, page) == page


def test_each_workload_names_what_exists():
    assert len({workload.name for workload in workloads.WORKLOADS}) == len(workloads.WORKLOADS)
    for workload in workloads.WORKLOADS:
        assert set(workload.quantizers) <= set(workloads.QUANTIZERS)
        assert set(workload.extra) <= set(RUNTIMES)
        for quantizer in workload.quantizers:
            assert set(workloads.RUNS_IN[quantizer].split(",")) <= set(RUNTIMES)


def test_a_model_may_name_its_runtimes():
    assert peers.parse_model("a.onnx@zeropoint,torch") == (pathlib.Path("a.onnx"), ["zeropoint", "torch"])
    assert peers.parse_model("a.onnx") == (pathlib.Path("a.onnx"), [])
