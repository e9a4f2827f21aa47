"""The table of costs by which the target zeropoint decides what stays in float.

Measures operators of several sizes in float and in integers on this machine, one thread; writes src/quant/cost_table.h.

PYTHONPATH=build/release/python build/venv/bin/python bench/costs.py [--seconds S] [--check]

Measure on an idle machine. A new table changes what `quantize --target zeropoint` decides; recipes in files keep what
was decided when they were made. --check prints the figures and writes nothing.
"""

from __future__ import annotations

import argparse
import itertools
import math
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import zeropoint

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "src/quant/cost_table.h"
MATRICES = 4  # of one product of two activations
RANDOM = np.random.default_rng(5)


class Net:
    """A graph with float inputs and output, and quantizers where asked for."""

    def __init__(self) -> None:
        self.nodes, self.constants, self.inputs = [], [], []

    def input(self, *dims: int) -> str:
        self.inputs.append(helper.make_tensor_value_info(f"x{len(self.inputs)}", TensorProto.FLOAT, dims))
        return self.inputs[-1].name

    def constant(self, values: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def add(self, op_type: str, *inputs: str, **attributes: object) -> str:
        name = f"y{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def quantized(self, value: str) -> str:
        scale, zero = self.constant(np.float32(0.03)), self.constant(np.uint8(120))
        return self.add("DequantizeLinear", self.add("QuantizeLinear", value, scale, zero), scale, zero)

    def model(self, output: str) -> bytes:
        info = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "cost", self.inputs, [info], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
        return model.SerializeToString()


def normal(*dims: int) -> np.ndarray:
    return RANDOM.standard_normal(dims).astype(np.float32)


def least_seconds(model: object, seconds: float, counts: Callable[[object], bool]) -> float:
    """Of the steps that count, in the run where they took least."""
    session = zeropoint.Session(model, threads=1, profile=True)
    feeds = {info.name: normal(*info.shape) for info in session.inputs}
    before, least, end = None, math.inf, time.perf_counter() + seconds
    runs = 0
    while runs < 20 or time.perf_counter() < end:
        session.run(None, feeds)
        now = sum(step.seconds for step in session.steps if counts(step))
        if before is not None:
            least = min(least, now - before)
        before = now
        runs += 1
    assert 0 < least < math.inf, session.explain()
    return least


def multiplies(step: object) -> bool:
    return step.macs > 0


def by_samples(model: bytes) -> object:
    """Quantized, all of it."""
    loaded = zeropoint.load(model)
    samples = [{info.name: normal(*info.shape) for info in loaded.inputs} for _ in range(2)]
    recipe = zeropoint.recipes.static_w8a8().with_target("zeropoint").with_all_integers().with_range("min_max")
    return zeropoint.quantize(loaded, samples, recipe, threads=1).model


def weighted(build: Callable[..., bytes]) -> Callable[..., tuple[float, float]]:
    def measure(seconds: float, *sizes: int) -> tuple[float, float]:
        model = build(*sizes)
        return least_seconds(model, seconds, multiplies), least_seconds(by_samples(model), seconds, multiplies)

    return measure


def matrix_by_weights(m: int, n: int, k: int) -> bytes:
    net = Net()
    return net.model(net.add("MatMul", net.input(m, k), net.constant(normal(k, n))))


def matrix_by_matrix(m: int, n: int, k: int) -> bytes:
    net = Net()
    return net.model(net.add("MatMul", net.input(MATRICES, m, k), net.input(MATRICES, k, n)))


def convolution(m: int, n: int, k: int, window: int, groups: int = 1) -> bytes:
    side, net = math.isqrt(m), Net()
    weights = net.constant(normal(n, k // window**2, window, window))
    pads = [window // 2] * 4
    x = net.input(1, k // window**2 * groups, side, side)
    return net.model(net.add("Conv", x, weights, pads=pads, group=groups))


def elementwise(name: str, pictures: bool = False, **attributes: object) -> Callable[..., tuple[float, float]]:
    """An operator of one or two values, with and without quantizers around it; what they cost is not in it."""

    def measure(seconds: float, m: int, _n: int, _k: int) -> tuple[float, float]:
        result = []
        for quantized in (False, True):
            net = Net()
            dims = (1, m // 64, 8, 8) if pictures else (m // 64, 64)
            inputs = [net.input(*dims) for _ in range(2 if name == "Add" else 1)]
            inputs = [net.quantized(x) if quantized else x for x in inputs]
            y = net.add(name, *inputs, **attributes)
            model = net.model(net.quantized(y) if quantized else y)
            # A table makes a function and the quantizer behind it one step, under either name.
            makers = [y, net.nodes[-2].name] if quantized else [y]
            result.append(least_seconds(model, seconds, lambda step, makers=makers: step.name in makers))
        return result[0], result[1]

    return measure


def conversion(op_type: str) -> Callable[..., tuple[float, float]]:
    def measure(seconds: float, m: int, _n: int, _k: int) -> tuple[float, float]:
        net = Net()
        model = net.model(net.quantized(net.input(m // 64, 64)))
        taken = least_seconds(model, seconds, lambda step: op_type in step.op)
        return taken, taken

    return measure


ONE = (1,)
COUNTS = (64, 1024, 8192, 65536, 1048576)
PIXELS = (16, 64, 256, 1024, 3136)
# name -> (what it says, how it is measured, sizes m, n, k)
GRIDS = {
    "MatrixByWeights": ("[m, k] by constant [k, n]", weighted(matrix_by_weights),
                        (1, 4, 16, 64, 256, 1024), (8, 32, 128, 512), (8, 32, 128, 512)),
    "MatrixByMatrix": (f"{MATRICES} products [m, k] by [k, n] of two computed values", weighted(matrix_by_matrix),
                       (16, 64, 256), (16, 64, 256), (16, 64, 256)),
    "PointwiseConv": ("1x1: m pixels, n output channels, k input channels",
                      weighted(lambda m, n, k: convolution(m, n, k, 1)), PIXELS, (8, 32, 128, 512), (8, 32, 128, 512)),
    "SpatialConv": ("3x3: m pixels, n output channels, sums of k products",
                    weighted(lambda m, n, k: convolution(m, n, k, 3)), PIXELS, (8, 32, 128), (9, 36, 144, 576, 2304)),
    "DepthwiseConv": ("3x3: m pixels, n channels",
                      weighted(lambda m, n, _: convolution(m, n, 9, 3, n)), PIXELS, (16, 64, 256, 1024), (9,)),
    "SumOfTwo": ("m elements of the result", elementwise("Add"), COUNTS, ONE, ONE),
    "AveragePool": ("m elements of the input", elementwise("GlobalAveragePool", pictures=True), COUNTS, ONE, ONE),
    "CheapFunction": ("m elements; HardSwish", elementwise("HardSwish"), COUNTS, ONE, ONE),
    "Exponential": ("m elements; Gelu", elementwise("Gelu"), COUNTS, ONE, ONE),
    "Quantize": ("m elements; one figure", conversion("QuantizeLinear"), COUNTS, ONE, ONE),
    "Dequantize": ("m elements; one figure", conversion("DequantizeLinear"), COUNTS, ONE, ONE),
}  # fmt: skip


def rows(seconds: float) -> Iterator[tuple[str, tuple[int, ...], tuple[float, float]]]:
    for name, (_, measure, *axes) in GRIDS.items():
        for sizes in itertools.product(*axes):
            yield name, sizes, measure(seconds, *sizes)


def figure(seconds: float) -> str:
    return f"{1e6 * seconds:.3g}"


def processor() -> str:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else "unknown processor"


def table(measured: dict[str, list[tuple[float, float]]]) -> str:
    text = [
        "// Made by bench/costs.py; never edited by hand. Microseconds on one core, in float and in integers, of",
        f"// {processor()} ({zeropoint.instruction_sets()[-1]}).",
        "// clang-format off",
        "#pragma once",
        "",
        '#include "quant/costs.h"',
        "",
        "namespace zeropoint::quant {",
        "",
        f"inline constexpr double kMatricesMeasured = {MATRICES};  // in one entry of kMatrixByMatrix",
        "",
    ]
    for name, (meaning, _, *axes) in GRIDS.items():
        for letter, axis in zip("MNK", axes, strict=True):
            text.append(f"inline constexpr double k{name}{letter}[] = {{{', '.join(map(str, axis))}}};")
        text.append(f"inline constexpr Cost k{name}Costs[] = {{")
        pairs = [f"{{{figure(a)}, {figure(b)}}}" for a, b in measured[name]]
        width = max(4, len(axes[2]))
        text += [f"    {', '.join(pairs[i : i + width])}," for i in range(0, len(pairs), width)]
        text.append("};")
        text.append(f"// {meaning}")
        text.append(f"inline constexpr CostGrid k{name}{{k{name}M, k{name}N, k{name}K, k{name}Costs}};")
        text.append("")
    text += ["}  // namespace zeropoint::quant", ""]
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.1, help="for each figure")
    parser.add_argument("--check", action="store_true", help="print the figures, write nothing")
    arguments = parser.parse_args()
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in GRIDS}
    for name, sizes, seconds in rows(arguments.seconds):
        measured[name].append(seconds)
        in_float, in_integers = map(figure, seconds)
        size = "x".join(map(str, sizes))
        print(f"{name:16} {size:14} {in_float:>8} us in float {in_integers:>8} in integers", flush=True)
    if not arguments.check:
        TABLE.write_text(table(measured))
        print(f"wrote {TABLE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
