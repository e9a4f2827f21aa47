"""Networks as Keras and Paddle export them (tests/data/frameworks, made by tools/make_frameworks.py): read, folded,
quantized, and equal to what the framework and ONNX Runtime compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import zeropoint as q
from conftest import fashion_mnist
from onnxruntime_peer import open_session

FOLDER = Path(__file__).parents[1] / "data/frameworks"
NETWORKS = sorted(path.stem for path in FOLDER.glob("*.onnx"))
TESTED = 500


def pictures(model: q.Model, split: str, count: int) -> tuple[list[dict[str, np.ndarray]], list[int]]:
    """From 0 to 1, in the layout of the model's input."""
    images, labels = fashion_mnist(split)
    images = (images[:count] * np.float32(0.353) + np.float32(0.286)).astype(np.float32)
    (value,) = model.inputs
    if value.shape[-1] == 1:
        images = np.ascontiguousarray(np.moveaxis(images, 1, -1))
    return [{value.name: image[None]} for image in images], [int(label) for label in labels[:count]]


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest) -> tuple[str, q.Model]:
    return request.param, q.load(FOLDER / f"{request.param}.onnx")


def test_the_frameworks_are_there():
    assert {name.split("_")[0] for name in NETWORKS} == {"keras", "paddle"}


def test_float_is_what_the_framework_computes(network: tuple[str, q.Model]):
    name, model = network
    (value,) = model.inputs
    with np.load(FOLDER / f"{name}.npz") as arrays:
        (ours,) = q.Session(model).run(None, {value.name: arrays["images"]})
        np.testing.assert_allclose(ours, arrays["outputs"], rtol=1e-4, atol=1e-5)


def test_layouts_and_padding_are_folded_away(network: tuple[str, q.Model]):
    _, model = network
    kinds = {node.op_type for node in q.fuse(model).nodes}
    assert not kinds & {"Transpose", "Pad", "BatchNormalization", "Shape", "Identity", "Cast"}, kinds


def test_quantized(network: tuple[str, q.Model], tmp_path: Path):
    _, model = network
    samples, _ = pictures(model, "train", 64)
    result = q.quantize(model, samples)
    assert result.report.integer_coverage == 1
    held_out, labels = pictures(model, "test", TESTED)
    before, after = (q.evaluate(each, held_out, labels=labels).top1 for each in (model, result.model))
    assert before > 0.6  # trained shortly; chance is 0.1
    assert after > before - 0.01

    result.model.save(tmp_path / "int8.onnx")
    peer = open_session(tmp_path / "int8.onnx")
    ours = q.Session(result.model)
    for feeds in held_out[:16]:
        (expected,), (seen,) = peer.run(None, feeds), ours.run(None, feeds)
        np.testing.assert_allclose(seen, expected, rtol=1e-5, atol=1e-5)  # the last product and Softmax are floats
