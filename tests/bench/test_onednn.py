"""bench/onednn.py: what its tables say about given figures, and that the published page shows the published ones."""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import onednn  # noqa: E402


def layer(name, ours, theirs, depth=576, times=1, wrong=0.0):
    told = {"network": "net", "layer": name, "times": times, "depth": depth, "depthwise": False, "operations": 1e6}
    told |= {"our_us": ours, "their_us": theirs, "ceiling_gop_per_s": 100.0, "kernel": "k", "their_kernel": "t"}
    return told | {"their_wrong_percent": wrong}


def entry(*layers):
    return {"date": "2026-01-02", "commit": "abc", "cpu": "A CPU", "onednn": "3.2.0", "layers": list(layers)}


def test_tables():
    page = onednn.render(
        {"avx2": entry(layer("a", 20.0, 10.0, times=2), layer("1024 x 1024 x 1024", 12.5, 50.0, wrong=1.5))}
    )
    assert "- AVX2: A CPU; oneDNN 3.2.0; 2026-01-02 at commit abc" in page
    # 2 * 20 + 12.5 us beside 2 * 10 + 50; layers 2 and 0.25 as long
    assert "| AVX2 | net | 0.0525 | 0.07 | **0.75** | 0.71 | 2.00: a | 1 of 2 |" in page
    # 10^6 operations in 20 us are 50 GOP/s of 100, in 12.5 us 80
    assert "| AVX2 | 100 | 2 | 1 | 65 % | 80 % | 50 %: a (net) |" in page
    assert "| AVX2 | a (net) | 20.0 | 10.0 | 2.00 | 50 % | `k` | `t` |" in page
    assert "more than one step in 1 of 2 layers, in up to 1.5 %" in page


def test_shallow_products_have_no_goal():
    page = onednn.render({"avx2": entry(layer("a", 20.0, 30.0, depth=64), layer("b", 10.0, 30.0))})
    assert "| AVX2 | 100 | 1 | 1 | 100 % | - | 100 %: b (net) |" in page
    assert "oneDNN is faster" not in page


def test_each_side_has_its_fastest_run():
    runs = [entry(layer("a", 20.0, 10.0)), entry(layer("a", 15.0, 12.0))]
    (told,) = onednn.fastest(runs)["layers"]
    assert (told["our_us"], told["their_us"]) == (15.0, 10.0)


def test_figures_are_kept_as_they_are():
    measured = {"avx2": entry(layer("a", 20.0, 10.0)), "amxint8": entry(layer("b", 1.0, 2.0))}
    assert json.loads(onednn.dumps(measured)) == measured


def test_the_page_shows_the_figures():
    page = onednn.PAGE.read_text()
    measured = json.loads(onednn.RESULTS.read_text())
    assert onednn.replace_between(page, "onednn", onednn.render(measured)) == page
