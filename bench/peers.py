#!/usr/bin/env python3
"""Times models in zeropoint, ONNX Runtime and OpenVINO: in one process, with the same threads and inputs.

    build/venv/bin/python bench/peers.py MODEL... [--threads 1] [--batch 1] [--blocks 10] [--data IMAGES.npz] [--json]

The models are forms of one network: float, int8 of different makers. Every one runs in every runtime that reads it, or
in those that its name ends in: model.onnx@zeropoint,openvino.
They take turns in blocks: each runs about 0.4 s without a break, so that caches and clock are its own, then the next;
the order turns from round to round. Given are minimum and median over all runs of all blocks, and `sqnr`: how near the
outputs are to those of the first model in the first runtime.
"""

import argparse
import gc
import json
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from runtimes import GENERAL, RUNTIMES, Run, available, inputs, reads, sqnr_db

PAUSE_S = 0.05  # between blocks: worker threads of the last contender go to sleep
WARM_UP_RUNS = 2  # at the start of each block, not counted
SLOW_S = 0.2  # runs longer than this are warmed up once: they fill every cache by themselves
COMPARED = 1 << 22  # elements of the output that `sqnr` looks at


@dataclass
class Contender:
    model: Path
    runtime: str
    run: Run
    feeds: Mapping[str, np.ndarray]
    output: np.ndarray  # the first COMPARED elements
    seconds: list[float] = field(default_factory=list)

    def block(self, duration: float) -> None:
        for _ in range(WARM_UP_RUNS):
            start = time.perf_counter()
            self.run(self.feeds)
            if time.perf_counter() - start > SLOW_S:
                break
        end = time.perf_counter() + duration
        while True:
            start = time.perf_counter()
            self.run(self.feeds)
            now = time.perf_counter()
            self.seconds.append(now - start)
            if now >= end:
                return

    def result(self, reference: np.ndarray) -> dict:
        milliseconds = np.array(self.seconds) * 1e3
        equal = np.array_equal(self.output, reference)
        comparable = self.output.shape == reference.shape and not equal
        return {
            "model": self.model.name,
            "runtime": self.runtime,
            "min_ms": float(milliseconds.min()),
            "median_ms": float(np.median(milliseconds)),
            "p95_ms": float(np.percentile(milliseconds, 95)),
            "runs": len(milliseconds),
            "equal": equal,
            "sqnr_db": sqnr_db(reference, self.output) if comparable else None,
        }


def make_feeds(model: Path, batch: int, fixed: Mapping[str, tuple[int, ...]], data: Path | None, seed: int) -> dict:
    """Inputs for `model`: free first dimensions become `batch`; from `data` (an .npz) where it has the name."""
    arrays = dict(np.load(data)) if data else {}
    random = np.random.RandomState(seed)
    feeds = {}
    for name, (element_type, declared) in inputs(model).items():
        given = arrays[name].shape if name in arrays and arrays[name].ndim == len(declared) else [None] * len(declared)
        shape = fixed.get(name) or tuple(
            dim if isinstance(dim, int) else batch if axis == 0 else given[axis] for axis, dim in enumerate(declared)
        )
        if None in shape:
            raise SystemExit(f"{model}: input {name} has the free shape {declared}; add --shape {name}=...")
        dtype = onnx.helper.tensor_dtype_to_np_dtype(element_type)
        if name in arrays:
            feeds[name] = np.resize(arrays[name], shape).astype(dtype)
        elif dtype.kind == "f":
            feeds[name] = random.standard_normal(shape).astype(dtype)
        else:
            feeds[name] = np.ones(shape, dtype)
    return feeds


def enter(model: Path, runtime: str, threads: int, feeds: Mapping[str, np.ndarray]) -> Contender | None:
    """Loads and tries out; says on stderr why not, if not."""
    try:
        run = RUNTIMES[runtime](model, threads, {name: array.shape for name, array in feeds.items()})
        # A copy: a runtime may hand out the same memory each time.
        return Contender(model, runtime, run, feeds, np.array(run(feeds)[0].ravel()[:COMPARED]))
    except Exception as error:  # noqa: BLE001 - whatever a runtime throws, the others still run
        print(f"{model.name} in {runtime}: {str(error).strip().splitlines()[0]}", file=sys.stderr)
        return None


def parse_model(text: str) -> tuple[Path, list[str]]:
    """MODEL or MODEL@RUNTIME,..."""
    path, _, runtimes = text.partition("@")
    return Path(path), runtimes.split(",") if runtimes else []


def take_turns(contenders: list[Contender], blocks: int, block_seconds: float) -> None:
    """`blocks` blocks of each; the order turns from round to round."""
    gc.disable()
    try:
        for turn in range(blocks):
            first = turn % len(contenders)
            for contender in contenders[first:] + contenders[:first]:
                contender.block(block_seconds)
                time.sleep(PAUSE_S)
    finally:
        gc.enable()


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, dims = text.partition("=")
    return name, tuple(int(dim) for dim in dims.split(","))


def cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def print_table(results: list[dict]) -> None:
    fastest = min(result["min_ms"] for result in results)
    width = max(len(result["model"]) for result in results)
    print(f"{'model':{width}}  {'runtime':11}  {'min ms':>8}  {'median':>8}  {'p95':>8}  {'x best':>6}  {'sqnr dB':>7}")
    for result in results:
        sqnr = result["sqnr_db"]
        near = "equal" if result["equal"] else "-" if sqnr is None else f"{sqnr:.1f}"
        print(
            f"{result['model']:{width}}  {result['runtime']:11}  {result['min_ms']:8.3f}  {result['median_ms']:8.3f}  "
            f"{result['p95_ms']:8.3f}  {result['min_ms'] / fastest:6.2f}  {near:>7}"
        )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "models", type=parse_model, nargs="+", metavar="MODEL[@RUNTIME,...]", help=".onnx, or .xml for OpenVINO alone"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--blocks", type=int, default=10, help="of each contender")
    parser.add_argument("--block-seconds", type=float, default=0.4)
    parser.add_argument("--runtimes", default=",".join(GENERAL), help="where MODEL names none (default: %(default)s)")
    parser.add_argument("--data", type=Path, help=".npz with arrays named as the inputs (default: random numbers)")
    parser.add_argument("--shape", type=parse_shape, action="append", default=[], metavar="NAME=1,3,224,224")
    parser.add_argument("--seed", type=int, default=0, help="of random inputs")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)

    # An .xml has the inputs of the ONNX file that it was made from, which is given too.
    onnx_models = [model for model, _ in args.models if model.suffix == ".onnx"]
    if not onnx_models:
        parser.error("needs at least one .onnx file")
    contenders = []
    for model, own in args.models:
        runtimes = available(own or args.runtimes.split(","))
        described = model if model.suffix == ".onnx" else onnx_models[0]
        feeds = make_feeds(described, args.batch, dict(args.shape), args.data, args.seed)
        contenders += [enter(model, runtime, args.threads, feeds) for runtime in runtimes if reads(runtime, model)]
    contenders = [contender for contender in contenders if contender]
    if not contenders:
        raise SystemExit("nothing to time")

    take_turns(contenders, args.blocks, args.block_seconds)
    results = [contender.result(contenders[0].output) for contender in contenders]
    if args.json:
        setting = {"cpu": cpu_name(), "threads": args.threads, "batch": args.batch, "blocks": args.blocks}
        print(json.dumps({**setting, "results": results}, indent=2))
    else:
        print(f"{cpu_name()}, {args.threads} threads, batch {args.batch}, {args.blocks} blocks")
        print_table(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
