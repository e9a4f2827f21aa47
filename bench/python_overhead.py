#!/usr/bin/env python3
"""What a call of zeropoint.Session costs beside the run itself, how long the import takes, and the size of a wheel.

    build/venv/bin/python bench/python_overhead.py [--wheel DIR/zeropoint-*.whl] [--json]

Native runs are timed inside the module, in turns with calls from Python in the same session on the same input; figures
are minima over blocks. The import is timed in fresh interpreters.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import zeropoint as q
from zeropoint import _core

ROOT = Path(__file__).resolve().parents[1]
TINY = "ir_version 8\nopset 17\ngraph tiny(x: f32[1,16]) -> (y: f32[1,16]) {\n  y = Relu(x)\n}\n"
BLOCKS, CALLS = 60, 200


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--wheel", type=Path, help="report its size, too")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    rows = []
    networks = {
        "Relu of 16 numbers": (q.Model.from_text(TINY), (1, 16)),
        "DS-CNN, int8": (q.load(ROOT / "tests/data/quantized/fmnist_dscnn.static.onnx"), (1, 1, 28, 28)),
    }
    for name, (model, shape) in networks.items():
        for row in overhead(model, shape):
            rows.append({"network": name, **row})
    seconds = import_seconds(("pass", "import numpy", "import zeropoint"))
    result = {
        "calls": rows,
        "import_seconds": seconds["import zeropoint"] - seconds["pass"],
        "import_of_numpy_seconds": seconds["import numpy"] - seconds["pass"],
    }
    if args.wheel:
        result["wheel_bytes"] = args.wheel.stat().st_size
    if args.json:
        print(json.dumps(result, indent=2))
        return 0
    print(f"{'network':20}  {'inputs and results':22}  {'native us':>9}  {'call us':>8}  {'overhead us':>11}")
    for row in rows:
        print(
            f"{row['network']:20}  {row['arrays']:22}  {row['native_us']:9.2f}  {row['call_us']:8.2f}  "
            f"{row['call_us'] - row['native_us']:11.2f}"
        )
    print(f"import: {result['import_seconds']:.3f} s; of NumPy alone: {result['import_of_numpy_seconds']:.3f} s")
    if args.wheel:
        print(f"wheel: {result['wheel_bytes'] / 1e6:.2f} MB")
    return 0


def overhead(model: q.Model, shape: tuple[int, ...]) -> list[dict[str, object]]:
    session = q.Session(model, threads=1)
    (name,) = (value.name for value in session.inputs)
    array = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    ways: dict[str, Callable[[], object]] = {"NumPy": lambda: session.run(None, {name: array})}
    try:
        import torch

        import zeropoint.torch as qt

        tensor, module = torch.from_numpy(array), qt.QuantizedModule(model, threads=1)
        ways["torch in, NumPy out"] = lambda: session.run(None, {name: tensor})
        ways["torch in and out"] = lambda: [torch.from_dlpack(y) for y in session.run_dlpack(None, {name: tensor})]
        ways["QuantizedModule"] = lambda: module(tensor)
    except ImportError:
        pass
    native = []
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(BLOCKS):
        native.append(min(_core._native_seconds(session, {name: array}, CALLS)))
        for way, call in ways.items():
            for _ in range(CALLS):
                start = time.perf_counter()
                call()
                best[way] = min(best[way], time.perf_counter() - start)
    return [{"arrays": way, "native_us": min(native) * 1e6, "call_us": seconds * 1e6} for way, seconds in best.items()]


def import_seconds(statements: Sequence[str], repeat: int = 9) -> dict[str, float]:
    """Of each, the fastest of several, in turns."""
    best = dict.fromkeys(statements, float("inf"))
    for _ in range(repeat):
        for statement in statements:
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            best[statement] = min(best[statement], time.perf_counter() - start)
    return best


if __name__ == "__main__":
    sys.exit(main())
