"""What several tests use."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import zeropoint as q

DATA = Path(__file__).parents[2] / "tests" / "data"


@pytest.fixture(scope="session")
def dscnn_path() -> Path:
    """A depthwise-separable network for pictures of 28 x 28, BatchNorm unfolded."""
    return DATA / "fmnist_dscnn.onnx"


@pytest.fixture(scope="session")
def dscnn(dscnn_path: Path) -> q.Model:
    return q.load(dscnn_path)


@pytest.fixture
def pictures() -> np.ndarray:
    """Eight inputs of the network. The same in every run, so a failure can be repeated."""
    return np.random.default_rng(7).standard_normal((8, 1, 28, 28), dtype=np.float32)


SMALL = """ir_version 8
opset 17
graph small(x: f32[N,2]) -> (y: f32[N,2]) {
  scale = f32[2]{0.5, -2}
  scaled: f32[N,2] = Mul(x, scale) "scale_it"
  y = Relu(scaled) "cut"
}
"""


@pytest.fixture(scope="session")
def small() -> q.Model:
    """y = relu(x * [0.5, -2])."""
    return q.Model.from_text(SMALL)


@pytest.fixture(autouse=True)
def _ctrl_c() -> Iterator[None]:
    """As at a terminal: programs that were started in the background ignore the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
