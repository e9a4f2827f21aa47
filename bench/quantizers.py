#!/usr/bin/env python3
"""Quantizes a float model to int8 with zeropoint and with the quantizers it is compared with, on the same samples.

    build/venv/bin/python bench/quantizers.py MODEL.onnx --data IMAGES.npz [--count 64] [--seed 0] [--out build/bench]

writes OUT/MODEL.zeropoint.onnx, OUT/MODEL.onnxruntime.onnx and OUT/MODEL.nncf.xml.
"""

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from runtimes import available, inputs


def by_zeropoint(model: Path, name: str, images: np.ndarray, out: Path) -> None:
    """static_w8a8 as it comes."""
    import zeropoint

    samples = [{name: image[None]} for image in images]
    zeropoint.quantize(zeropoint.load(model), samples, zeropoint.recipes.static_w8a8()).model.save(out)


def by_onnxruntime(model: Path, name: str, images: np.ndarray, out: Path) -> None:
    """Q/DQ, u8 activations, s8 weights per channel, min-max, on the model as its own preprocessing leaves it."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.images = iter(images)

        def get_next(self):
            image = next(self.images, None)
            return None if image is None else {name: image[None]}

    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(model, prepared)
        quantization.quantize_static(
            prepared,
            out,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )


def by_nncf(model: Path, name: str, images: np.ndarray, out: Path) -> None:
    """NNCF's post-training quantization as it comes, saved as OpenVINO's own format."""
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    dataset = nncf.Dataset([{name: image[None]} for image in images])
    quantized = nncf.quantize(openvino.convert_model(model), dataset, subset_size=len(images))
    openvino.save_model(quantized, out, compress_to_fp16=False)


QUANTIZERS = {
    "zeropoint": (by_zeropoint, ".onnx"),
    "onnxruntime": (by_onnxruntime, ".onnx"),
    "nncf": (by_nncf, ".xml"),
}


def draw(count: int, total: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` of `total` indices drawn by `seed`, and all the others; both in order."""
    chosen = np.random.RandomState(seed).permutation(total)[:count]
    return np.sort(chosen), np.setdiff1d(np.arange(total), chosen)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, help="float ONNX file with one input")
    parser.add_argument("--data", type=Path, required=True, help=".npz with an array `images` [N,...]")
    parser.add_argument("--count", type=int, default=64, help="samples to calibrate on")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--by", default=",".join(QUANTIZERS), help="comma-separated (default: all)")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    args = parser.parse_args(argv)

    (name,) = inputs(args.model)
    images = np.load(args.data)["images"]
    images = images[draw(args.count, len(images), args.seed)[0]]
    args.out.mkdir(parents=True, exist_ok=True)
    for quantizer in available(args.by.split(",")):
        quantize, suffix = QUANTIZERS[quantizer]
        out = args.out / f"{args.model.stem}.{quantizer}{suffix}"
        start = time.monotonic()
        quantize(args.model, name, images, out)
        size = sum(path.stat().st_size for path in {out, out.with_suffix(".bin")} if path.exists())
        print(f"{out}: {size / 1e6:.2f} MB, {time.monotonic() - start:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
