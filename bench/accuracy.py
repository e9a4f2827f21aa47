#!/usr/bin/env python3
"""How near int8 comes to float on photographs: zeropoint's quantizer beside ONNX Runtime's.

    build/venv/bin/python bench/accuracy.py [--seeds 5] [--count 64] [--json]

For each seed, 64 of the photographs are drawn to calibrate on; the figures are those of all the others: the share on
which the top class is that of the float model (agreement), and the SQNR of the logits. Files of both quantizers run in
ONNX Runtime, ours in zeropoint's engine too. ONNX Runtime's quantizer gets the network with BatchNorm folded.
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
from runtimes import ROOT, RUNTIMES, available, inputs, run_in_batches, sqnr_db


def main(argv: Sequence[str] | None = None) -> int:
    models = ROOT / "build" / "models"
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, default=models / "efficientnet_lite0_bn.onnx")
    parser.add_argument(
        "--folded", type=Path, default=models / "efficientnet_lite0.onnx", help="for the other quantizers"
    )
    parser.add_argument("--data", type=Path, default=ROOT / "build" / "data" / "photos.npz")
    parser.add_argument("--quantizers", default="zeropoint,onnxruntime", help=f"of {','.join(QUANTIZERS)}")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--count", type=int, default=64, help="photographs to calibrate on")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)

    images = np.load(args.data)["images"]
    (name,) = inputs(args.model)
    reference = run_in_batches(RUNTIMES["onnxruntime"](args.model, args.threads), name, images)
    # Which runtimes run the file of which quantizer.
    runs_in = {
        "zeropoint": available(["onnxruntime", "zeropoint"]),
        "onnxruntime": ["onnxruntime"],
        "nncf": ["openvino"],
    }
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.seeds):
            calibration, others = draw(args.count, len(images), seed)
            for quantizer in available(args.quantizers.split(",")):
                quantize, suffix = QUANTIZERS[quantizer]
                out = Path(folder) / f"{quantizer}{suffix}"
                quantize(
                    args.model if quantizer.startswith("zeropoint") else args.folded,
                    [{name: images[i : i + 1]} for i in calibration],
                    out,
                )
                for runtime in runs_in[quantizer.partition("_")[0]]:
                    logits = run_in_batches(RUNTIMES[runtime](out, args.threads), name, images[others])
                    agreement = float(np.mean(logits.argmax(1) == reference[others].argmax(1)) * 100)
                    figure = {"seed": seed, "agreement": agreement, "sqnr_db": sqnr_db(reference[others], logits)}
                    figures.setdefault((quantizer, runtime), []).append(figure)
                    if not args.json:
                        print(
                            f"seed {seed}: {quantizer:11} in {runtime:11} agreement {agreement:6.2f} %, "
                            f"SQNR {figure['sqnr_db']:5.2f} dB",
                            flush=True,
                        )

    rows = [
        {"quantizer": quantizer, "runtime": runtime, **summary(of_seeds), "seeds": of_seeds}
        for (quantizer, runtime), of_seeds in figures.items()
    ]
    if args.json:
        print(json.dumps({"model": args.model.name, "count": args.count, "results": rows}, indent=2))
        return 0
    print(f"\n{args.model.name}, {args.count} of {len(images)} photographs to calibrate on, mean (least ... most):")
    print(f"{'quantizer':11}  {'runs in':11}  {'agreement %':>22}  {'SQNR dB':>22}")
    for row in rows:
        spread = [f"{row[key]['mean']:.2f} ({row[key]['min']:.2f} ... {row[key]['max']:.2f})" for key in FIGURES]
        print(f"{row['quantizer']:11}  {row['runtime']:11}  {spread[0]:>22}  {spread[1]:>22}")
    return 0


FIGURES = ("agreement", "sqnr_db")


def summary(of_seeds: list[dict]) -> dict:
    values = {key: np.array([figure[key] for figure in of_seeds]) for key in FIGURES}
    return {
        key: {
            "mean": float(array.mean()),
            "min": float(array.min()),
            "max": float(array.max()),
            "std": float(array.std()),
        }
        for key, array in values.items()
    }


if __name__ == "__main__":
    sys.exit(main())
