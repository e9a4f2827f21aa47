#!/usr/bin/env python3
"""Times the workloads of docs/performance.md in zeropoint and in its competitors, and writes the tables shown there.

    build/venv/bin/python bench/workloads.py [--only NAME,...] [--threads 1,2] [--blocks 10]

For each workload: makes every contender's file on the same samples (those of others are kept in build/bench/workloads
until their package's version or the float model changes), times all of them by bench/peers.py in a process of its own,
and asks `zeropoint bench` where our time goes. The figures are kept in bench/workloads.json: --only measures some
workloads again and leaves the others as they are; --render only writes the page again.

`tools/setup.sh bench` makes the networks that this needs beyond those of the tests.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import peers
from quantizers import QUANTIZERS, write
from runtimes import GENERAL, ROOT

sys.path.insert(0, str(ROOT / "tools"))
from fixtures import DATA, MODELS, SMALL

RESULTS = ROOT / "bench" / "workloads.json"
PAGE = ROOT / "docs" / "performance.md"
FOLDER = ROOT / "build" / "bench" / "workloads"
ZEROPOINT = Path(os.environ.get("ZEROPOINT", ROOT / "build" / "release" / "zeropoint"))
PACKAGES = ("onnxruntime", "openvino", "nncf", "torch")
SHOWN = 12

Feeds = Mapping[str, np.ndarray]


def photographs(count: int) -> list[Feeds]:
    images = np.load(DATA / "photos.npz")["images"]
    return [{"images": image[None]} for image in images[:: len(images) // count][:count]]


def clothes(count: int) -> list[Feeds]:
    with np.load(DATA / "fashion_mnist" / "train.npz") as arrays:
        return [{"images": image[None]} for image in arrays["images"][:count]]


def tokens(count: int, length: int, words: int = 30000) -> list[Feeds]:
    """Sentences made up by chance, without padding."""
    random = np.random.default_rng(0)
    ids = random.integers(1000, words, (count, 1, length))
    return [{"input_ids": i, "attention_mask": np.ones_like(i), "token_type_ids": np.zeros_like(i)} for i in ids]


def sentences(count: int) -> list[Feeds]:
    paths = sorted((DATA / "sentences").glob("*.npz"))
    return [dict(np.load(path)) for path in paths[:: len(paths) // count][:count]]


def rows(count: int, width: int = 1024) -> list[Feeds]:
    random = np.random.default_rng(0)
    return [{"x": random.standard_normal((1, width), dtype=np.float32)} for _ in range(count)]


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    model: Path
    samples: Callable[[], list[Feeds]]  # to calibrate on
    inputs: Callable[[], list[Feeds]]  # to time: joined along the first axis
    target: float  # our time / the best competitor's is at most this, one thread
    aim: float
    batch: int = 1
    quantizers: tuple[str, ...] = ("zeropoint", "zeropoint_engine", "onnxruntime", "nncf")
    extra: tuple[str, ...] = ()  # runtimes of the float model beside the general ones
    blocks: int | None = None  # where a run takes long
    random_weights: bool = False  # then there is no accuracy to repair

    def feeds(self) -> Feeds:
        samples = self.inputs()
        return {name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]}


DYNAMIC = ("zeropoint", "zeropoint_engine", "zeropoint_dynamic", "onnxruntime", "onnxruntime_dynamic")


def photo_workload(
    name: str, title: str, target: float, aim: float, batch: int = 1, random_weights: bool = True
) -> Workload:
    return Workload(
        name if batch == 1 else f"{name}_b{batch}",
        f"{title}, batch {batch}",
        MODELS / f"{name}.onnx",
        lambda: photographs(64),
        lambda: photographs(batch),
        target,
        aim,
        batch,
        random_weights=random_weights,
    )


def small_workload(name: str, quantizers: tuple[str, ...]) -> Workload:
    model = SMALL / f"{name}.onnx"
    return Workload(name, name, model, lambda: clothes(256), lambda: clothes(1), 0.6, 0.4, quantizers=quantizers)


WORKLOADS = [
    photo_workload("resnet18", "ResNet-18", 0.80, 0.65),
    photo_workload("resnet18", "ResNet-18", 0.68, 0.6, batch=8),
    photo_workload("resnet50", "ResNet-50", 0.80, 0.65),
    photo_workload("mobilenet_v2", "MobileNetV2", 0.58, 0.45),
    photo_workload("efficientnet_lite0", "EfficientNet-Lite0", 0.52, 0.4, random_weights=False),
    Workload(
        "bert_base",
        "BERT-base encoder, 128 tokens",
        MODELS / "bert_base.onnx",
        lambda: tokens(8, 128),
        lambda: tokens(1, 128),
        0.50,
        0.4,
        quantizers=(*DYNAMIC, "nncf_transformer"),
        random_weights=True,
    ),
    Workload(
        "minilm",
        "MiniLM-L6, 64 tokens",
        MODELS / "minilm_l6_v2.onnx",
        lambda: sentences(64),
        lambda: tokens(1, 64),
        0.52,
        0.4,
        quantizers=(*DYNAMIC, "nncf_transformer"),
    ),
    small_workload("fmnist_resnet8", ("zeropoint", "zeropoint_engine", "onnxruntime", "nncf")),
    small_workload("fmnist_dscnn", ("zeropoint", "zeropoint_engine", "onnxruntime", "nncf")),
    small_workload("fmnist_vit", (*DYNAMIC, "nncf_transformer")),
    Workload(
        "wide_linear",
        "Linear 1024 -> 120000, 1000 rows, float in and out",
        MODELS / "wide_linear.onnx",
        lambda: rows(64),
        lambda: rows(1000),
        0.68,
        0.6,
        batch=1000,
        quantizers=("zeropoint_engine", "zeropoint_dynamic", "onnxruntime", "onnxruntime_dynamic", "nncf"),
        extra=("torch_onednn", "torch_fbgemm"),
        blocks=4,
        random_weights=True,
    ),
]


@dataclass
class Contest:
    """One workload at one number of threads, as kept in RESULTS."""

    workload: Workload
    results: list[dict]
    ours: dict = field(init=False)
    best: dict = field(init=False)

    def __post_init__(self) -> None:
        by_time = sorted(self.results, key=lambda result: result["min_ms"])
        self.ours = next(result for result in by_time if result["runtime"] == "zeropoint")
        self.best = next(result for result in by_time if result["runtime"] != "zeropoint")

    @property
    def ratio(self) -> float:
        return self.ours["min_ms"] / self.best["min_ms"]

    def fastest(self, wanted: Callable[[dict], bool]) -> float | None:
        return min((result["min_ms"] for result in self.results if wanted(result)), default=None)


def made_from(model: Path | str) -> str:
    """'float', or the quantizer that a file came from."""
    parts = Path(model).stem.split(".")
    return parts[1] if len(parts) > 1 else "float"


# Others run our file too: a file that only our engine runs fast would be no merit of the engine.
RUNS_IN = {
    "zeropoint": "zeropoint,onnxruntime,openvino",
    "zeropoint_engine": "zeropoint",
    "zeropoint_dynamic": "zeropoint",
    "onnxruntime": "onnxruntime,openvino",
    "onnxruntime_dynamic": "onnxruntime",
    "nncf": "openvino",
    "nncf_transformer": "openvino",
}


# --- Measuring -------------------------------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def instruction_sets() -> str:
    import zeropoint

    return " ".join(zeropoint.instruction_sets())


def quantized_files(workload: Workload) -> Iterator[Path]:
    """Each contender's file; those of others are kept while model and version stay the same."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    samples = None
    for quantizer in workload.quantizers:
        package = quantizer.partition("_")[0]
        version = versions().get(package)
        if package != "zeropoint" and version is None:
            print(f"{package} is not installed: left out", file=sys.stderr)
            continue
        suffix = QUANTIZERS[quantizer][1]
        out = FOLDER / f"{workload.model.stem}.{quantizer}{suffix}"
        stamp = out.with_suffix(".stamp")
        facts = json.dumps([version, workload.model.stat().st_size, workload.model.stat().st_mtime])
        if package != "zeropoint" and out.exists() and stamp.exists() and stamp.read_text() == facts:
            yield out
            continue
        samples = samples or workload.samples()
        stamp.unlink(missing_ok=True)
        try:
            write(quantizer, workload.model, samples, FOLDER, verify=not workload.random_weights)
        except Exception as error:  # noqa: BLE001 - whatever a quantizer throws, the others still run
            print(f"{quantizer} of {workload.name}: {str(error).strip().splitlines()[0]}", file=sys.stderr)
            continue
        stamp.write_text(facts)
        yield out


def run_json(command: Sequence[str | Path | int]) -> dict:
    result = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout)


def measure(workload: Workload, threads: int, files: list[Path], args: argparse.Namespace) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        feeds = Path(folder) / "feeds.npz"
        np.savez(feeds, **workload.feeds())
        models = [f"{workload.model}@{','.join((*GENERAL, *workload.extra))}"]
        models += [f"{path}@{RUNS_IN[made_from(path)]}" for path in files]
        timed = run_json(
            [
                *(sys.executable, ROOT / "bench" / "peers.py", *models, "--data", feeds, "--batch", workload.batch),
                *("--threads", threads, "--blocks", args.blocks or workload.blocks or 10, "--json"),
            ]
        )
        contest = Contest(workload, timed["results"])
        ours = next(path for path in (workload.model, *files) if path.name == contest.ours["model"])
        bench = run_json(
            [
                *(ZEROPOINT, "bench", ours, "--data", feeds, "--batch", workload.batch),
                *("--threads", threads, "--seconds", 4, "--json"),
            ]
        )
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "cpu": timed["cpu"],
        "isas": instruction_sets(),
        "versions": versions(),
        "results": timed["results"],
        "profile": summary(bench),
    }


def summary(bench: dict) -> dict:
    """What is kept of `zeropoint bench --json`: kinds of steps, slowest kind first, and the slowest steps."""
    nodes, ceilings = bench["nodes"], bench["ceilings"]
    kinds: dict[tuple[str, str, bool], dict] = {}
    for node in nodes:
        key = {name: node[name] for name in ("op", "kernel", "integer")}
        kind = kinds.setdefault(tuple(key.values()), {**key, "steps": 0, "ms": 0.0, "macs": 0})
        kind["steps"] += 1
        kind["ms"] += node["ms"]
        kind["macs"] += node["macs"]
    for kind in kinds.values():
        rate = 2e-6 * kind["macs"] / kind["ms"] if kind["macs"] and kind["ms"] else None
        ceiling = ceilings["int8" if kind["integer"] else "fp32"]["gop_per_s"]
        kind.update(gop_per_s=rate, ceiling_percent=rate and 100 * rate / ceiling)
    return {
        **{name: bench[name] for name in ("min_ms", "gop_per_s", "ceiling_percent", "integer_percent", "ceilings")},
        "steps_ms": sum(node["ms"] for node in nodes),
        "kinds": sorted(kinds.values(), key=lambda kind: -kind["ms"])[:SHOWN],
        "slowest": sorted(nodes, key=lambda node: -node["ms"])[:SHOWN],
    }


def commit() -> str:
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()


# --- The page --------------------------------------------------------------------------------------------------------

COLUMNS: list[tuple[str, Callable[[dict], bool]]] = [
    ("ORT fp32", lambda r: r["runtime"] == "onnxruntime" and made_from(r["model"]) == "float"),
    ("ORT static", lambda r: r["runtime"] == "onnxruntime" and made_from(r["model"]) == "onnxruntime"),
    ("ORT dynamic", lambda r: r["runtime"] == "onnxruntime" and made_from(r["model"]) == "onnxruntime_dynamic"),
    ("OpenVINO, ORT's", lambda r: r["runtime"] == "openvino" and made_from(r["model"]) == "onnxruntime"),
    ("OpenVINO, NNCF's", lambda r: r["runtime"] == "openvino" and made_from(r["model"]).startswith("nncf")),
    ("OpenVINO, ours", lambda r: r["runtime"] == "openvino" and made_from(r["model"]).startswith("zeropoint")),
    ("PyTorch", lambda r: r["runtime"].startswith("torch")),
    ("fp32", lambda r: r["runtime"] == "zeropoint" and made_from(r["model"]) == "float"),
    ("static", lambda r: r["runtime"] == "zeropoint" and made_from(r["model"]) in ("zeropoint", "zeropoint_engine")),
    ("dynamic", lambda r: r["runtime"] == "zeropoint" and made_from(r["model"]) == "zeropoint_dynamic"),
]

RECIPES = {
    "float": "fp32",
    "zeropoint": "static_w8a8",
    "zeropoint_engine": "static_w8a8 --target zeropoint",
    "zeropoint_dynamic": "dynamic_w8a8 --target zeropoint",
    "onnxruntime": "ONNX Runtime's static file",
    "onnxruntime_dynamic": "ONNX Runtime's dynamic file",
    "nncf": "NNCF's file",
    "nncf_transformer": "NNCF's file",
}
RUNTIME_NAMES = {
    "zeropoint": "zeropoint",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "torch": "PyTorch",
    "torch_onednn": "PyTorch (onednn)",
    "torch_fbgemm": "PyTorch (fbgemm)",
}


def milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def contender(result: dict) -> str:
    return f"{RUNTIME_NAMES[result['runtime']]}, {RECIPES[made_from(result['model'])]}"


def table(measured: dict, threads: str) -> str:
    """The table of one number of threads."""
    head = ["workload", *(name for name, _ in COLUMNS[:7]), *(f"ours {name}" for name, _ in COLUMNS[7:])]
    head += ["ours / best", "target", "best of ours", "best of the others"]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for workload in WORKLOADS:
        entry = measured.get(workload.name, {}).get(threads)
        if entry is None:
            continue
        contest = Contest(workload, entry["results"])
        cells = [workload.title, *(milliseconds(contest.fastest(wanted)) for _, wanted in COLUMNS)]
        target = workload.target if threads == "1" else 0.8
        verdict = "met" if contest.ratio <= target else "missed"
        ours = RECIPES[made_from(contest.ours["model"])]
        cells += [f"**{contest.ratio:.2f}**", f"{target:.2f} {verdict}", ours, contender(contest.best)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def profile(workload: Workload, entry: dict) -> str:
    """Where our time goes, for a workload that misses its target."""
    told, contest = entry["profile"], Contest(workload, entry["results"])
    ceilings = told["ceilings"]
    lines = [
        f"### {workload.title}",
        "",
        f"{contest.ours['min_ms']:.3g} ms, {contest.ratio:.2f} of {contender(contest.best)}. The profiled run took "
        f"{told['min_ms']:.3g} ms: {told['ceiling_percent']:.0f} % of the ceiling "
        f"({ceilings['int8']['gop_per_s']:.0f} GOP/s in 8 bits, {ceilings['fp32']['gop_per_s']:.0f} in fp32).",
        "",
        "| share | us | steps | GOP/s | of the ceiling | operator | kernel |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for kind in told["kinds"]:
        share = f"{100 * kind['ms'] / told['steps_ms']:.1f} %"
        cells = [share, f"{1e3 * kind['ms']:.0f}", str(kind["steps"]), *rates(kind), kind["op"], f"`{kind['kernel']}`"]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| us | GOP/s | of the ceiling | slowest steps |", "| --- | --- | --- | --- |"]
    for node in told["slowest"]:
        lines.append(
            "| " + " | ".join([f"{1e3 * node['ms']:.1f}", *rates(node), f"`{node['name'] or node['op']}`"]) + " |"
        )
    return "\n".join(lines)


def rates(step: dict) -> list[str]:
    rate, share = step["gop_per_s"], step["ceiling_percent"]
    return [f"{rate:.0f}", f"{share:.1f} %"] if rate else ["", ""]


def facts(measured: dict) -> str:
    """On what, when and with which versions; one line for each combination that occurs."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, by_threads in measured.items():
        for entry in by_threads.values():
            packages = ", ".join(f"{package} {version}" for package, version in entry["versions"].items())
            key = (f"{entry['cpu']} ({entry['isas']})", packages, f"{entry['date']} at commit {entry['commit']}")
            groups.setdefault(key, []).append(name)
    texts = []
    for key, names in groups.items():
        whose = "" if len(groups) == 1 else f"{', '.join(dict.fromkeys(names))}: "
        texts.append(f"- {whose}{'; '.join(key)}")
    return "\n".join(texts)


def replace_between(text: str, name: str, body: str) -> str:
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{PAGE}: the markers {begin} and {end} are missing")
    return f"{before}{begin}\n{body}\n{end}{after}"


def render(measured: dict, page: str) -> str:
    tables = [f"{facts(measured)}\n"]
    for threads in sorted({threads for entry in measured.values() for threads in entry}):
        tables.append(f"{threads} thread{'s' if threads != '1' else ''}:\n\n{table(measured, threads)}\n")
    missed = []
    for workload in WORKLOADS:
        entry = measured.get(workload.name, {}).get("1")
        if entry and Contest(workload, entry["results"]).ratio > workload.target:
            missed.append(profile(workload, entry))
    page = replace_between(page, "tables", "\n".join(tables))
    return replace_between(page, "profiles", "\n\n".join(missed) or "Every target is met.")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = [workload.name for workload in WORKLOADS]
    parser.add_argument("--only", help=f"comma-separated, of {', '.join(names)} (default: all)")
    parser.add_argument("--threads", default="1,2", help="comma-separated (default: %(default)s)")
    parser.add_argument("--blocks", type=int, help="of each contender (default: 10, fewer where a run takes long)")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="figures, read and written (default: %(default)s)"
    )
    parser.add_argument("--page", type=Path, default=PAGE, help="where the tables go (default: %(default)s)")
    parser.add_argument("--render", action="store_true", help="measure nothing, write the page again")
    args = parser.parse_args(argv)
    wanted = args.only.split(",") if args.only else names
    if unknown := [name for name in wanted if name not in names]:
        parser.error(f"no workload {unknown[0]!r}; there are {', '.join(names)}")

    measured = json.loads(args.results.read_text()) if args.results.exists() else {}
    for workload in WORKLOADS:
        if args.render or workload.name not in wanted:
            continue
        if not workload.model.exists():
            print(f"{workload.name}: {workload.model} is missing; tools/setup.sh bench makes it", file=sys.stderr)
            continue
        files = list(quantized_files(workload))
        for threads in args.threads.split(","):
            entry = measure(workload, int(threads), files, args)
            measured.setdefault(workload.name, {})[threads] = entry
            contest = Contest(workload, entry["results"])
            print(
                f"{workload.title}, {threads} threads: {contest.ours['min_ms']:.3f} ms, {contest.ratio:.2f} of the best"
            )
            peers.print_table(entry["results"])
            measured = {name: measured[name] for name in names if name in measured}
            args.results.write_text(json.dumps(measured, indent=1) + "\n")
            args.page.write_text(render(measured, args.page.read_text()))
    if args.render:
        args.page.write_text(render(measured, args.page.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
