"""Keras and Paddle train, export and are quantized: `make test-frameworks`. Not collected by `make test`, which has the
files of tests/data/frameworks (tests/differential/test_frameworks.py)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import zeropoint as q

ROOT = Path(__file__).resolve().parents[2]


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["keras_cnn", "keras_separable", "paddle_cnn"])
def test_fresh_exports_are_like_the_committed_ones(name: str, tmp_path: Path) -> None:
    run("tools/make_frameworks.py", "--only", name, "--pictures", 1000, "--out", tmp_path)
    fresh, committed = (q.load(folder / f"{name}.onnx") for folder in (tmp_path, ROOT / "tests/data/frameworks"))
    kinds, known = ([node.op_type for node in q.fuse(model).nodes] for model in (fresh, committed))
    assert kinds == known
    with np.load(tmp_path / f"{name}.npz") as arrays:
        (ours,) = q.Session(fresh).run(None, {fresh.inputs[0].name: arrays["images"]})
        np.testing.assert_allclose(ours, arrays["outputs"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["keras_cnn", "paddle_cnn"])
def test_examples(name: str) -> None:
    text = run(f"examples/frameworks/{name}.py", "--quick")
    accuracies = [float(found) for found in re.findall(r"(\d+\.\d+)%", text)]
    assert accuracies[0] > 70
    assert min(accuracies[1:]) > accuracies[0] - 1.5
    assert all(float(ratio) > 3 for ratio in re.findall(r"\((\d\.\d+)x smaller\)", text))
    assert float(re.search(r"at most (\S+)", text)[1]) < 1e-4
