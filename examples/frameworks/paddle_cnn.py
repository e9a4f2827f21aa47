#!/usr/bin/env python3
"""A Paddle CNN: trained, exported by paddle2onnx, quantized statically with KL ranges and dynamically, and compared.

    make frameworks
    PYTHONPATH=build/release/python build/frameworks-venv/bin/python examples/frameworks/paddle_cnn.py [--quick]

What PaddleSlim's quant_post_static(algo="KL") and quant_post_dynamic do, on the exported file.
"""

from __future__ import annotations

import argparse
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
    parser.add_argument("--quick", action="store_true", help="one epoch on 6,000 pictures")
    parser.add_argument("--train", type=Path, metavar="FOLDER", help="only train and export, to this folder")
    args = parser.parse_args(argv)
    if args.train:
        train(args.train, args.epochs, args.quick)
        return 0
    folder = Path(tempfile.mkdtemp())
    # In a process of its own: Paddle brings another oneDNN under the name of the one that zeropoint uses.
    command = [sys.executable, __file__, "--train", str(folder), "--epochs", str(args.epochs)]
    subprocess.run([*command, "--quick"] if args.quick else command, check=True)

    import zeropoint as q

    (images, _), (test, labels) = pictures("train"), pictures("test")
    of_paddle = np.load(folder / "paddle_cnn.npy")
    print(f"Paddle, fp32: {(of_paddle.argmax(axis=1) == labels).mean():.2%} of {len(test)} test pictures")
    exported = q.load(folder / "paddle_cnn.onnx")
    (ours,) = q.Session(exported).run(None, {"images": test[:250]})
    print(f"zeropoint on the export: differs from Paddle by at most {np.abs(ours - of_paddle[:250]).max():.1e}")

    calibration = [{"images": picture[None]} for picture in images[:256]]
    samples = [{"images": picture[None]} for picture in test]
    before = (folder / "paddle_cnn.onnx").stat().st_size
    for name, recipe in (
        ("static, KL", q.recipes.static_w8a8().with_range("kl_divergence")),
        ("static, min_max", q.recipes.static_w8a8().with_range("min_max")),
        ("dynamic", q.recipes.dynamic_w8a8()),
    ):
        result = q.quantize(exported, None if name == "dynamic" else calibration, recipe)
        path = folder / "paddle_cnn.int8.onnx"
        result.model.save(path)
        accuracy = q.evaluate(result.model, samples, labels=labels.tolist())
        after = path.stat().st_size
        sizes = f"{before / 1e3:.1f} kB -> {after / 1e3:.1f} kB ({before / after:.2f}x smaller)"
        print(f"{name:16} {accuracy.top1:.2%}  {sizes}")
        if "images" in result.qparams:
            scheme = result.qparams["images"]
            print(f"{'':16} input: scale {scheme.scale[0]:.6f}, zero point {scheme.zero_point[0]} ({scheme.dtype})")
    return 0


def train(folder: Path, epochs: int, quick: bool) -> None:
    """paddle_cnn.onnx, and paddle_cnn.npy with Paddle's outputs for the test pictures."""
    import paddle
    from paddle import nn

    (images, labels), (test, _) = pictures("train"), pictures("test")
    if quick:
        epochs, images, labels = 1, images[:6000], labels[:6000]
    paddle.seed(0)
    model = nn.Sequential(
        nn.Conv2D(1, 16, 3, padding=1, bias_attr=False),
        nn.BatchNorm2D(16),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.Conv2D(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.Flatten(),
        nn.Linear(1568, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )
    optimizer = paddle.optimizer.Adam(parameters=model.parameters())
    loss_of = nn.CrossEntropyLoss()
    random = np.random.default_rng(0)
    for _ in range(epochs):
        for batch in np.array_split(random.permutation(len(images)), len(images) // 64):
            loss = loss_of(model(paddle.to_tensor(images[batch])), paddle.to_tensor(labels[batch]))
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
    model.eval()
    with paddle.no_grad():
        outputs = [model(paddle.to_tensor(part)).numpy() for part in np.array_split(test, 40)]
    np.save(folder / "paddle_cnn.npy", np.concatenate(outputs))
    spec = [paddle.static.InputSpec([None, 1, 28, 28], "float32", "images")]
    paddle.onnx.export(model, str(folder / "paddle_cnn"), input_spec=spec, opset_version=13)


def pictures(split: str) -> tuple[np.ndarray, np.ndarray]:
    """[N,1,28,28] from 0 to 1, and classes."""
    path = ROOT / f"build/data/fashion_mnist/{split}.npz"
    if not path.exists():
        raise SystemExit(f"{path} is missing; run: tools/setup.sh models")
    with np.load(path) as arrays:
        return (arrays["images"] * 0.353 + 0.286).astype(np.float32), arrays["labels"].astype(np.int64)


if __name__ == "__main__":
    sys.exit(main())
