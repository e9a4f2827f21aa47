#!/usr/bin/env python3
"""What calibration on many workers costs: the parts of docs/scale.md's model, and Ray beside one process.

    PYTHONPATH=build/release/python build/venv/bin/python bench/scale.py [--model MODEL] [--samples 512] [--ray]

Without --ray: time of a sample, of the fixed part of a shard, of writing, reading and merging a state, on one thread,
as CPU time of this process (the least of several rounds), and the size of a state.

With --ray: one process with as many threads as there are cores, and --workers Ray actors of one thread each, over the
same samples, in turns; and the bytes must be equal. The ideal split of the work over the cores is the first's time. The
overhead is what Ray takes beyond it, once in all (actors start: a second or two of each, whatever the set's size) and
for each further sample: from runs over the samples once and --times times.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import zeropoint as q

ROOT = Path(__file__).resolve().parents[1]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "build/models/efficientnet_lite0_bn.onnx")
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--block", type=int, default=64, help="samples")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)

    model = q.fuse(q.load(args.model))
    (wanted,) = model.inputs
    shape = [dim if isinstance(dim, int) else 1 for dim in wanted.shape or []]
    random = np.random.default_rng(0)
    count = args.samples if args.ray else 64
    pictures = random.standard_normal((count, *shape[1:]), dtype=np.float32)
    result = beside_ray(args, model, wanted.name, pictures) if args.ray else parts(args, model, wanted.name, pictures)
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        for name, value in result.items():
            print(f"{name:32} {value:.4g}" if isinstance(value, float) else f"{name:32} {value}")
    return 0 if result.get("identical", True) else 1


def parts(args: argparse.Namespace, model: q.Model, name: str, pictures: np.ndarray) -> dict[str, float | int]:
    recipe = q.recipes.static_w8a8()
    samples = [{name: picture[None]} for picture in pictures]
    calibrator = q.Calibrator(model, recipe, threads=1)
    state, other = calibrator.calibrate(samples[::2]), calibrator.calibrate(samples[1::2])
    data = state.to_bytes()

    def least_ms(work: Callable[[], object]) -> float:
        times = []
        for _ in range(max(args.rounds, 3)):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
        return min(times) * 1e3

    all_of_them = least_ms(lambda: calibrator.calibrate(samples))
    one = least_ms(lambda: calibrator.calibrate(samples[:1]))
    each = (all_of_them - one) / (len(samples) - 1)
    return {
        "values": len(state),
        "sample_ms": each,
        "shard_ms": max(0.0, one - each),
        "shard_without_calibrator_ms": least_ms(lambda: q.calibrate(model, samples[:1], recipe, threads=1)) - each,
        "state_mb": len(data) / 1e6,
        "write_ms": least_ms(state.to_bytes),
        "read_ms": least_ms(lambda: q.load_statistics(data)),
        "merge_ms": least_ms(lambda: q.merge(state, other)),
    }


def beside_ray(args: argparse.Namespace, model: q.Model, name: str, pictures: np.ndarray) -> dict[str, float | bool]:
    import ray

    import zeropoint.ray

    recipe = q.recipes.static_w8a8()
    ray.init(num_cpus=args.workers, include_dashboard=False, logging_level="warning")
    ray.data.DataContext.get_current().enable_progress_bars = False

    def alone(times: int) -> q.Statistics:
        samples = [{name: picture[None]} for picture in pictures] * times
        return q.calibrate(model, samples, recipe, threads=q.physical_cores())

    blocks = max(1, len(pictures) // args.block)
    once = ray.data.from_numpy(np.array_split(pictures, blocks)).rename_columns({"data": name}).materialize()

    def with_ray(times: int) -> q.Statistics:
        dataset = once if times == 1 else once.union(*[once] * (times - 1))
        return zeropoint.ray.calibrate(model, dataset, recipe, workers=args.workers)

    seconds: dict[tuple[str, int], float] = {}
    identical = True
    for _ in range(args.rounds):
        for times in (1, args.times):
            states = []
            for way, work in (("alone", alone), ("ray", with_ray)):
                start = time.perf_counter()
                states.append(work(times).to_bytes())
                took = time.perf_counter() - start
                seconds[way, times] = min(took, seconds.get((way, times), took))
            identical = identical and states[0] == states[1]
    more = (args.times - 1) * len(pictures)
    ideal, actual = ((seconds[way, args.times] - seconds[way, 1]) / more for way in ("alone", "ray"))
    return {
        "samples": len(pictures),
        "one_process_s": seconds["alone", 1],
        "ray_s": seconds["ray", 1],
        "one_process_times_s": seconds["alone", args.times],
        "ray_times_s": seconds["ray", args.times],
        "further_sample_one_process_ms": ideal * 1e3,
        "further_sample_ray_ms": actual * 1e3,
        "overhead": actual / ideal - 1,
        "overhead_with_start": seconds["ray", args.times] / seconds["alone", args.times] - 1,
        "identical": identical,
    }


if __name__ == "__main__":
    sys.exit(main())
