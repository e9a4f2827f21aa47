#!/usr/bin/env python3
"""A Keras CNN for pictures of 28 x 28: trained, exported to ONNX by Keras, quantized to int8, run and compared.

    make frameworks
    PYTHONPATH=build/release/python build/frameworks-venv/bin/python examples/frameworks/keras_cnn.py [--quick]

The network of Keras' tutorials: Conv 16, pool, Conv 32, pool, Dense 128, Dense 10. They end with a .tflite file;
zeropoint writes none yet, but quantized ONNX, whose size is printed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--output", type=Path, help="where the quantized file goes; a temporary folder without it")
    parser.add_argument("--quick", action="store_true", help="one epoch on 6,000 pictures")
    parser.add_argument("--train", type=Path, metavar="FOLDER", help="only train and export, to this folder")
    args = parser.parse_args(argv)
    if args.train:
        train(args.train, args.epochs, args.quick)
        return 0
    folder = args.output.parent if args.output else Path(tempfile.mkdtemp())
    # In a process of its own: TensorFlow's libraries and zeropoint's do not go together in one.
    command = [sys.executable, __file__, "--train", str(folder), "--epochs", str(args.epochs)]
    subprocess.run([*command, "--quick"] if args.quick else command, check=True)

    import zeropoint as q

    (images, _), (test, test_labels) = pictures("train"), pictures("test")
    float_file, int8_file = folder / "keras_cnn.onnx", args.output or folder / "keras_cnn.int8.onnx"
    of_keras = np.load(folder / "keras_cnn.npy")
    print(
        f"Keras, fp32:             {(of_keras.argmax(axis=1) == test_labels).mean():.2%} of {len(test)} test pictures"
    )
    exported = q.load(float_file)
    (ours,) = q.Session(exported).run(None, {"images": test[:250]})
    print(f"zeropoint on the export: differs from Keras by at most {np.abs(ours - of_keras[:250]).max():.1e}")
    print(f"operators as exported:   {' '.join(node.op_type for node in exported.nodes)}")
    print(f"after fuse():            {' '.join(node.op_type for node in q.fuse(exported).nodes)}")

    result = q.quantize(exported, [{"images": picture[None]} for picture in images[:256]])
    result.model.save(int8_file)
    samples = [{"images": picture[None]} for picture in test]
    accuracy = q.evaluate(result.model, samples, labels=test_labels.tolist())
    before, after = float_file.stat().st_size, int8_file.stat().st_size
    print(f"zeropoint, int8:         {accuracy.top1:.2%}, {result.report.integer_coverage:.0%} in integers")
    scheme = result.qparams["images"]
    print(f"input: scale {scheme.scale[0]:.6f}, zero point {scheme.zero_point[0]} ({scheme.dtype})")
    ratio = f"{before / 1e3:.1f} kB -> {after / 1e3:.1f} kB ({before / after:.2f}x smaller)"
    print(f"{int8_file.name}: {ratio}; a .tflite file is not written yet")
    return 0


def train(folder: Path, epochs: int, quick: bool) -> None:
    """keras_cnn.onnx, and keras_cnn.npy with Keras' outputs for the test pictures."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    (images, labels), (test, _) = pictures("train"), pictures("test")
    if quick:
        epochs, images, labels = 1, images[:6000], labels[:6000]
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1), name="images"),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(images, labels, batch_size=64, epochs=epochs, verbose=0)
    np.save(folder / "keras_cnn.npy", model.predict(test, batch_size=250, verbose=0))
    model.export(folder / "keras_cnn.onnx", format="onnx", verbose=False)


def pictures(split: str) -> tuple[np.ndarray, np.ndarray]:
    """[N,28,28,1] from 0 to 1, and classes."""
    path = ROOT / f"build/data/fashion_mnist/{split}.npz"
    if not path.exists():
        raise SystemExit(f"{path} is missing; run: tools/setup.sh models")
    with np.load(path) as arrays:
        images = (arrays["images"] * 0.353 + 0.286).astype(np.float32)
        return np.ascontiguousarray(np.moveaxis(images, 1, -1)), arrays["labels"].astype(np.int64)


if __name__ == "__main__":
    sys.exit(main())
