"""Quantized models that several tests look at, made once."""

import pathlib

import numpy as np
import pytest

import zeropoint

ROOT = pathlib.Path(__file__).resolve().parent.parent
FASHION_MNIST = ROOT / "build/data/fashion_mnist"


def fashion_mnist(split: str):
    path = FASHION_MNIST / f"{split}.npz"
    if not path.exists():
        pytest.fail(f"{path} is missing; run: tools/setup.sh models")
    with np.load(path) as arrays:
        return arrays["images"], arrays["labels"]


@pytest.fixture(scope="session")
def quantized_models(tmp_path_factory):
    """name -> (path of the static W8A8 file, a batch of images)."""
    folder = tmp_path_factory.mktemp("quantized")
    images, _ = fashion_mnist("train")
    samples = [{"images": image[None]} for image in images[:64]]
    made = {}
    for name in ("fmnist_resnet8", "fmnist_dscnn"):
        path = folder / f"{name}.int8.onnx"
        zeropoint.quantize(zeropoint.load(ROOT / f"tests/data/{name}.onnx"), samples).model.save(path)
        made[name] = (path, images[64:72])
    return made
