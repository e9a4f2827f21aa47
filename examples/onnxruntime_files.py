#!/usr/bin/env python3
"""ONNX Runtime's quantize_dynamic and quantize_static beside zeropoint's: both files, in both runtimes.

A small vision transformer is quantized without samples, a small ResNet with 64 of them, each by both quantizers with
their defaults. Every file then runs in zeropoint's and in ONNX Runtime's session on the test pictures of Fashion-MNIST.

needs: onnx, onnxruntime
usage: examples/onnxruntime_files.py [--pictures 2000] [--data FOLDER] [--out FOLDER] [--quick]
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

import zeropoint as q

try:
    import onnxruntime
    from onnxruntime.quantization import QuantFormat, quant_pre_process, quantize_dynamic, quantize_static
except ImportError:
    sys.exit("this example compares with ONNX Runtime: pip install onnx onnxruntime")

ROOT = Path(__file__).resolve().parent.parent
Feeds = dict[str, np.ndarray]


class Runs(Protocol):
    """Both sessions take the same arguments."""

    def run(self, output_names: None, feeds: Feeds, /) -> list[np.ndarray]: ...


class Reader:
    """Samples as quantize_static asks for them."""

    def __init__(self, samples: list[Feeds]) -> None:
        self.samples: Iterator[Feeds] = iter(samples)

    def get_next(self) -> Feeds | None:
        return next(self.samples, None)


def in_onnxruntime(path: Path) -> Runs:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session: Runs = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session


def input_parameters(path: Path) -> str:
    """Scale and zero point of the first quantizer of the model's input."""
    model = q.load(path)
    for node in model.nodes:
        if node.op_type == "QuantizeLinear" and node.inputs[0] == model.inputs[0].name:
            scale, zero_point = (model.constant(name) for name in node.inputs[1:3])
            return f"input scale {scale.item():.6f}, zero point {zero_point.item()} ({zero_point.dtype})"
    return "input in float, quantized by the range of each run"


def outputs(session: Runs, pictures: np.ndarray) -> tuple[np.ndarray, float]:
    """Logits [pictures, 10], and milliseconds of the fastest run of one picture."""
    rows, best = [], float("inf")
    for picture in pictures:
        feeds = {"images": picture[None]}
        start = time.perf_counter()
        rows.append(session.run(None, feeds)[0])
        best = min(best, time.perf_counter() - start)
    return np.concatenate(rows), 1e3 * best


def sqnr_db(x: np.ndarray, y: np.ndarray) -> float:
    return float(10 * np.log10((x**2).sum() / ((x - y) ** 2).sum()))


def compare(files: dict[str, Path], pictures: np.ndarray, labels: np.ndarray) -> None:
    print(f"{'':22}{'file':>9}{'':10}{'in zeropoint':>26}{'in ONNX Runtime':>24}")
    expected = float_ms = None
    for label, path in files.items():
        ours, our_ms = outputs(q.Session(path, threads=1), pictures)
        theirs, their_ms = outputs(in_onnxruntime(path), pictures)
        accuracy = [100 * float(np.mean(logits.argmax(axis=1) == labels)) for logits in (ours, theirs)]
        text = f"{label:22}{path.stat().st_size / 1e3:6.1f} kB"
        ratio = path.stat().st_size / files["float"].stat().st_size
        text += f"  ({ratio:.2f})  {accuracy[0]:6.2f} %  {our_ms:.3f} ms"
        if expected is None or float_ms is None:
            expected, float_ms = ours, our_ms
            text += f"{'':10}{accuracy[1]:6.2f} %  {their_ms:.3f} ms"
        else:
            text += f" {sqnr_db(expected, ours):4.1f} dB  {accuracy[1]:6.2f} %  {their_ms:.3f} ms"
            text += f" {sqnr_db(expected, theirs):4.1f} dB"
        print(text)
    for label, path in list(files.items())[1:]:
        print(f"{label}: {input_parameters(path)}")


def main() -> None:
    parser = argparse.ArgumentParser(description="ONNX Runtime's quantizers beside zeropoint's")
    parser.add_argument("--pictures", type=int, help="of the test set; default 2000")
    parser.add_argument("--data", type=Path, default=ROOT / "build/data/fashion_mnist", help="train.npz and test.npz")
    parser.add_argument("--out", type=Path, help="keep the files there")
    parser.add_argument("--quick", action="store_true", help="500 pictures")
    arguments = parser.parse_args()
    if not (arguments.data / "test.npz").exists():
        sys.exit(f"{arguments.data}/test.npz is missing; run: tools/setup.sh models, or give --data")
    count = arguments.pictures or (500 if arguments.quick else 2000)
    with np.load(arguments.data / "train.npz") as arrays:
        samples = [{"images": picture[None]} for picture in arrays["images"][:64]]
    with np.load(arguments.data / "test.npz") as arrays:
        pictures, labels = arrays["images"][:count], arrays["labels"][:count].ravel()
    logging.disable(logging.WARNING)  # ONNX Runtime advises its pre-processing for dynamic files, too
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)

        print("dynamic: fmnist_vit, without samples")
        model = ROOT / "tests/data/fmnist_vit.onnx"
        files = {"float": model, "zeropoint dynamic": folder / "vit.zeropoint.onnx"}
        q.quantize(model, recipe="dynamic_w8a8").model.save(files["zeropoint dynamic"])
        files["ONNX Runtime dynamic"] = folder / "vit.onnxruntime.onnx"
        quantize_dynamic(model, files["ONNX Runtime dynamic"])
        compare(files, pictures, labels)

        print(f"\nstatic: fmnist_resnet8, calibrated on {len(samples)} pictures")
        model = ROOT / "tests/data/fmnist_resnet8.onnx"
        files = {"float": model, "zeropoint static": folder / "resnet8.zeropoint.onnx"}
        q.quantize(model, samples).model.save(files["zeropoint static"])
        files["ONNX Runtime static"] = folder / "resnet8.onnxruntime.onnx"
        folded = folder / "resnet8.folded.onnx"
        quant_pre_process(model, folded, skip_symbolic_shape=True)  # folds BatchNorm; zeropoint does so by itself
        quantize_static(folded, files["ONNX Runtime static"], Reader(samples), quant_format=QuantFormat.QDQ)
        compare(files, pictures, labels)

        (logits,) = q.Session(files["ONNX Runtime static"]).run(None, {"images": pictures[:1]})
        print(f"\none inference, ONNX Runtime's file in zeropoint: class {logits.argmax()}, label {labels[0]}")


if __name__ == "__main__":
    main()
