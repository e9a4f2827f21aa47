"""Real networks from end to end: in float like ONNX Runtime, quantized by the default command, then in both runtimes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest

import zeropoint
from fixtures import FIXTURES, Fixture
from onnxruntime_peer import open_session, sqnr_db

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build" / "release" / "zeropoint"
FLOAT_TOLERANCE = 1e-4  # of the largest value; both sum in fp32, in different orders


@pytest.fixture(scope="module", params=FIXTURES, ids=lambda fixture: fixture.name)
def fixture(request: pytest.FixtureRequest) -> Fixture:
    if missing := request.param.missing:
        if not request.param.by_default:
            pytest.skip(f"{missing} is only made by: tools/setup.sh large")
        pytest.fail(f"{missing} is missing; run: tools/setup.sh models")
    return request.param


@pytest.fixture(scope="module")
def quantized(fixture: Fixture, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """The file that the default command writes, and what it says."""
    path = tmp_path_factory.mktemp("quantized") / f"{fixture.name}.int8.onnx"
    command = [
        PROGRAM,
        "quantize",
        fixture.model,
        "-o",
        path,
        "--data",
        fixture.data,
        "--samples",
        "16",
        "--quiet",
        "--json",
        *(["--recipe", fixture.recipe] if fixture.recipe else []),
    ]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return path, json.loads(done.stdout)


def test_float_equals_onnxruntime(fixture: Fixture) -> None:
    session, peer = zeropoint.Session(fixture.model, threads=1), open_session(fixture.model)
    worst = 0.0
    for sample in fixture.samples(3):
        for result, reference in zip(session.run(None, sample), peer.run(None, sample), strict=True):
            assert result.shape == reference.shape
            worst = max(worst, float(np.abs(result - reference).max() / np.abs(reference).max()))
    print(f"{fixture.name}: float differs from ONNX Runtime by {worst:.1e} of the largest value")
    assert worst <= FLOAT_TOLERANCE


def test_quantized_file_is_valid_and_loads(quantized: tuple[Path, dict]) -> None:
    path, _ = quantized
    onnx.checker.check_model(path, full_check=True)
    open_session(path)


def test_quantized_runs_alike_everywhere(fixture: Fixture, quantized: tuple[Path, dict]) -> None:
    path, _ = quantized
    ours, peer, exact = (
        zeropoint.Session(path, threads=1),
        open_session(path),
        zeropoint.Session(fixture.model, threads=1),
    )
    to_float, to_peer = [], []
    for sample in fixture.samples(8):
        reference, result, other = exact.run(None, sample), ours.run(None, sample), peer.run(None, sample)
        to_float.append(min(sqnr_db(a, b) for a, b in zip(reference, result, strict=True)))
        to_peer.append(min(sqnr_db(a, b) for a, b in zip(other, result, strict=True)))
    print(f"{fixture.name}: {np.mean(to_float):.1f} dB to float, {np.mean(to_peer):.1f} dB to ONNX Runtime")
    # Rounding differs by single steps between the runtimes; what quantizing costs is far more.
    assert np.mean(to_peer) > np.mean(to_float)
