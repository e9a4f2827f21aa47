"""ONNX Runtime as the one that our results are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort


def open_session(
    model: Path | bytes | onnx.ModelProto,
    *,
    optimize: bool = True,
    write: Path | None = None,
    entries: Mapping[str, str] | None = None,
) -> ort.InferenceSession:
    """A session of one thread that says nothing.

    `optimize=False` runs the literal graph, `write` is a file for the optimized one, `entries` configure it.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if write:
        options.optimized_model_filepath = str(write)
    for key, value in (entries or {}).items():
        options.add_session_config_entry(key, value)
    if isinstance(model, onnx.ModelProto):
        model = model.SerializeToString()
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def sqnr_db(reference: np.ndarray, output: np.ndarray) -> float:
    """Signal to noise of `output`, in decibels; infinite where both are equal."""
    signal = np.sum(reference.astype(np.float64) ** 2)
    noise = np.sum((reference.astype(np.float64) - output) ** 2)
    return float("inf") if noise == 0 else float(10 * np.log10(signal / noise))
