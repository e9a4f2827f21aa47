#!/usr/bin/env python3
"""Quantized convolutions and products of real networks beside oneDNN's, both held to one instruction set, on one core.

    build/venv/bin/python bench/onednn.py [--max-isa avx2,avx512vnni] [--runs 3] [--render]

Runs build/release/bench/onednn_int8 (bench/onednn_int8.cpp says what is compared) for each instruction set that the
machine has, some times over: of each side and layer the fastest call counts. Keeps the figures in bench/onednn.json
and writes their tables into docs/performance.md.
"""

import argparse
import datetime
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import peers
from runtimes import ROOT
from workloads import PAGE, commit, replace_between, run_json

RESULTS = ROOT / "bench" / "onednn.json"
PROGRAM = Path(os.environ.get("ZEROPOINT_ONEDNN_INT8", ROOT / "build" / "release" / "bench" / "onednn_int8"))
ISAS = {"amxint8": "AMX", "avx512vnni": "AVX-512 VNNI", "avx2vnni": "AVX-VNNI", "avx2": "AVX2"}
DEEP = 512  # from this depth on products should reach GOAL percent of the ceiling
GOAL = 70
SHOWN = 16


def ratio(layer: dict) -> float:
    return layer["our_us"] / layer["their_us"]


def ceiling_percent(layer: dict) -> float:
    return 1e-3 * layer["operations"] / layer["our_us"] / layer["ceiling_gop_per_s"] * 100


def geometric_mean(values: Iterable[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


def row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def head(*names: str) -> list[str]:
    return [row(names), "| --- " * len(names) + "|"]


def networks(layers: Sequence[dict]) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for layer in layers:
        found.setdefault(layer["network"], []).append(layer)
    return found


def title(layer: dict) -> str:
    return f"{layer['layer']} ({layer['network']})"


def summary(measured: dict) -> list[str]:
    lines = head(
        *(
            "ISA",
            "network",
            "ours, ms",
            "oneDNN, ms",
            "ours / oneDNN",
            "geometric mean of layers",
            "slowest layer beside oneDNN",
        ),
        "faster or equal",
    )
    for isa, entry in measured.items():
        for network, layers in networks(entry["layers"]).items():
            ours, theirs = (
                sum(layer[name] * layer["times"] for layer in layers) / 1e3 for name in ("our_us", "their_us")
            )
            worst = max(layers, key=ratio)
            won = sum(ratio(layer) <= 1 for layer in layers)
            lines.append(
                row(
                    [
                        *(ISAS[isa], network, f"{ours:.3g}", f"{theirs:.3g}", f"**{ours / theirs:.2f}**"),
                        *(f"{geometric_mean(map(ratio, layers)):.2f}", f"{ratio(worst):.2f}: {worst['layer']}"),
                        f"{won} of {len(layers)}",
                    ]
                )
            )
    return lines


def deep_products(measured: dict) -> list[str]:
    lines = head("ISA", "ceiling, GOP/s", "layers", f"at least {GOAL} %", "median", "1024 x 1024 x 1024", "least")
    for isa, entry in measured.items():
        deep = [layer for layer in entry["layers"] if layer["depth"] >= DEEP and not layer["depthwise"]]
        deep = [layer for layer in deep if not layer["layer"].startswith("1 x ") and "-> 1x1x" not in layer["layer"]]
        if not deep:
            continue
        least = min(deep, key=ceiling_percent)
        cube = [f"{ceiling_percent(layer):.0f} %" for layer in deep if layer["layer"] == "1024 x 1024 x 1024"]
        lines.append(
            row(
                [
                    *(ISAS[isa], f"{statistics.median(layer['ceiling_gop_per_s'] for layer in deep):.0f}", len(deep)),
                    sum(ceiling_percent(layer) >= GOAL for layer in deep),
                    f"{statistics.median(map(ceiling_percent, deep)):.0f} %",
                    *(cube or ["-"]),
                    f"{ceiling_percent(least):.0f} %: {title(least)}",
                ]
            )
        )
    return lines


def slower(measured: dict) -> list[str]:
    lines = head("ISA", "layer", "ours, us", "oneDNN, us", "ours / oneDNN", "of the ceiling", "ours", "oneDNN's")
    for isa, entry in measured.items():
        lost = sorted((layer for layer in entry["layers"] if ratio(layer) > 1), key=ratio, reverse=True)
        for layer in lost[:SHOWN]:
            lines.append(
                row(
                    [
                        *(ISAS[isa], title(layer), f"{layer['our_us']:.1f}", f"{layer['their_us']:.1f}"),
                        *(f"{ratio(layer):.2f}", f"{ceiling_percent(layer):.0f} %"),
                        *(f"`{layer['kernel']}`", f"`{layer['their_kernel']}`"),
                    ]
                )
            )
    return lines


def wrong(measured: dict) -> str:
    """How much of oneDNN's results saturation has spoilt."""
    texts = []
    for isa, entry in measured.items():
        spoilt = [layer["their_wrong_percent"] for layer in entry["layers"] if layer["their_wrong_percent"] > 0]
        if spoilt:
            texts.append(
                f"Under {ISAS[isa]} oneDNN's results differ from the exact ones by more than one step in {len(spoilt)} "
                f"of {len(entry['layers'])} layers, in up to {max(spoilt):.1f} % of a layer's values: it adds pairs of "
                "products in 16 bits, which saturates."
            )
    return " ".join(texts) or "oneDNN's results differ from ours by one step at most."


def facts(measured: dict) -> str:
    groups: dict[str, list[str]] = {}
    for isa, entry in measured.items():
        groups.setdefault(
            f"{entry['cpu']}; oneDNN {entry['onednn']}; {entry['date']} at commit {entry['commit']}", []
        ).append(ISAS[isa])
    return "\n".join(f"- {', '.join(names)}: {text}" for text, names in groups.items())


def render(measured: dict) -> str:
    measured = {isa: measured[isa] for isa in ISAS if isa in measured}
    parts = [
        facts(measured),
        "A network's time is the sum of its layers', as often as it has them:",
        "\n".join(summary(measured)),
        wrong(measured),
        f"Share of the instruction set's ceiling at depths (channels x taps) of {DEEP} and more:",
        "\n".join(deep_products(measured)),
    ]
    lost = slower(measured)
    parts += (
        [f"Layers in which oneDNN is faster, at most {SHOWN} an instruction set:", "\n".join(lost)] if lost[2:] else []
    )
    return "\n" + "\n\n".join(parts) + "\n"


def fastest(runs: Sequence[dict]) -> dict:
    """One run's figures of the same layers, each side's fastest call of all runs, the highest ceiling."""
    layers = []
    for same in zip(*(run["layers"] for run in runs), strict=True):
        best = {name: round(min(layer[name] for layer in same), 3) for name in ("our_us", "their_us")}
        ceiling = round(max(layer["ceiling_gop_per_s"] for layer in same), 1)
        wrong = round(same[0]["their_wrong_percent"], 3)
        layers.append({**same[0], **best, "ceiling_gop_per_s": ceiling, "their_wrong_percent": wrong})
    return {**runs[0], "layers": layers}


def dumps(measured: dict) -> str:
    """JSON with a line for each layer."""
    entries = []
    for isa, entry in measured.items():
        layers = ",\n  ".join(json.dumps(layer) for layer in entry["layers"])
        rest = json.dumps({name: value for name, value in entry.items() if name != "layers"})
        entries.append(f'"{isa}": {rest[:-1]}, "layers": [\n  {layers}\n ]}}')
    return "{\n" + ",\n".join(entries) + "\n}\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--max-isa", default=",".join(ISAS), help="comma-separated (default: %(default)s)")
    parser.add_argument(
        "--runs", type=int, default=3, help="of the program for each instruction set (default: %(default)s)"
    )
    parser.add_argument("--render", action="store_true", help="measure nothing, write the page again")
    args = parser.parse_args(argv)
    wanted = args.max_isa.split(",")
    if unknown := [isa for isa in wanted if isa not in ISAS]:
        parser.error(f"no instruction set {unknown[0]!r}; there are {', '.join(ISAS)}")
    measured = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for isa in wanted if not args.render else ():
        try:
            told = fastest([run_json([PROGRAM, "--max-isa", isa, "--json"]) for _ in range(args.runs)])
        except subprocess.CalledProcessError:
            print(f"{isa}: left out", file=sys.stderr)
            continue
        entry = {"date": datetime.date.today().isoformat(), "commit": commit(), "cpu": peers.cpu_name(), **told}
        measured[isa] = entry
        print(f"{ISAS[isa]}: ours / oneDNN {geometric_mean(map(ratio, entry['layers'])):.2f} (geometric mean)")
        RESULTS.write_text(dumps(measured))
    PAGE.write_text(replace_between(PAGE.read_text(), "onednn", render(measured)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
