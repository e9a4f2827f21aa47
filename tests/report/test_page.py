"""The page of a report in headless Chromium, from a file:// address: what it shows, and that it asks for nothing.

ZEROPOINT_SCREENSHOTS=folder keeps pictures of it.
"""

import json
import os
import pathlib
import subprocess

import numpy as np
import PIL.Image
import pytest

from browser import chromium

ROOT = pathlib.Path(__file__).resolve().parents[2]
ZEROPOINT = pathlib.Path(os.environ.get("ZEROPOINT", ROOT / "build/release/zeropoint"))
MODEL = ROOT / "tests/data/fmnist_dscnn.onnx"
HOSTILE = "</script><script>window.hacked=1</script><!-- <img src=x onerror='window.hacked=1'>"


def zeropoint(*words):
    done = subprocess.run([ZEROPOINT, *map(str, words)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    random = np.random.default_rng(0)
    np.savez(folder / "images.npz", images=random.normal(size=(24, 1, 28, 28)).astype(np.float32))
    zeropoint(
        *("quantize", MODEL, "--data", folder / "images.npz", "-o", folder / "int8.onnx"),
        *("--range", "percentile", "--report", folder / "quantize.json", "--quiet"),
    )
    zeropoint(
        *("report", MODEL, folder / "int8.onnx", "--data", folder / "images.npz", "--seconds", "0.1", "--threads", "1"),
        *("-o", folder / "report.json", "--sensitivity", "--quiet"),
    )
    return folder


@pytest.fixture(scope="session")
def report(folder):
    return json.loads((folder / "report.json").read_text())


@pytest.fixture(scope="session")
def full_page(folder, report):
    """With every part that a report can have, and a name that tries to leave its place."""
    products = [node for node in report["nodes"] if node["macs"]]
    products[1]["node"] = HOSTILE
    full = {
        **report,
        "steps": [{"step": "bias_correction", "what": "13 layers", "unit": "dB", "before": 20.5, "after": 22.0}],
        "self_check": {
            "samples": 8,
            "kept_aside": True,
            "sound": True,
            "reason": "",
            "sqnr_db": 30.1,
            "before_db": 9.0,
        },
        "repairs": [
            {
                "node": HOSTILE,
                "op_type": "Conv",
                "cause": "outlier_range",
                "action": "16-bit activations",
                "before_db": 9.0,
                "after_db": 30.1,
            }
        ],
        "sensitivity": [
            {
                "node": node["node"],
                "op_type": node["op_type"],
                "alone_db": 20.0 + i,
                "restored_db": 31.0,
                "share": 1 / (i + 2),
                "cause": "outlier_range",
                "figures": "a maximum of 31 times the 99th percentile",
                "fix": "16-bit activations",
            }
            for i, node in enumerate(products)
        ],
        "budget": {
            "metric": "top1",
            "met": True,
            "float_value": 91.0,
            "limit": 90.5,
            "tried": [
                {"label": "w8a8", "value": 90.8, "bytes": 51000, "within": True, "pareto": True, "chosen": True},
                {"label": "w4a8", "value": 89.0, "bytes": 31000, "within": False, "pareto": True},
                {"label": "fp16", "value": 91.0, "bytes": 75000, "within": True, "pareto": True},
            ],
        },
        "left_in_float": [
            {"node": f"/layer.{i}/LayerNorm", "op_type": "LayerNormalization", "reason": "means need float"}
            for i in range(12)
        ],
        "notes": ["a note"],
        "float_accuracy": {"samples": 24, "top1": 0.9375},
        "quantized_accuracy": {"samples": 24, "top1": 0.93},
    }
    (folder / "full.json").write_text(json.dumps(full))
    zeropoint("report", folder / "full.json", "-o", folder / "full.html")
    return folder / "full.html"


@pytest.fixture(scope="session")
def browser():
    with chromium() as browser:
        yield browser


def sections(browser):
    return browser.run("return [...document.querySelectorAll('main section')].map(section => section.id)")


# ---- the data


def test_json_has_what_the_page_shows(folder, report):
    assert (report["format"], report["version"], report["model"]) == ("zeropoint.report", 1, MODEL.name)
    assert report["recipe"] == "static_w8a8"
    assert report["recipe_json"]["rules"][0]["activation"]["range"] == "percentile"
    assert report["command"].startswith(f"zeropoint report {MODEL} ")
    assert min(report["latency"]["seconds"], report["latency"]["float_seconds"]) > 0
    assert report["samples"] == 24
    products = [node for node in report["nodes"] if node["macs"]]
    assert len(products) == 15
    assert all(node["integer"] and node["seconds"] > 0 for node in products)
    values = {value["value"] for value in report["values"]}
    assert {node["value"] for node in products[:-1]} <= values
    assert [one["value"] for one in report["distributions"]] == [value["value"] for value in report["values"]]
    for one in report["distributions"]:
        assert sum(one["histogram"]) == one["count"]
        assert 1 <= len(one["histogram"]) <= 64
        assert 0 <= one["clipped"] < 0.01
        assert one["high"] - one["low"] == pytest.approx(255 * one["scale"])
    assert any(one["clipped"] > 0 for one in report["distributions"])  # percentiles cut


def test_report_measures_sensitivity(browser, folder, report):
    products = {node["node"] for node in report["nodes"] if node["macs"]}
    found = report["sensitivity"]
    assert products <= {row["node"] for row in found}
    assert [row["alone_db"] for row in found] == sorted(row["alone_db"] for row in found)
    assert sum(row["share"] for row in found) == pytest.approx(1)
    assert all(row["cause"] and row["fix"] for row in found)
    zeropoint("report", folder / "report.json", "-o", folder / "sensitivity.html")
    browser.open(folder / "sensitivity.html")
    assert "sensitivity" in sections(browser)
    assert found[0]["node"] in browser.run("return document.querySelector('#sensitivity').innerText")


def test_quantize_reports_ranges_and_nodes(folder):
    report = json.loads((folder / "quantize.json").read_text())
    assert report["command"].startswith(f"zeropoint quantize {MODEL} ")
    first = report["distributions"][0]
    assert (first["value"], first["node"], first["count"], first["dtype"]) == ("images", "", 24 * 28 * 28, "u8")
    conv = next(node for node in report["nodes"] if node["op_type"] == "Conv")
    assert conv["integer"] and conv["macs"] == 28224


def test_report_files_are_told_apart_by_their_names(folder):
    for words, said in [
        (["report", MODEL, "-o", "x.html"], "a report in JSON"),
        (["report", folder / "report.json", "-o", "x.txt"], "end the name in .html"),
        (["compare", MODEL, MODEL, "--data", folder / "images.npz", "--report", "x.xml"], "end the name in .html"),
        (["report", ROOT / "bench/workloads.json", "-o", "x.html"], "is no report"),
        (["report", MODEL, folder / "int8.onnx", "-o", "x.html"], "give --data"),
        (
            [
                "report",
                MODEL,
                MODEL,
                "--data",
                folder / "images.npz",
                "--sensitivity",
                "--seconds",
                "0",
                "-o",
                "x.html",
            ],
            "holds no recipe",
        ),
    ]:
        done = subprocess.run([ZEROPOINT, *map(str, words)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert said in done.stderr


def test_python_gives_the_same_page():
    import zeropoint as package

    images = np.random.default_rng(0).normal(size=(4, 1, 1, 28, 28)).astype(np.float32)
    report = package.quantize(MODEL, [{"images": image} for image in images]).report
    page = report.to_html()
    assert page.startswith("<!DOCTYPE html>")
    data = page.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    assert json.loads(data) == report.to_dict()


# ---- the page


def test_opens_from_a_file_and_asks_for_nothing(browser, full_page):
    browser.open(full_page)
    assert browser.log("browser") == []
    assert browser.requests() == [full_page.resolve().as_uri()]
    assert sections(browser) == [
        *("check", "outputs", "nodes", "along", "sensitivity", "activations", "steps", "pareto", "coverage", "notes"),
        "again",
    ]
    text = browser.run("return document.body.innerText")
    for said in (
        "fmnist_dscnn.onnx",
        "static_w8a8",
        "outlier range",
        "LayerNormalization",
        "means need float",
        "93.00 %",
    ):
        assert said in text
    assert browser.run("return document.querySelectorAll('#activations svg').length") == 12  # then a button


def test_parts_without_data_do_not_show(browser, folder):
    (folder / "bare.json").write_text(
        '{"format": "zeropoint.report", "version": 1, "float_bytes": 8, "quantized_bytes": 2}'
    )
    zeropoint("report", folder / "bare.json", "-o", folder / "bare.html")
    browser.open(folder / "bare.html")
    assert sections(browser) == []
    assert browser.log("browser") == []
    assert "4.00\N{MULTIPLICATION SIGN} smaller" in browser.run("return document.body.innerText")


def test_names_are_text_and_nothing_else(browser, full_page):
    browser.open(full_page)
    assert browser.run("return window.hacked === undefined")
    names = browser.run("return [...document.querySelectorAll('.name')].map(node => node.textContent)")
    assert names.count(HOSTILE) >= 3  # repair, node, sensitivity
    assert browser.run("return document.querySelectorAll('img, iframe, link, script[src]').length") == 0
    assert full_page.read_text().count("</script>") == 2


COLUMN = """
const table = document.querySelector('#nodes table');
const at = [...table.tHead.rows[0].cells].findIndex(cell => cell.innerText.startsWith(arguments[0]));
return [...table.tBodies[0].rows].map(row => row.cells[at].innerText);
"""
HEAD = "[...document.querySelectorAll('#nodes th button')].find(button => button.textContent === arguments[0])"


def numbers(texts):
    return [float(text.split()[0]) for text in texts if text.endswith(" dB")]


def test_tables_sort_by_loss_and_time(browser, full_page):
    browser.open(full_page)
    before = numbers(browser.run(COLUMN, "SQNR"))
    assert len(before) == 18
    assert before != sorted(before)
    browser.run(f"{HEAD}.click()", "SQNR")
    assert numbers(browser.run(COLUMN, "SQNR")) == sorted(before)  # the worst first
    assert browser.run(f"return {HEAD}.parentElement.getAttribute('aria-sort')", "SQNR") == "ascending"
    browser.run(f"{HEAD}.click()", "SQNR")
    assert numbers(browser.run(COLUMN, "SQNR")) == sorted(before, reverse=True)
    browser.run(f"{HEAD}.click()", "Time")
    unit = {"µs": 1, "ms": 1e3, "s": 1e6}
    times = [
        float(text.split()[0]) * unit[text.split()[1]] for text in browser.run(COLUMN, "Time") if text.endswith("s")
    ]
    assert len(times) >= 17  # of the 19, all but sums that convolutions compute
    assert times == sorted(times, reverse=True)


def test_works_by_keyboard(browser, full_page):
    browser.open(full_page)
    browser.run("document.querySelector('#nodes input').focus()")
    browser.press("add")
    assert all("Add" in text for text in browser.run(COLUMN, "Node"))
    assert browser.run("return document.querySelector('#nodes [role=status]').textContent") == "2 of 19"
    browser.run("document.querySelector('#nodes input').value = ''")
    browser.run("document.querySelector('#nodes input').dispatchEvent(new Event('input'))")
    browser.press("\ue004\ue004")  # tab: the table's box, then its first head
    assert browser.run("return document.activeElement.textContent") == "Node"
    browser.press("\ue007")  # enter
    names = browser.run(COLUMN, "Node")
    assert browser.run("return document.activeElement.parentElement.getAttribute('aria-sort')") == "ascending"
    assert names[-1] == "images_quantize"


def test_histograms_show_the_range_and_what_it_clips(browser, full_page, report):
    browser.open(full_page)
    browser.run("[...document.querySelectorAll('#activations button')].at(-1).click()")
    shown = browser.run("""
      return [...document.querySelectorAll('#activations .chart')].map(chart => ({
        name: chart.querySelector('.name').textContent, clipped: chart.querySelectorAll('.bar.clipped').length,
        edges: [...chart.querySelectorAll('.edge')].map(edge => Number(edge.getAttribute('x1')))}))""")
    assert [one["name"] for one in shown] == [one["value"] for one in report["distributions"]]
    for one, data in zip(shown, report["distributions"], strict=True):
        assert (one["clipped"] > 0) == (data["clipped"] > 0)
        low, high = min(data["min"], data["low"]), max(data["max"], data["high"])
        expected = [320 * (edge - low) / (high - low) for edge in (data["low"], data["high"])]
        assert one["edges"] == pytest.approx(expected, abs=1e-6)


def test_no_width_overflows(browser, full_page):
    for width in (360, 640, 800, 1280, 1900):
        browser.open(full_page, width, 740)
        assert browser.run("return [document.documentElement.scrollWidth, innerWidth]") == [width, width]
        # Nothing is cut off but in boxes that scroll.
        outside = browser.run("""
          return [...document.querySelectorAll('main *')]
            .filter(node => !node.closest('.scroll') && !node.closest('svg'))
            .filter(node => node.getBoundingClientRect().right > innerWidth + 0.5)
            .map(node => node.outerHTML.slice(0, 80))""")
        assert outside == []


# Texts whose contrast with what is behind them is less than 4.5 (WCAG 2, level AA).
CONTRAST = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const channels = color => {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = color;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const luminance = rgb => rgb.slice(0, 3).map(v => v / 255)
  .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const behind = node => {
  for (; node; node = node.parentElement) {
    const color = channels(getComputedStyle(node).backgroundColor);
    if (color[3] > 250) return color;
  }
  return [255, 255, 255];
};
const poor = [];
for (const node of document.querySelectorAll('body *')) {
  const texts = [...node.childNodes].filter(child => child.nodeType === 3);
  const text = texts.map(child => child.textContent).join('').trim();
  if (!text || ['SCRIPT', 'NOSCRIPT', 'title'].includes(node.tagName) || !node.getClientRects().length) continue;
  const style = getComputedStyle(node), ink = node.closest('svg') ? style.fill : style.color;
  const [a, b] = [luminance(channels(ink)), luminance(behind(node))].sort((x, y) => y - x);
  if ((a + .05) / (b + .05) < 4.5) poor.push([text.slice(0, 30), ink, ((a + .05) / (b + .05)).toFixed(2)]);
}
return poor;
"""


def test_light_and_dark(browser, full_page):
    background = "return getComputedStyle(document.body).backgroundColor"
    browser.open(full_page)
    light = browser.run(background)
    assert browser.run(CONTRAST) == []
    browser.open(full_page, dark=True)
    dark = browser.run(background)
    assert dark != light
    assert browser.run(CONTRAST) == []
    switch = "document.getElementById('theme')"
    assert browser.run(f"return {switch}.textContent") == "Light theme"
    browser.run(f"{switch}.click()")
    assert browser.run(background) == light
    assert browser.run(f"return {switch}.textContent") == "Dark theme"


def test_copies_the_command(browser, full_page, report):
    browser.open(full_page)
    assert report["command"] in browser.run("return document.querySelector('#again pre').textContent")
    copied = """
      const button = document.querySelector('#again button');
      return new Promise(done => {
        new MutationObserver(() => done(button.textContent)).observe(button, {childList: true});
        button.click();
      });"""
    assert browser.run(copied) == "Copied"


def test_prints(browser, full_page):
    browser.open(full_page)
    browser.devtools("Emulation.setEmulatedMedia", media="print")
    shown = "return [...document.querySelectorAll('button, input, nav')].filter(node => node.getClientRects().length)"
    assert browser.run(f"{shown}.every(node => node.closest('th'))")  # no controls but the names of columns
    assert "SQNR" in browser.run("return document.querySelector('#nodes thead').innerText")
    assert browser.run("return getComputedStyle(document.querySelector('#nodes .scroll')).maxHeight") == "none"
    browser.devtools("Emulation.setEmulatedMedia", media="")


def test_long_reports_stay_usable(browser, folder, report):
    """A table of 5,000 nodes shows its first rows, and the rest when asked."""
    many = {**report, "nodes": [{**report["nodes"][3], "node": f"/layer.{i}/Conv"} for i in range(5000)]}
    (folder / "many.json").write_text(json.dumps(many))
    zeropoint("report", folder / "many.json", "-o", folder / "many.html")
    browser.open(folder / "many.html")
    rows = "return document.querySelectorAll('#nodes tbody tr').length"
    assert browser.run(rows) == 200
    browser.run("[...document.querySelectorAll('#nodes > button')].at(-1).click()")
    assert browser.run(rows) == 5000


@pytest.mark.parametrize("name, width, dark", [("light", 1280, False), ("dark", 1280, True), ("phone", 360, False)])
def test_screenshots(browser, full_page, tmp_path, name, width, dark):
    browser.open(full_page, width, 800, dark)
    picture = pathlib.Path(os.environ.get("ZEROPOINT_SCREENSHOTS", tmp_path)) / f"{name}.png"
    browser.screenshot(picture)
    with PIL.Image.open(picture) as image:
        assert image.width == width
        assert image.height > 3000
        corner = image.convert("L").getpixel((2, image.height - 3))
        assert corner < 60 if dark else corner > 200
