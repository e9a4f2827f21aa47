#!/usr/bin/env python3
"""Times the real networks of the tests in float: zeropoint beside ONNX Runtime, as bench/peers.py does.

    build/venv/bin/python bench/fixtures.py [NAME...] [--threads 1] [--blocks 10]

`ratio` is ONNX Runtime's time divided by ours: above 1 we are faster.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import peers

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
from fixtures import FIXTURES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="of the networks (default: all that are there)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--blocks", type=int, default=10)
    parser.add_argument("--block-seconds", type=float, default=0.4)
    args = parser.parse_args()
    if unknown := set(args.names) - {fixture.name for fixture in FIXTURES}:
        parser.error(f"no network {sorted(unknown)[0]!r}; there are {', '.join(fixture.name for fixture in FIXTURES)}")

    print(f"{peers.cpu_name()}, {args.threads} threads, {args.blocks} blocks; minimum in ms")
    print(f"{'network':26}  {'zeropoint':>9}  {'ONNX Runtime':>12}  {'ratio':>5}  {'difference':>10}")
    for fixture in FIXTURES:
        if fixture.missing or (args.names and fixture.name not in args.names):
            continue
        feeds = list(fixture.samples(3))[-1]
        sides = [peers.enter(fixture.model, runtime, args.threads, feeds) for runtime in ("zeropoint", "onnxruntime")]
        if None in sides:
            continue
        peers.take_turns(sides, args.blocks, args.block_seconds)
        ours, theirs = sides
        mine, other = (min(side.seconds) * 1e3 for side in (ours, theirs))
        difference = np.abs(ours.output - theirs.output).max() / np.abs(theirs.output).max()
        print(f"{fixture.name:26}  {mine:9.3f}  {other:12.3f}  {other / mine:5.2f}  {difference:10.1e}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
