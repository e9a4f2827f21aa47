"""The onnx package's operator cases through Session: what the references compute, the engine must compute too."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import zeropoint

CASES = Path(__file__).resolve().parents[2] / "build" / "release" / "operator_cases" / "onnx"
# As the onnx package's own runner compares; 16-bit results may be a few steps of their type apart.
RELATIVE, ABSOLUTE = 1e-3, 1e-7
STEP = {"bfloat16": 1.6e-2, "float16": 2e-3}


def tensors(folder: Path, kind: str) -> list[np.ndarray]:
    paths = sorted(folder.glob(f"{kind}_*.pb"), key=lambda path: int(path.stem.split("_")[1]))
    return [numpy_helper.to_array(onnx.load_tensor(path)) for path in paths]


def as_numbers(array: np.ndarray) -> np.ndarray:
    """Types that numpy only stores become float32, which holds them all."""
    return array if array.dtype.kind in "biuf" and array.dtype != np.float16 else array.astype(np.float32)


def difference(result: np.ndarray, expected: np.ndarray) -> str:
    if result.dtype != expected.dtype:
        return f"{result.dtype}, expected {expected.dtype}"
    if result.shape != expected.shape:
        return f"shape {result.shape}, expected {expected.shape}"
    a, b = as_numbers(result), as_numbers(expected)
    if a.dtype.kind == "f":
        relative = STEP.get(result.dtype.name, RELATIVE)
        equal = np.allclose(a, b, rtol=relative, atol=ABSOLUTE, equal_nan=True)
    else:
        equal = np.array_equal(a, b)
    return "" if equal else f"{np.count_nonzero(a != b)} of {a.size} numbers differ"


def run_case(folder: Path) -> str:
    """ "" when all is right, else what is not. Throws zeropoint.Error when the model is refused."""
    model = onnx.load(folder / "model.onnx")
    session = zeropoint.Session((folder / "model.onnx").read_bytes(), threads=1)
    for data in sorted(folder.glob("test_data_set_*")):
        names = [value.name for value in model.graph.input]
        inputs = tensors(data, "input")
        results = session.run(None, {name: value for name, value in zip(names, inputs, strict=False) if name})
        for value, result, expected in zip(model.graph.output, results, tensors(data, "output"), strict=True):
            if wrong := difference(np.asarray(result), expected):
                return f"{value.name}: {wrong}"
    return ""


def test_engine_computes_what_onnx_says() -> None:
    if not CASES.exists():
        pytest.fail(f"{CASES} is missing; run: make build")
    count: Counter[str] = Counter()
    wrong = []
    for folder in sorted(CASES.iterdir()):
        try:
            if what := run_case(folder):
                count["wrong"] += 1
                wrong.append(f"{folder.name}: {what}")
            else:
                count["pass"] += 1
        except (zeropoint.Error, TypeError) as error:
            count["refused"] += 1
            print(f"refused {folder.name}: {error}")
    print(f"engine: {count['pass']} pass, {count['refused']} refused, {count['wrong']} wrong of {count.total()}")
    assert not wrong, "\n".join(wrong)
