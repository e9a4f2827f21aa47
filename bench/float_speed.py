#!/usr/bin/env python3
"""Float networks in zeropoint against ONNX Runtime: time and largest difference.

    build/venv/bin/python bench/float_speed.py [NAME...] [--threads 1 2] [--blocks 8] [--json]

Each network runs in both runtimes in one process, in turns of --duration seconds; the minimum over all blocks counts.
`error` is max|ours - theirs| / max|theirs| over all outputs. Networks that are not made yet (tools/make_models.py) are
left out; a path to an ONNX file may stand for a name, with --shape for its free dimensions.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from runtimes import ROOT, inputs, load_onnxruntime, load_zeropoint

PAUSE_S = 0.02
TOKENS = 128

# Name -> file, and the sizes of its free dimensions by name ("*": any other).
NETWORKS = {
    "fmnist_dscnn": ("tests/data/fmnist_dscnn.onnx", {"*": 1}),
    "fmnist_resnet8": ("tests/data/fmnist_resnet8.onnx", {"*": 1}),
    "fmnist_vit": ("tests/data/fmnist_vit.onnx", {"*": 1}),
    "fmnist_lstm": ("tests/data/fmnist_lstm.onnx", {"*": 1}),
    "efficientnet_lite0": ("build/models/efficientnet_lite0.onnx", {"*": 1}),
    "mobilenet_v2": ("build/models/mobilenet_v2.onnx", {"*": 1}),
    "resnet18": ("build/models/resnet18.onnx", {"*": 1}),
    "resnet50": ("build/models/resnet50.onnx", {"*": 1}),
    "ppocr_v2_cls": ("build/models/ppocr_v2_cls.onnx", {"x": (1, 3, 48, 192)}),
    "silero_sequence": ("build/models/silero_vad_16k_sequence.onnx", {"*": 32}),
    "silero_vad": ("build/models/silero_vad_16k_op15.onnx", {"input": (1, 576), "*": 1}),
    "minilm": ("build/models/minilm_l6_v2.onnx", {"N": 1, "*": TOKENS}),
    "smollm2": ("build/models/smollm2_135m.onnx", {"N": 1, "*": 64}),
}


def feeds_of(path: Path, sizes: dict, seed: int = 1) -> dict[str, np.ndarray]:
    random = np.random.RandomState(seed)
    feeds = {}
    for name, (element_type, declared) in inputs(path).items():
        shape = sizes.get(name) or tuple(
            dim if isinstance(dim, int) else sizes.get(dim, sizes.get("*", 1)) for dim in declared
        )
        dtype = onnx.helper.tensor_dtype_to_np_dtype(element_type)
        if np.issubdtype(dtype, np.floating):
            feeds[name] = random.standard_normal(shape).astype(dtype)
        elif name == "sr":
            feeds[name] = np.array(16000, dtype)
        elif "mask" in name:
            feeds[name] = np.ones(shape, dtype)
        elif "type" in name:
            feeds[name] = np.zeros(shape, dtype)
        elif "position" in name:
            feeds[name] = np.broadcast_to(np.arange(shape[-1]), shape).astype(dtype)
        else:
            feeds[name] = random.randint(0, 1000, shape).astype(dtype)
    return feeds


def fastest(run: Callable, feeds: dict, duration: float) -> float:
    run(feeds)
    best, end = float("inf"), time.perf_counter() + duration
    while time.perf_counter() < end:
        start = time.perf_counter()
        run(feeds)
        best = min(best, time.perf_counter() - start)
    return best


def difference(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        if a.shape != b.shape:
            return float("inf")
        if b.size:
            gap = np.abs(a.astype(np.float64) - b.astype(np.float64)).max()
            worst = max(worst, float(gap / max(1e-30, np.abs(b).max())))
    return worst


def measure(path: Path, sizes: dict, threads: int, blocks: int, duration: float) -> dict:
    feeds = feeds_of(path, sizes)
    runs = {"ours": load_zeropoint(path, threads), "theirs": load_onnxruntime(path, threads)}
    error = difference(runs["ours"](feeds), runs["theirs"](feeds))
    best = dict.fromkeys(runs, float("inf"))
    for block in range(blocks):
        for name in sorted(runs, reverse=block % 2 == 1):
            best[name] = min(best[name], fastest(runs[name], feeds, duration))
            time.sleep(PAUSE_S)
    return {
        "threads": threads,
        "ours_ms": best["ours"] * 1e3,
        "onnxruntime_ms": best["theirs"] * 1e3,
        "ratio": best["theirs"] / best["ours"],
        "error": error,
    }


def line(row: dict) -> str:
    return (
        f"{row['network']:<20} {row['threads']} threads  ours {row['ours_ms']:8.3f} ms  ONNX Runtime "
        f"{row['onnxruntime_ms']:8.3f} ms  ratio {row['ratio']:5.2f}  error {row['error']:.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NETWORKS)}, or ONNX files")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--duration", type=float, default=0.3, help="seconds of a block")
    parser.add_argument("--shape", nargs="*", default=[], help="NAME=1,3,224,224 of an input or NAME=5 of a dimension")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    given: dict = {"*": 1}
    for text in arguments.shape:
        name, _, shape = text.partition("=")
        dims = tuple(int(dim) for dim in shape.split(","))
        given[name] = dims if len(dims) > 1 else dims[0]
    results = []
    for name in arguments.names or NETWORKS:
        path, sizes = (ROOT / NETWORKS[name][0], NETWORKS[name][1]) if name in NETWORKS else (Path(name), given)
        if not path.exists():
            print(f"{name}: {path} is not there, left out", file=sys.stderr)
            continue
        for threads in arguments.threads:
            try:
                result = measure(path, sizes, threads, arguments.blocks, arguments.duration)
            except Exception as error:  # noqa: BLE001, one network that does not run is a line of the table, not its end
                print(f"{name}: {error}", file=sys.stderr)
                continue
            results.append({"network": name if name in NETWORKS else path.name, **result})
            if not arguments.json:
                print(line(results[-1]), flush=True)
    if arguments.json:
        print(json.dumps({"machine": platform.processor() or platform.machine(), "results": results}, indent=1))


if __name__ == "__main__":
    main()
