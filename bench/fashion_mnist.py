#!/usr/bin/env python3
"""What int8 costs in accuracy on the 10,000 labelled test pictures of Fashion-MNIST.

    build/venv/bin/python bench/fashion_mnist.py [--networks dscnn,resnet8] [--count 256] [--seed 0] [--json]

Calibrates on pictures drawn from the training set. Files of both quantizers run in ONNX Runtime, ours in zeropoint too.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from quantizers import QUANTIZERS, draw
from runtimes import ROOT, RUNTIMES, available, run_in_batches


def main(argv: Sequence[str] | None = None) -> int:
    data = ROOT / "build" / "data" / "fashion_mnist"
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", default="dscnn,resnet8", help="of dscnn,resnet8,vit,lstm")
    parser.add_argument("--count", type=int, default=256, help="training pictures to calibrate on")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)

    train, test = np.load(data / "train.npz")["images"], np.load(data / "test.npz")
    images, labels = test["images"], test["labels"]
    calibration = train[draw(args.count, len(train), args.seed)[0]]
    runtimes = available(["onnxruntime", "zeropoint"])

    def accuracy(path: Path, runtime: str) -> float:
        logits = run_in_batches(RUNTIMES[runtime](path, args.threads), "images", images, batch=500)
        return float(np.mean(logits.argmax(1) == labels) * 100)

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for network in args.networks.split(","):
            model = ROOT / "tests" / "data" / f"fmnist_{network}.onnx"
            files = {"float": model}
            for quantizer in available(["zeropoint", "onnxruntime"]):
                files[quantizer] = Path(folder) / f"{network}.{quantizer}.onnx"
                QUANTIZERS[quantizer][0](model, [{"images": image[None]} for image in calibration], files[quantizer])
            baseline = accuracy(model, "onnxruntime")
            for quantizer, path in files.items():
                for runtime in runtimes if quantizer != "onnxruntime" else ["onnxruntime"]:
                    percent = accuracy(path, runtime)
                    row = {"network": network, "quantizer": quantizer, "runtime": runtime, "accuracy": percent}
                    rows.append({**row, "change": percent - baseline, "bytes": path.stat().st_size})
    if args.json:
        print(json.dumps({"count": args.count, "seed": args.seed, "results": rows}, indent=2))
        return 0
    print(f"{'network':8}  {'quantized by':12}  {'runs in':11}  {'accuracy %':>10}  {'change':>6}  {'kB':>6}")
    for row in rows:
        by = "-" if row["quantizer"] == "float" else row["quantizer"]
        print(
            f"{row['network']:8}  {by:12}  {row['runtime']:11}  {row['accuracy']:10.2f}  {row['change']:+6.2f}  "
            f"{row['bytes'] / 1e3:6.1f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
