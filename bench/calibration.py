#!/usr/bin/env python3
"""What calibration costs: peak memory for few and many samples, and time beside just running the float model.

    build/venv/bin/python bench/calibration.py [--model build/models/mobilenet_v2.onnx] [--samples 16 1024] [--threads 1]

Prints, for each number of samples, the peak memory of `zeropoint calibrate` (ru_maxrss of the process) and its time, and the time
that ONNX Runtime takes to run the same model over the same samples, one at a time, with the same number of threads. The two take
turns `--rounds` times; the minimum of each counts.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import onnxruntime as ort

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHUNK = 32  # samples made at a time, so that this process stays small


def write_samples(path: pathlib.Path, name: str, count: int, shape: tuple[int, ...]) -> None:
    """An .npy with `count` pictures of smooth noise: neighbouring pixels alike, as in photographs."""
    if path.exists():
        return
    rng = np.random.default_rng(0)
    array = np.lib.format.open_memmap(path, "w+", np.float32, (count, *shape))
    for begin in range(0, count, CHUNK):
        coarse = rng.normal(size=(min(CHUNK, count - begin), shape[0], shape[1] // 8, shape[2] // 8)).astype(np.float32)
        array[begin : begin + CHUNK] = coarse.repeat(8, 2).repeat(8, 3) + 0.2 * rng.normal(size=(len(coarse), *shape))


def calibrate(arguments: argparse.Namespace, samples: pathlib.Path) -> tuple[float, int]:
    """Seconds and peak bytes of one calibration."""
    start = time.perf_counter()
    process = subprocess.Popen([arguments.zeropoint, "calibrate", arguments.model, "--data", samples, "--threads", str(arguments.threads),
                                "--quiet", "-o", samples.with_suffix(".statistics")], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"calibrate failed with status {status}")
    return time.perf_counter() - start, usage.ru_maxrss * 1024


def run_onnxruntime(arguments: argparse.Namespace, samples: pathlib.Path) -> float:
    options = ort.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    session = ort.InferenceSession(arguments.model, options, providers=["CPUExecutionProvider"])
    array, name = np.load(samples, mmap_mode="r"), session.get_inputs()[0].name
    start = time.perf_counter()
    for i in range(len(array)):
        session.run(None, {name: np.ascontiguousarray(array[i : i + 1])})
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ROOT / "build/models/mobilenet_v2.onnx"))
    parser.add_argument("--zeropoint", default=str(ROOT / "build/release/zeropoint"))
    parser.add_argument("--samples", type=int, nargs="+", default=[16, 1024])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    session = ort.InferenceSession(arguments.model, providers=["CPUExecutionProvider"])
    shape = tuple(session.get_inputs()[0].shape[1:])
    folder = ROOT / "build/bench"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for count in arguments.samples:
        path = folder / f"calibration_{count}_{'x'.join(map(str, shape))}.npy"
        write_samples(path, session.get_inputs()[0].name, count, shape)
        ours, theirs, peaks = [], [], []
        for _ in range(arguments.rounds):
            seconds, peak = calibrate(arguments, path)
            ours.append(seconds)
            peaks.append(peak)
            theirs.append(run_onnxruntime(arguments, path))
        rows.append({"samples": count, "threads": arguments.threads, "peak_mb": max(peaks) / 1e6, "calibrate_s": min(ours),
                     "onnxruntime_run_s": min(theirs), "ratio": min(ours) / min(theirs)})
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'samples':>8} {'threads':>8} {'peak MB':>9} {'calibrate s':>12} {'run by ONNX Runtime s':>22} {'ratio':>7}")
    for row in rows:
        print(f"{row['samples']:>8} {row['threads']:>8} {row['peak_mb']:>9.1f} {row['calibrate_s']:>12.2f} {row['onnxruntime_run_s']:>22.2f} {row['ratio']:>7.2f}")


if __name__ == "__main__":
    main()
