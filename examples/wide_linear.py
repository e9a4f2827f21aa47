#!/usr/bin/env python3
"""Linear layers in fp32 and in int8: Linear(1024, 1024) and Linear(1024, 120000) on x = randn(1000, 1024), ten runs.

The tutorial's x86 server with PyTorch and fbgemm took 35.69 s in fp32 and 26.51 s in int8 for the wide one, 1.35 times
as fast; its Apple CPU was slower in int8. Static: the range of x comes from other samples. Dynamic: from each row of x.

needs: onnx
usage: examples/wide_linear.py [--runs 10] [--threads N] [--quick]      --quick: 3 runs, 6,000 columns
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

import zeropoint as q

try:
    from onnx import TensorProto, helper
except ImportError:
    sys.exit("this example builds its models with onnx: pip install onnx")

ROWS, DEPTH = 1000, 1024


def linear(columns: int, generator: np.random.Generator) -> q.Model:
    """y[N, columns] = x[N, 1024] @ weight[columns, 1024].T + bias, drawn as torch.nn.Linear draws them."""
    bound = np.float32(1 / np.sqrt(DEPTH))
    weight = (generator.random((columns, DEPTH), dtype=np.float32) * 2 - 1) * bound
    bias = (generator.random(columns, dtype=np.float32) * 2 - 1) * bound
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "weight", "bias"], ["y"], name="linear", transB=1)],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", DEPTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", columns])],
        [
            helper.make_tensor("weight", TensorProto.FLOAT, weight.shape, weight.tobytes(), raw=True),
            helper.make_tensor("bias", TensorProto.FLOAT, bias.shape, bias.tobytes(), raw=True),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return q.load(model.SerializeToString())


def sqnr_db(x: np.ndarray, y: np.ndarray) -> float:
    """10 log10(sum x^2 / sum (x - y)^2)."""
    difference = x - y
    return float(10 * np.log10(np.vdot(x, x) / np.vdot(difference, difference)))


def compare(columns: int, runs: int, threads: int) -> None:
    generator = np.random.default_rng(0)
    print(f"\nLinear({DEPTH}, {columns}) on x = randn({ROWS}, {DEPTH}), {runs} runs, {threads} threads")
    model = linear(columns, generator)
    x = generator.standard_normal((ROWS, DEPTH), dtype=np.float32)
    others = [{"x": generator.standard_normal((64, DEPTH), dtype=np.float32)} for _ in range(4)]
    static = q.quantize(model, others, target="zeropoint", threads=threads)
    dynamic = q.quantize(model, recipe="dynamic_w8a8", target="zeropoint", threads=threads)
    of_x = static.qparams["x"]
    print(f"scale of x {of_x.scale.item():.5f}, zero point {of_x.zero_point.item()}; weights: a scale for each column")

    models = {"fp32": model, "int8 static": static.model, "int8 dynamic": dynamic.model}
    sizes = {
        "fp32": static.report.float_bytes,
        "int8 static": static.report.quantized_bytes,
        "int8 dynamic": dynamic.report.quantized_bytes,
    }
    sessions = {label: q.Session(each, threads=threads) for label, each in models.items()}
    seconds: dict[str, list[float]] = {label: [] for label in sessions}
    errors: dict[str, float] = {}
    expected = sessions["fp32"].run(None, {"x": x})[0]
    for label in ("int8 static", "int8 dynamic"):
        errors[label] = sqnr_db(expected, sessions[label].run(None, {"x": x})[0])
    del expected
    for _ in range(runs):  # by turns, so that what else the machine does falls on all alike
        for label, session in sessions.items():
            start = time.perf_counter()
            session.run(None, {"x": x})
            seconds[label].append(time.perf_counter() - start)
    for label, times in seconds.items():
        kernel = next(step.kernel for step in sessions[label].steps if step.macs)
        text = f"{label:12}  {sizes[label] / 1e6:7.2f} MB  {sum(times):7.3f} s  {1e3 * min(times):8.2f} ms a run"
        if label in errors:
            text += f"  {sizes['fp32'] / sizes[label]:.2f}x smaller  {sum(seconds['fp32']) / sum(times):5.2f}x as fast"
            text += f"  SQNR {errors[label]:.1f} dB"
        print(f"{text}  ({kernel})")


def main() -> None:
    parser = argparse.ArgumentParser(description="Linear layers in fp32 and in int8")
    parser.add_argument("--runs", type=int, help="of each; default 10")
    parser.add_argument("--threads", type=int, default=q.physical_cores())
    parser.add_argument("--quick", action="store_true", help="3 runs, 6,000 columns in place of 120,000")
    arguments = parser.parse_args()
    runs = arguments.runs or (3 if arguments.quick else 10)
    print("instruction sets: " + " ".join(q.instruction_sets()))
    for columns in (1024, 6_000 if arguments.quick else 120_000):
        compare(columns, runs, arguments.threads)


if __name__ == "__main__":
    main()
