#!/usr/bin/env python3
"""Makes tests/data/frameworks: small networks trained by Keras and Paddle on Fashion-MNIST, exported by their tools.

    build/frameworks-venv/bin/python tools/make_frameworks.py [--only keras_cnn] [--pictures 20000] [--out DIR]

Each NAME.onnx has a NAME.npz beside it: four test pictures and the framework's own outputs. Inputs are pictures / 255
as the framework takes them: [N,28,28,1] for Keras, [N,1,28,28] for Paddle.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]


def fashion_mnist(split: str) -> tuple[np.ndarray, np.ndarray]:
    """[N,1,28,28] from 0 to 1, and classes."""
    with np.load(ROOT / f"build/data/fashion_mnist/{split}.npz") as arrays:
        return (arrays["images"] * 0.353 + 0.286).astype(np.float32), arrays["labels"].astype(np.int64)


def keras_cnn(pictures: np.ndarray, labels: np.ndarray, test: np.ndarray, path: Path) -> np.ndarray:
    """Convolutions with "same" padding, Flatten and Dense: the layout's Transpose stands before a matrix product."""
    from keras import Input, layers

    return train_keras(
        [
            Input((28, 28, 1), name="images"),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ],
        pictures,
        labels,
        test,
        path,
    )


def keras_separable(pictures: np.ndarray, labels: np.ndarray, test: np.ndarray, path: Path) -> np.ndarray:
    """As MobileNet in Keras: ZeroPadding2D and strides, BatchNormalization, ReLU6, depthwise convolutions, pooling."""
    from keras import Input, layers

    def block(filters: int, strides: int) -> list:
        padding = [layers.ZeroPadding2D(((0, 1), (0, 1)))] if strides == 2 else []
        return [
            *padding,
            layers.DepthwiseConv2D(3, strides, padding="valid" if padding else "same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(6.0),
            layers.Conv2D(filters, 1, use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(6.0),
        ]

    return train_keras(
        [
            Input((28, 28, 1), name="images"),
            layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(6.0),
            *block(32, 2),
            *block(32, 1),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax"),
        ],
        pictures,
        labels,
        test,
        path,
    )


def train_keras(network: list, pictures: np.ndarray, labels: np.ndarray, test: np.ndarray, path: Path) -> np.ndarray:
    import keras
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(1)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(network)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(np.moveaxis(pictures, 1, -1), labels, batch_size=32, epochs=1, verbose=2)
    model.export(path, format="onnx", verbose=False)
    return model.predict(np.moveaxis(test, 1, -1), verbose=0)


def paddle_cnn(pictures: np.ndarray, labels: np.ndarray, test: np.ndarray, path: Path) -> np.ndarray:
    import paddle
    from paddle import nn

    paddle.seed(0)
    model = nn.Sequential(
        nn.Conv2D(1, 8, 3, padding=1, bias_attr=False),
        nn.BatchNorm2D(8),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.Conv2D(8, 16, 3, padding=1),
        nn.Hardswish(),
        nn.MaxPool2D(2),
        nn.Flatten(),
        nn.Linear(784, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )
    optimizer = paddle.optimizer.Adam(parameters=model.parameters())
    loss_of = nn.CrossEntropyLoss()
    order = np.random.default_rng(0).permutation(len(pictures))
    for start in range(0, len(order) - 31, 32):
        batch = order[start : start + 32]
        loss = loss_of(model(paddle.to_tensor(pictures[batch])), paddle.to_tensor(labels[batch]))
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
    model.eval()
    spec = [paddle.static.InputSpec([None, 1, 28, 28], "float32", "images")]
    paddle.onnx.export(model, str(path.with_suffix("")), input_spec=spec, opset_version=13)
    return model(paddle.to_tensor(test)).numpy()


NETWORKS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray, Path], np.ndarray]] = {
    "keras_cnn": keras_cnn,
    "keras_separable": keras_separable,
    "paddle_cnn": paddle_cnn,
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    parser.add_argument("--pictures", type=int, default=20000)
    parser.add_argument("--out", type=Path, default=ROOT / "tests/data/frameworks")
    args = parser.parse_args(argv)
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow", OMP_NUM_THREADS="1")
    pictures, labels = fashion_mnist("train")
    test, _ = fashion_mnist("test")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in args.only:
            path = Path(folder) / f"{name}.onnx"
            outputs = NETWORKS[name](pictures[: args.pictures], labels[: args.pictures], test[:4], path)
            images = test[:4] if name.startswith("paddle") else np.moveaxis(test[:4], 1, -1)
            (args.out / path.name).write_bytes(path.read_bytes())
            np.savez(args.out / f"{name}.npz", images=np.ascontiguousarray(images), outputs=outputs)
            print(f"{args.out / path.name}: {path.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
