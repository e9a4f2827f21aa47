"""A model whose weights don't fit into the memory that its quantization may take."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper

PROGRAM = Path(os.environ.get("ZEROPOINT", Path(__file__).parents[2] / "build/release/zeropoint"))
LAYERS, WIDTH = 9, 4096  # 604 MB of weights
LIMIT = 420 << 20  # bytes of anonymous memory: the program, integers up to 256 MB, one weight at work


def write_model(folder: Path, layers: int, width: int) -> Path:
    """x -> MatMul -> MatMul ..., the weights in one file beside the model."""
    block = (np.random.default_rng(0).standard_normal((64, width)) / np.sqrt(width)).astype(np.float32).tobytes()
    nodes, weights = [], []
    size = width * width * 4
    with open(folder / "large.bin", "wb") as data:
        for layer in range(layers):
            for _ in range(width // 64):
                data.write(block)
            tensor = TensorProto(name=f"w{layer}", data_type=TensorProto.FLOAT, dims=[width, width])
            tensor.raw_data = b""
            external_data_helper.set_external_data(tensor, "large.bin", offset=layer * size, length=size)
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            weights.append(tensor)
            nodes.append(
                helper.make_node("MatMul", [f"x{layer}", f"w{layer}"], [f"x{layer + 1}"], name=f"layer{layer}")
            )
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["N", width])],
        [helper.make_tensor_value_info(f"x{layers}", TensorProto.FLOAT, ["N", width])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "large.onnx").write_bytes(model.SerializeToString())
    return folder / "large.onnx"


def peak_of(command: list[str]) -> int:
    """Runs the command; the most anonymous memory that it was seen to hold, in bytes."""
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while process.poll() is None:
            try:
                for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                    if line.startswith("RssAnon"):
                        peak = max(peak, int(line.split()[1]) << 10)
            except (FileNotFoundError, ProcessLookupError):
                break
            time.sleep(0.002)
        output = process.stdout.read()
    assert process.returncode == 0, output
    return peak


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
@pytest.mark.parametrize("recipe", ["weight_only_w8", "weight_only_w4_g128"])
def test_weights_are_streamed(tmp_path: Path, recipe: str) -> None:
    model = write_model(tmp_path, LAYERS, WIDTH)
    out = tmp_path / "out.onnx"
    assert peak_of([str(PROGRAM), "inspect", str(model)]) < LIMIT / 4
    peak = peak_of([str(PROGRAM), "quantize", str(model), "-o", str(out), "--recipe", recipe, "--external-data"])
    assert peak < LIMIT, f"{peak >> 20} MiB"
    assert out.stat().st_size < 1 << 20  # the integers lie beside it
    data = onnx.load(out, load_external_data=False).graph.initializer
    assert {"w0_quantized", "w0_scale"} <= {tensor.name for tensor in data}
    assert (tmp_path / "out.onnx.data").stat().st_size < 0.27 * LAYERS * WIDTH * WIDTH * 4
