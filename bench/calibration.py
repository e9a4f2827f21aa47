#!/usr/bin/env python3
"""Peak memory and time of calibration, beside plain runs of the float model in ONNX Runtime.

    build/venv/bin/python bench/calibration.py [--model MODEL] [--samples 16 1024] [--threads 1] [--rounds 3] [--json]

For each number of samples: the greatest resident memory of `zeropoint calibrate`, and its time, as a whole process, over
the time in which ONNX Runtime makes a session and runs the float model over as many inputs, which it has in memory, at
the same number of threads. The two take turns, round by round; the ratio is that of the fastest rounds. Last, one run on
twice the threads and two merged shards must give the same bytes.

With --peer N, ONNX Runtime's own percentile calibrator runs over N of the samples too (it keeps every activation).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from runtimes import ROOT, inputs, load_onnxruntime

PICTURES = 16  # distinct inputs for ONNX Runtime: as many as stay in no cache


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "build/models/mobilenet_v2.onnx")
    parser.add_argument("--zeropoint", type=Path, default=ROOT / "build/release/zeropoint")
    parser.add_argument("--samples", type=int, nargs="+", default=[16, 1024])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--peer", type=int, default=0, metavar="N", help="samples for ONNX Runtime's percentile calibrator"
    )
    parser.add_argument("--peer-child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if args.peer_child:
        return percentile_calibrator(args.model, args.peer_child, args.peer)

    ((name, (_, declared)),) = inputs(args.model).items()
    shape = (1, *(dim if isinstance(dim, int) else 224 for dim in declared[1:]))
    random = np.random.default_rng(0)
    feeds = [{name: random.standard_normal(shape, np.float32)} for _ in range(PICTURES)]
    results = []
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as folder:
        for count in args.samples:
            data = Path(folder) / f"{count}.npy"
            write_samples(data, [feed[name] for feed in feeds], count)
            output = Path(folder) / f"{count}.statistics"
            command = [args.zeropoint, "calibrate", args.model, "--data", data, "--quiet"]
            rounds = []
            for _ in range(args.rounds):
                seconds, peak = measure([*command, "-o", output, "--threads", str(args.threads)])
                rounds.append((seconds, peak, time_runs(args.model, args.threads, feeds, count)))
            results.append(
                {
                    "samples": count,
                    "threads": args.threads,
                    "peak_mb": max(peak for _, peak, _ in rounds) / 1e6,
                    "seconds": min(seconds for seconds, _, _ in rounds),
                    "onnxruntime_seconds": min(plain for _, _, plain in rounds),
                    "identical": identical(command, output, args.threads),
                }
            )
            results[-1]["ratio"] = results[-1]["seconds"] / results[-1]["onnxruntime_seconds"]
            if not args.json:
                print(line(results[-1]), flush=True)
        if args.peer:
            data = Path(folder) / "peer.npy"
            write_samples(data, [feed[name] for feed in feeds], args.peer)
            child = [sys.executable, __file__, "--model", args.model, "--peer-child", data, "--peer", str(args.peer)]
            seconds, peak = measure(child)
            plain = time_runs(args.model, args.threads, feeds, args.peer)
            peer = {"samples": args.peer, "peak_mb": peak / 1e6, "seconds": seconds, "ratio": seconds / plain}
            results.append({"calibrator": "onnxruntime percentile", **peer})
            if not args.json:
                print(
                    f"ONNX Runtime's percentile calibrator, {args.peer} samples: peak {peak / 1e6:.0f} MB, "
                    f"{seconds:.1f} s, {seconds / plain:.1f}x of plain runs"
                )
    if args.json:
        print(json.dumps(results, indent=2))
    return 0 if all(result.get("identical", True) for result in results) else 1


def write_samples(path: Path, pictures: Sequence[np.ndarray], count: int) -> None:
    """Without holding them all: each is another one, by a factor of its own."""
    shape = (count, *pictures[0].shape[1:])
    samples = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    for i in range(count):
        samples[i] = pictures[i % len(pictures)][0] * np.float32(1 + i / (4 * count))
    samples.flush()


# A process starts with the resident memory of the one that made it, so a small one does: its peak is 10 MB.
LAUNCHER = """
import os, sys, time
start = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
_, status, usage = os.wait4(pid, 0)
print(os.waitstatus_to_exitcode(status), time.perf_counter() - start, usage.ru_maxrss * 1024)
"""


def measure(command: Sequence[object]) -> tuple[float, int]:
    """Seconds and greatest resident bytes of a command."""
    words = [str(word) for word in command]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LAUNCHER, *words], check=True, stdout=subprocess.PIPE, text=True
    )
    code, seconds, peak = done.stdout.split()
    if code != "0":
        raise SystemExit(f"failed: {' '.join(words)}")
    return float(seconds), int(peak)


def time_runs(model: Path, threads: int, feeds: Sequence[dict], count: int) -> float:
    start = time.perf_counter()
    run = load_onnxruntime(model, threads, {name: array.shape for name, array in feeds[0].items()})
    for i in range(count):
        run(feeds[i % len(feeds)])
    return time.perf_counter() - start


def identical(command: Sequence[object], output: Path, threads: int) -> bool:
    """More threads, and shards that are merged, give the same bytes."""
    expected = output.read_bytes()
    other = output.with_suffix(".other")
    measure([*command, "-o", other, "--threads", str(2 * threads)])
    parts = [output.with_suffix(f".{part}") for part in (1, 2)]
    for part, path in enumerate(parts, 1):
        measure([*command, "-o", path, "--threads", str(threads), "--shard", f"{part}/2"])
    merged = output.with_suffix(".merged")
    measure([command[0], "merge", *parts, "-o", merged])
    return other.read_bytes() == expected and merged.read_bytes() == expected


def line(result: dict) -> str:
    return (
        f"{result['samples']:5} samples, {result['threads']} thread(s): peak {result['peak_mb']:.1f} MB, "
        f"{result['seconds']:.2f} s; ONNX Runtime's plain runs {result['onnxruntime_seconds']:.2f} s; "
        f"ratio {result['ratio']:.2f}; threads and shards {'identical' if result['identical'] else 'DIFFER'}"
    )


def percentile_calibrator(model: Path, data: Path, count: int) -> int:
    from onnxruntime.quantization.calibrate import CalibrationDataReader, CalibrationMethod, create_calibrator

    ((name, _),) = inputs(model).items()
    samples = np.load(data, mmap_mode="r")

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.feeds: Iterator[dict] = ({name: np.array(samples[i : i + 1])} for i in range(count))

        def get_next(self) -> dict | None:
            return next(self.feeds, None)

    with tempfile.TemporaryDirectory() as folder:
        calibrator = create_calibrator(
            model, augmented_model_path=f"{folder}/model.onnx", calibrate_method=CalibrationMethod.Percentile
        )
        calibrator.collect_data(Reader())
        calibrator.compute_data()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
