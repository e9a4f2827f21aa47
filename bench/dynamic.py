"""Dynamic quantization: accuracy beside ONNX Runtime's, and time.

PYTHONPATH=build/release/python build/venv/bin/python bench/dynamic.py [--seconds S]
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.quantization import QuantType, quantize_dynamic

import zeropoint

ROOT = Path(__file__).resolve().parent.parent
MODELS, DATA = ROOT / "build/models", ROOT / "build/data"


def onnxruntime_session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a.ravel() @ b.ravel() / np.linalg.norm(a) / np.linalg.norm(b))


def fashion_mnist(folder: Path) -> None:
    with np.load(DATA / "fashion_mnist/test.npz") as arrays:
        images, labels = arrays["images"].reshape(-1, 1, 28, 28), arrays["labels"].ravel()

    def accuracy(path: Path) -> float:
        session = onnxruntime_session(path)
        right = [int(session.run(None, {"images": image[None]})[0].argmax()) for image in images] == labels
        return 100 * float(np.mean(right))

    for name in ("fmnist_lstm", "fmnist_vit"):
        model = ROOT / f"tests/data/{name}.onnx"
        zeropoint.quantize(model, recipe="dynamic_w8a8").model.save(folder / f"{name}.onnx")
        quantize_dynamic(model, folder / f"{name}.ort.onnx")
        ours, theirs = accuracy(folder / f"{name}.onnx"), accuracy(folder / f"{name}.ort.onnx")
        print(f"{name}: float {accuracy(model):.2f} %, zeropoint {ours:.2f} %, ONNX Runtime {theirs:.2f} %")


def sentences(folder: Path, seconds: float) -> None:
    model = MODELS / "minilm_l6_v2.onnx"
    texts = [dict(np.load(path)) for path in sorted((DATA / "sentences").glob("*.npz"))]
    files = {"float": model}
    for label, recipe in {
        "zeropoint dynamic_w8a8": zeropoint.recipes.dynamic_w8a8(),
        "zeropoint weight_only_w8": zeropoint.recipes.weight_only_w8(),
        "zeropoint weight_only_w4_g32": zeropoint.recipes.weight_only_w4(32),
    }.items():
        files[label] = folder / f"{recipe.name}.onnx"
        zeropoint.quantize(model, recipe=recipe).model.save(files[label])
    files["ONNX Runtime dynamic"] = folder / "ort.onnx"
    quantize_dynamic(model, files["ONNX Runtime dynamic"])
    files["ONNX Runtime dynamic, per channel"] = folder / "ort_channels.onnx"
    quantize_dynamic(model, files["ONNX Runtime dynamic, per channel"], per_channel=True, weight_type=QuantType.QInt8)
    reference = onnxruntime_session(model)
    expected = [reference.run(["sentence_embedding"], text)[0] for text in texts]
    ids = np.random.default_rng(0).integers(1000, 20000, (1, 64))
    timed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}

    # Blocks by turns, so that what else the machine does falls on all alike.
    runners: dict[tuple[str, str], Callable[[], object]] = {}
    for label, path in files.items():
        theirs, ours = onnxruntime_session(path), zeropoint.Session(path, threads=1)
        for runtime, session in {"ONNX Runtime": theirs, "zeropoint": ours}.items():
            angles = [
                cosine(session.run(["sentence_embedding"], text)[0], x) for text, x in zip(texts, expected, strict=True)
            ]
            mean, least = np.mean(angles), np.min(angles)
            print(f"{label} in {runtime}: {path.stat().st_size / 1e6:.1f} MB, cosine mean {mean:.5f} min {least:.5f}")
            runners[label, runtime] = lambda session=session: session.run(["sentence_embedding"], timed)
    best = dict.fromkeys(runners, float("inf"))
    end = time.perf_counter() + seconds * len(runners)
    while time.perf_counter() < end:
        for key, run in runners.items():
            block = time.perf_counter() + 0.2
            while time.perf_counter() < block:
                start = time.perf_counter()
                run()
                best[key] = min(best[key], time.perf_counter() - start)
    for (label, runtime), least in best.items():
        print(f"{label} in {runtime}: {1e3 * least:.2f} ms for 64 tokens, one thread")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        sentences(Path(folder), arguments.seconds)
        fashion_mnist(Path(folder))


if __name__ == "__main__":
    main()
