#!/usr/bin/env python3
"""What int8 costs in accuracy: zeropoint's quantizer and methods beside ONNX Runtime's and NNCF's.

    build/venv/bin/python bench/accuracy.py [FIXTURE...] [--quantizers zeropoint,onnxruntime] [--seeds 5] [--write]

For each network and seed, samples are drawn to calibrate on; the figures are those of all the others (Fashion-MNIST: of
the 10,000 test pictures). Every quantizer gets the same samples and its file the same evaluation: zeropoint's files run
in zeropoint, ONNX Runtime's in ONNX Runtime, NNCF's in OpenVINO or, written as ONNX, in ONNX Runtime. All are compared
with the float model in ONNX Runtime.

What was measured stands in bench/accuracy.json and is not measured again, unless --again names its quantizer. --write
makes docs/accuracy.md of it.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from quantizers import QUANTIZERS, Samples, draw
from runtimes import ROOT, RUNTIMES, available, sqnr_db

MODELS, DATA, SMALL = ROOT / "build" / "models", ROOT / "build" / "data", ROOT / "tests" / "data"
RESULTS, PAGE = ROOT / "bench" / "accuracy.json", ROOT / "docs" / "accuracy.md"
Feeds = Mapping[str, np.ndarray]


def agreement(reference: np.ndarray, output: np.ndarray) -> float:
    """Percentage of rows whose largest element stands at the same place."""
    return float(np.mean(reference.argmax(-1) == output.argmax(-1)) * 100)


def cosine(reference: np.ndarray, output: np.ndarray) -> float:
    """Mean over rows."""
    reference, output = reference.astype(np.float64), output.astype(np.float64)
    lengths = np.linalg.norm(reference, axis=-1) * np.linalg.norm(output, axis=-1)
    return float(np.mean((reference * output).sum(-1) / lengths))


def decisions(reference: np.ndarray, output: np.ndarray) -> float:
    """Percentage of probabilities on the same side of one half."""
    return float(np.mean((reference > 0.5) == (output > 0.5)) * 100)


@dataclass
class Task:
    """A network, its samples, and how its outputs are judged."""

    name: str
    title: str
    model: Path
    metric: str
    count: int  # samples to calibrate on
    data: Path
    input: str = ""  # the array of `data`; empty: a folder of .npz
    output: int = 0
    batch: int = 1
    folded: Path | None = None  # the same without BatchNorm, for the other quantizers
    transformer: bool = False

    @property
    def missing(self) -> Path | None:
        return next((path for path in (self.model, self.data) if not path.exists()), None)

    @cached_property
    def labels(self) -> np.ndarray | None:
        test = self.data.with_name("test.npz")
        return np.load(test)["labels"] if self.metric == "accuracy" else None

    @cached_property
    def samples(self) -> Samples:
        """All that calibration may draw from; and, where there are no labels, the evaluation."""
        if self.data.is_dir():
            return [dict(np.load(path)) for path in sorted(self.data.glob("*.npz"))]
        return [{self.input: value[None]} for value in np.load(self.data)[self.input]]

    @cached_property
    def judged(self) -> Samples:
        if self.metric != "accuracy":
            return self.samples
        images = np.load(self.data.with_name("test.npz"))[self.input]
        return [{self.input: images[i : i + self.batch]} for i in range(0, len(images), self.batch)]

    def run(self, run: Callable[[Feeds], list[np.ndarray]], chosen: Sequence[int] | None) -> list[np.ndarray]:
        feeds = self.judged if chosen is None else [self.judged[i] for i in chosen]
        if self.metric == "agreement" and self.batch > 1:
            feeds = [
                {self.input: np.concatenate([feed[self.input] for feed in feeds[i : i + self.batch]])}
                for i in range(0, len(feeds), self.batch)
            ]
        return [np.array(run(feed)[self.output]) for feed in feeds]

    def judge(self, reference: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> dict[str, float]:
        x, y = (np.concatenate([np.atleast_1d(a) for a in arrays]) for arrays in (reference, outputs))
        if self.metric == "accuracy":
            value = float(np.mean(y.argmax(-1) == self.labels) * 100)
        else:
            value = {"agreement": agreement, "cosine": cosine, "decisions": decisions, "SQNR": sqnr_db}[self.metric](
                x, y
            )
        return {"value": value, "sqnr_db": sqnr_db(x, y)}


def _fashion_mnist(name: str, title: str, batch: int = 500, transformer: bool = False) -> Task:
    return Task(
        f"fmnist_{name}",
        title,
        SMALL / f"fmnist_{name}.onnx",
        "accuracy",
        64,
        DATA / "fashion_mnist" / "train.npz",
        "images",
        batch=batch,
        transformer=transformer,
    )


TASKS = [
    Task(
        "efficientnet_lite0",
        "EfficientNet-Lite0",
        MODELS / "efficientnet_lite0_bn.onnx",
        "agreement",
        64,
        DATA / "photos.npz",
        "images",
        batch=16,
        folded=MODELS / "efficientnet_lite0.onnx",
    ),
    _fashion_mnist("dscnn", "Fashion-MNIST DS-CNN"),
    _fashion_mnist("resnet8", "Fashion-MNIST ResNet-8"),
    # NNCF's files of these are right at batch 1 alone.
    _fashion_mnist("vit", "Fashion-MNIST ViT", batch=1, transformer=True),
    _fashion_mnist("lstm", "Fashion-MNIST LSTM", batch=1),
    Task(
        "minilm_l6_v2",
        "MiniLM-L6-v2",
        MODELS / "minilm_l6_v2.onnx",
        "cosine",
        64,
        DATA / "sentences",
        output=1,
        transformer=True,
    ),
    Task(
        "ppocr_v2_cls", "PP-OCR direction classifier", MODELS / "ppocr_v2_cls.onnx", "SQNR", 64, DATA / "printed_lines"
    ),
    Task(
        "silero_vad_16k_sequence",
        "Silero VAD, sequence",
        MODELS / "silero_vad_16k_sequence.onnx",
        "decisions",
        12,
        DATA / "speech_sequence",
    ),
]


@dataclass(frozen=True)
class Row:
    title: str
    quantizer: str  # of QUANTIZERS; empty: zeropoint
    runtime: str
    options: tuple[str, ...] = ()  # zeropoint: what recipe(options) makes of static_w8a8


OTHERS = {
    "onnxruntime": Row("ONNX Runtime, min-max", "onnxruntime", "onnxruntime"),
    "onnxruntime_percentile": Row("ONNX Runtime, percentile", "onnxruntime_percentile", "onnxruntime"),
    "onnxruntime_entropy": Row("ONNX Runtime, entropy", "onnxruntime_entropy", "onnxruntime"),
    "nncf": Row("NNCF, default", "nncf", "openvino"),
    "nncf_onnx": Row("NNCF, default, as ONNX", "nncf_onnx", "onnxruntime"),
    "nncf_accurate": Row("NNCF, accurate bias correction", "nncf_accurate", "openvino"),
}
RANGES = ("min_max", "percentile", "mse", "kl_divergence", "cross_entropy", "auto")
STEPS = (
    "cross_layer_equalization",
    "equalize_activations",
    "smooth_quant",
    "split_outliers",
    "gptq",
    "adaround",
    "empirical_bias_correction",
)
OURS = {
    "zeropoint": Row("**zeropoint, default**", "", "zeropoint"),
    **{f"zeropoint_{name}": Row(f"zeropoint, range {name}", "", "zeropoint", (f"range={name}",)) for name in RANGES},
    **{f"zeropoint_{name}": Row(f"zeropoint, step {name}", "", "zeropoint", (f"step={name}",)) for name in STEPS},
    "zeropoint_gptq_and_bias": Row(
        "zeropoint, steps gptq, empirical_bias_correction",
        "",
        "zeropoint",
        ("step=gptq", "step=empirical_bias_correction"),
    ),
    "zeropoint_per_tensor": Row("zeropoint, weights per tensor", "", "zeropoint", ("weights=per_tensor",)),
    "zeropoint_per_tensor_equalized": Row(
        "zeropoint, weights per tensor, steps cross_layer_equalization, gptq",
        "",
        "zeropoint",
        ("weights=per_tensor", "step=cross_layer_equalization", "step=gptq"),
    ),
    "zeropoint_w4a8": Row("zeropoint, recipe static_w4a8 (4-bit weights)", "", "zeropoint", ("recipe=static_w4a8",)),
    "zeropoint_w4a8_all": Row(
        "zeropoint, static_w4a8 with steps adaround, empirical_bias_correction",
        "",
        "zeropoint",
        ("recipe=static_w4a8", "step=adaround", "step=empirical_bias_correction"),
    ),
    "zeropoint_w4a4": Row(
        "zeropoint, static_w4a8 with 4-bit activations", "", "zeropoint", ("recipe=static_w4a8", "activations=u4")
    ),
}
ROWS = {**OTHERS, **OURS}


def quantize(task: Task, row: Row, samples: Samples, folder: Path) -> tuple[Path, dict]:
    """The file, and what zeropoint's report says about it."""
    if row.quantizer:
        name = row.quantizer
        if name.startswith("nncf") and task.transformer:
            name = name.replace("nncf", "nncf_transformer")
        make, suffix = QUANTIZERS[name]
        out = folder / f"{task.name}.{name}{suffix}"
        make(task.folded or task.model, samples, out)
        return out, {}
    import zeropoint

    out = folder / f"{task.name}.zeropoint.onnx"
    quantized = zeropoint.quantize(
        zeropoint.load(task.model), list(samples), recipe(row.options), verify=not row.options
    )
    quantized.model.save(out)
    session = zeropoint.Session(out, threads=1)  # knows its shapes once it ran
    session.run(None, dict(samples[0]))
    return out, {"integers": session.integer_coverage}


def recipe(options: Sequence[str]):
    """None (the default), or static_w8a8 changed: "range=mse", "step=adaround", "weights=per_tensor", "activations=u4",
    "recipe=NAME"."""
    import zeropoint

    if not options:
        return None
    words = [option.partition("=")[::2] for option in options]
    made = getattr(zeropoint.recipes, dict(words).get("recipe", "static_w8a8"))()
    changed = json.loads(made.to_json())
    for kind, value in words:
        for rule in changed["rules"]:
            if kind == "weights":
                rule["weight"]["granularity"] = value
            elif kind == "activations":
                rule["activation"]["dtype"] = value
    made = zeropoint.Recipe.from_json(json.dumps(changed))
    for kind, value in words:
        if kind == "range":
            made = made.with_range(value)
        elif kind == "step":
            made = made.with_step(value)
    return made


def measure(task: Task, name: str, seed: int, threads: int, reference: Sequence[np.ndarray]) -> dict:
    row = ROWS[name]
    calibration, others = draw(task.count, len(task.samples), seed)
    chosen = None if task.metric == "accuracy" else others
    result = {"fixture": task.name, "quantizer": name, "seed": seed}
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            out, said = quantize(task, row, [task.samples[i] for i in calibration], Path(folder))
            result["seconds"] = round(time.monotonic() - start, 1)
            outputs = task.run(RUNTIMES[row.runtime](out, threads), chosen)
        except Exception as error:  # noqa: BLE001 - whatever a quantizer fails with is its result
            return {**result, "failed": first_line(error, folder)}
    expected = reference if chosen is None else [reference[i] for i in chosen]
    return {**result, **task.judge(expected, outputs), **said}


def first_line(error: Exception, folder: str) -> str:
    """What failed, without the folder of its files; of an error without words, where."""
    words = str(error).strip().splitlines()
    if not words:
        place = traceback.extract_tb(error.__traceback__)[-1]
        words = [f"{Path(place.filename).name}, line {place.lineno}: {place.line}"]
    while len(words) > 1 and words[0].endswith(":"):  # where it was thrown
        words[:2] = [f"{words[0]} {words[1].strip()}"]
    return f"{type(error).__name__}: {words[0].replace(folder + os.sep, '')}"[:200]


def summary(results: Sequence[dict], key: str) -> dict[str, float]:
    values = np.array([result[key] for result in results])
    return {"mean": values.mean(), "min": values.min(), "max": values.max(), "std": values.std()}


UNITS = {
    "agreement": "agreement %",
    "accuracy": "accuracy %",
    "cosine": "cosine",
    "decisions": "same decisions %",
    "SQNR": "",
}


def shown(results: Sequence[dict], key: str, digits: int) -> str:
    """mean (least ... most)"""
    of = summary(results, key)
    if np.isinf(of["mean"]):
        return "equal"
    if len(results) == 1:
        return f"{of['mean']:.{digits}f}"
    return f"{of['mean']:.{digits}f} ({of['min']:.{digits}f} ... {of['max']:.{digits}f})"


INTRODUCTION = """# Accuracy

What 8-bit weights and activations cost, by quantizer. `bench/accuracy.py --write` makes this page of
`bench/accuracy.json`, and measures what is not in it.

All quantizers get the same calibration samples, drawn by a seed; the figures are of all other samples (Fashion-MNIST:
the 10,000 test pictures): mean (least ... most) over the draws. SQNR is that of the outputs. Weights have a scale per
channel. ONNX Runtime and NNCF get EfficientNet-Lite0 with BatchNorm folded, and NNCF is told which networks are
transformers. zeropoint's files run in zeropoint's engine, NNCF's in OpenVINO (those written as ONNX in ONNX Runtime),
the others in ONNX Runtime. By default zeropoint checks and repairs its file; its further rows do not, and change one
thing of the recipe static_w8a8: range, steps, or weights with one scale a tensor. Seconds are those of one quantization
on a busy machine.
"""


def table(task: Task, results: Sequence[dict], float_value: float | None) -> str:
    """Markdown; empty where nothing was measured."""
    by_row = {name: [result for result in results if result["quantizer"] == name] for name in ROWS}
    by_row = {name: of for name, of in by_row.items() if of}
    if not by_row:
        return ""
    heading = UNITS[task.metric]
    columns = ["quantizer", *([heading] if heading else []), "SQNR dB", "MACs in integers", "seconds", "draws"]
    lines = [f"## {task.title}", "", f"{task.count} samples to calibrate on."]
    if float_value is not None:
        lines[-1] += f" Float: {float_value:.2f} %."
    lines += ["", f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    failures = []
    for name, of in by_row.items():
        good = [result for result in of if "failed" not in result]
        if not good:
            failures.append(f"{ROWS[name].title} fails: `{of[0]['failed']}`")
            cells = [ROWS[name].title, "fails", *[""] * (len(columns) - 2)]
        else:
            shares = [100 * result["integers"] for result in good if result.get("integers") is not None]
            least, most = (min(shares), max(shares)) if shares else (0, 0)
            spread = f"{least:.1f}" if most - least < 0.05 else f"{least:.1f} ... {most:.1f}"
            cells = [
                ROWS[name].title,
                *([shown(good, "value", 4 if task.metric == "cosine" else 2)] if heading else []),
                shown(good, "sqnr_db", 1),
                f"{spread} %" if shares else "",
                f"{np.median([result['seconds'] for result in good]):.0f}",
            ]
            cells.append(f"{len(good)} of {len(of)}" if len(good) < len(of) else f"{len(of)}")
        lines.append(f"| {' | '.join(cells)} |")
    said = [line for failure in failures for line in ("", failure)]
    return "\n".join([*lines, *said]) + "\n"


def means_of(task: Task, results: Sequence[dict]) -> dict[str, dict[str, dict[str, float]]]:
    """By row and measure, of zeropoint's default and the others."""
    means = {}
    for name in ("zeropoint", *OTHERS):
        good = [r for r in results if (r["fixture"], r["quantizer"]) == (task.name, name) and "failed" not in r]
        if good:
            means[name] = {key: {**summary(good, key), "draws": len(good)} for key in ("value", "sqnr_db")}
    return means


def overview(results: Sequence[dict]) -> str:
    """zeropoint's default beside the others' best, by the measure and by SQNR each, as means over draws; then, where it
    is behind."""
    lines = [
        "| network | measure | zeropoint, default | best other | SQNR dB | best other |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    behind = []
    for task in TASKS:
        digits = 4 if task.metric == "cosine" else 2
        means = means_of(task, results)
        others = [name for name in OTHERS if name in means]
        if "zeropoint" not in means or not others:
            continue
        cells = [task.title, UNITS[task.metric] or "-"]
        for key, places in (("value", digits), ("sqnr_db", 1)):
            best = max(others, key=lambda name: means[name][key]["mean"])
            ours, others_best = means["zeropoint"][key], means[best][key]
            if key == "value" and not UNITS[task.metric]:
                cells += ["", ""]
            else:
                cells += [
                    f"{ours['mean']:.{places}f}",
                    f"{others_best['mean']:.{places}f} ({ROWS[best].title})",
                ]
                if others_best["mean"] - ours["mean"] >= 0.5 * 10**-places:
                    unit = "dB" if key == "sqnr_db" else "points" if "%" in UNITS[task.metric] else ""
                    lead = f"{others_best['mean'] - ours['mean']:.{places}f} {unit}".strip()
                    spread = f"theirs {others_best['max'] - others_best['min']:.{places}f}"
                    behind.append(
                        f"- {task.title}: {lead} behind {ROWS[best].title}; "
                        f"our draws lie {ours['max'] - ours['min']:.{places}f} apart, "
                        f"{spread if others_best['draws'] > 1 else 'of theirs there is one'}."
                    )
        lines.append(f"| {' | '.join(cells)} |")
    if behind:
        lines += ["", "Where another mean is higher:", "", *behind]
        lines += ["", "0.01 point of accuracy is one test picture of 10,000; what lies above float does so by chance."]
    return "\n".join(lines) + "\n"


def page(kept: Mapping) -> str:
    tables = [
        table(task, [r for r in kept["results"] if r["fixture"] == task.name], kept["float"].get(task.name))
        for task in TASKS
    ]
    return "\n".join([INTRODUCTION, overview(kept["results"]), *filter(None, tables)])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [task.name for task in TASKS]
    parser.add_argument("fixtures", nargs="*", help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--quantizers", default=",".join(ROWS), help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--again", default="", help="quantizers to measure anew")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument("--json", action="store_true", help="print all results as JSON")
    args = parser.parse_args(argv)
    wanted = args.quantizers.split(",")
    if unknown := (set(args.fixtures) - set(names)) | (set(wanted) - set(ROWS)):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")

    kept = json.loads(args.results.read_text()) if args.results.exists() else {"float": {}, "results": []}
    again = set(args.again.split(","))
    kept["results"] = [result for result in kept["results"] if result["quantizer"] not in again]
    done = {(result["fixture"], result["quantizer"], result["seed"]) for result in kept["results"]}
    kept["machine"] = f"{platform.machine()}, {os.cpu_count()} processors"

    for task in TASKS:
        if args.fixtures and task.name not in args.fixtures:
            continue
        if task.missing:
            print(f"{task.name}: {task.missing} is missing: left out", file=sys.stderr)
            continue
        reference: list[np.ndarray] | None = None
        for name in available(wanted):
            for seed in range(args.seeds):
                if (task.name, name, seed) in done:
                    continue
                if reference is None:
                    reference = task.run(RUNTIMES["onnxruntime"](task.model, args.threads), None)
                    if task.metric == "agreement" and task.batch > 1:
                        reference = [row[None] for row in np.concatenate(reference)]
                    if task.metric == "accuracy":
                        kept["float"][task.name] = task.judge(reference, reference)["value"]
                result = measure(task, name, seed, args.threads, reference)
                kept["results"].append(result)
                order = {pair: i for i, pair in enumerate((t.name, row) for t in TASKS for row in ROWS)}
                kept["results"].sort(key=lambda r: (order.get((r["fixture"], r["quantizer"]), 1 << 20), r["seed"]))
                partial = args.results.with_suffix(".part")
                partial.write_text(json.dumps(kept, indent=1) + "\n")
                partial.replace(args.results)
                if not args.json:
                    print(" ".join(f"{key}={value}" for key, value in result.items()), flush=True)
    if args.write:
        PAGE.write_text(page(kept))
    if args.json:
        print(json.dumps(kept, indent=2))
    elif not args.write:
        print(page(kept))
    return 0


if __name__ == "__main__":
    sys.exit(main())
