"""A model of several GB with external data: inspected, saved again and compared, in little memory.

ZEROPOINT_LARGE_GB says how large (3 unless told). The data are a sparse file with a few numbers in each tensor, so that making
it costs nothing; saving writes it all. Anonymous memory is what a process holds beyond the page cache.
"""

import mmap
import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("ZEROPOINT_BUILD", ROOT / "build/release"))
WIDTH = 4096
GIGABYTES = int(os.environ.get("ZEROPOINT_LARGE_GB", "3"))
LAYERS = GIGABYTES * (1 << 30) // (4 * WIDTH * WIDTH)
MOST = 256 << 10  # kB of anonymous memory


def make(folder, shift):
    """`shift` puts every tensor at that many bytes past a page."""
    stride = 4 * WIDTH * WIDTH + 4096
    nodes, tensors = [], []
    with open(folder / "weights.bin", "wb") as data:
        data.truncate(LAYERS * stride + shift)
        for i in range(LAYERS):
            offset = i * stride + shift
            data.seek(offset + 4 * i)
            data.write(np.array([i + 1], np.float32).tobytes())
            data.seek(offset + 4 * WIDTH * WIDTH - 4)
            data.write(np.array([-i - 1], np.float32).tobytes())
            tensor = TensorProto(name=f"w{i}", data_type=TensorProto.FLOAT, dims=[WIDTH, WIDTH])
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", "weights.bin"), ("offset", offset), ("length", 4 * WIDTH * WIDTH)):
                tensor.external_data.add(key=key, value=str(value))
            tensors.append(tensor)
            nodes.append(helper.make_node("MatMul", [f"v{i}", f"w{i}"], [f"v{i + 1}"], name=f"layer{i}"))
    shapes = [helper.make_tensor_value_info(v, TensorProto.FLOAT, [1, WIDTH]) for v in ("v0", f"v{LAYERS}")]
    graph = helper.make_graph(nodes, "large", shapes[:1], shapes[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def run(*arguments):
    """Standard output, seconds, and the peak of anonymous memory in kB."""
    start, peak = time.monotonic(), 0
    process = subprocess.Popen([str(a) for a in arguments], stdout=subprocess.PIPE, text=True)
    while process.poll() is None:
        try:
            with open(f"/proc/{process.pid}/status") as status:
                for line in status:
                    if line.startswith("RssAnon:"):
                        peak = max(peak, int(line.split()[1]))
        except (FileNotFoundError, ProcessLookupError):
            break
        time.sleep(0.01)
    output = process.stdout.read()
    assert process.wait() == 0, output
    return output, time.monotonic() - start, peak


@pytest.mark.parametrize("shift", [0, 2])
def test_inspect_and_save(shift, tmp_path):
    if shutil.disk_usage(tmp_path).free < (2 * GIGABYTES + 4) << 30:
        pytest.skip("not enough room on the disk")
    make(tmp_path, shift)
    path, saved = tmp_path / "model.onnx", tmp_path / "saved.onnx"
    try:
        if (BUILD / "zeropoint").exists():
            output, seconds, peak = run(BUILD / "zeropoint", "inspect", path)
            print(f"\n{GIGABYTES} GB, offset {shift}: inspect {seconds:.1f} s, {peak / 1024:.1f} MB", file=sys.stderr)
            parameters = LAYERS * WIDTH * WIDTH
            shown = f"{parameters / 1e6:.2f} M" if parameters < 1e9 else f"{parameters / 1e9:.2f} G"
            assert f"{shown} parameters" in output
            assert peak < MOST
        _, seconds, peak = run(BUILD / "tests/convert_opset", path, saved, 0)
        print(f"{GIGABYTES} GB, offset {shift}: load and save {seconds:.1f} s, {peak / 1024:.1f} MB", file=sys.stderr)
        assert peak < MOST
        assert saved.stat().st_size < 1 << 20
        proto = onnx.load(saved, load_external_data=False)
        with (
            open(tmp_path / "saved.onnx.data", "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            for tensor in proto.graph.initializer:
                entries = {e.key: e.value for e in tensor.external_data}
                assert entries["location"] == "saved.onnx.data"
                offset, i = int(entries["offset"]), int(tensor.name[1:])
                assert offset % 4096 == 0
                assert int(entries["length"]) == 4 * WIDTH * WIDTH
                assert np.frombuffer(data, np.float32, 1, offset + 4 * i)[0] == i + 1
                assert np.frombuffer(data, np.float32, 1, offset + 4 * WIDTH * WIDTH - 4)[0] == -i - 1
    finally:
        shutil.rmtree(tmp_path)
