"""Files of other quantizers (tests/data/foreign, made by tools/make_foreign.py) mean what docs/arithmetic.md says.

Each quantized tensor is compared with an oracle in NumPy, which computes it from the engine's own quantized tensors
before it. Sums of products are exact, with the requantization of rule (a); single fp32 operations have one rounding
(c): both must be equal. Functions and sums of floats (Sigmoid, Softmax, LayerNormalization) have the bits of the
operators' references, computed node by node and compared with fp64 here: equal too. Only products left in float, whose
order of additions is a library's, are computed in fp64: the engine must have rounded to a neighbour of the real number.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import zeropoint
from blobs import blobs
from onnxruntime_peer import open_session

ROOT = Path(__file__).parents[2]
FOREIGN = ROOT / "tests/data/foreign"
EVALUATE = Path(os.environ.get("ZEROPOINT_BUILD", ROOT / "build/release")) / "tests/evaluate_model"
FILES = sorted(path.stem for path in FOREIGN.glob("*.onnx"))
F32, F64 = np.float32, np.float64
FLOAT_PRODUCTS = set("Conv ConvTranspose MatMul Gemm MatMulNBits".split())  # whose sums are a library's
ONE_ROUNDING = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}
MOVES = set(
    (
        "Reshape Transpose Concat Flatten Squeeze Unsqueeze Slice Split Gather Expand Identity Pad Shape Cast "
        "Constant ConstantOfShape Tile Size Range Equal Where MaxPool"
    ).split()
)
# References against fp64, in units of the last place of the largest result; 1 where nothing is said.
MOST_ULPS = {"BatchNormalization": 2, "LayerNormalization": 3, "ReduceMean": 2, "GlobalAveragePool": 4, "Softmax": 2}
SHARES: dict[str, list[tuple[int, int, int, int]]] = defaultdict(list)  # producer -> tensors, ours, theirs, oracle


@dataclass
class Dequantized:
    """A value that is scale * (q - zero_point)."""

    q: np.ndarray  # s64
    scale: np.ndarray
    zero: np.ndarray
    axis: int
    bits: int

    def spread(self, parameter: np.ndarray) -> np.ndarray:
        if parameter.size == 1:
            return parameter.reshape(())
        return parameter.reshape([-1 if i == self.axis % self.q.ndim else 1 for i in range(self.q.ndim)])

    def centred(self) -> np.ndarray:
        return self.q - self.spread(self.zero)

    def real(self) -> np.ndarray:
        return self.centred().astype(F32) * self.spread(self.scale).astype(F32)


@dataclass
class Product:
    """Exact sums at x_scale * w_scale[c], through Relu and Clip."""

    sums: np.ndarray
    x_scale: np.float32
    w_scale: np.ndarray  # broadcasts with sums
    low: float = -np.inf
    high: float = np.inf

    def real(self) -> np.ndarray:  # rule (b)
        return np.clip(self.sums.astype(F32) * (self.x_scale * self.w_scale), F32(self.low), F32(self.high))


def quantize(x: np.ndarray, scale: np.float32, zero: int, limits: tuple[int, int]) -> np.ndarray:
    return np.clip(np.rint(x / np.asarray(scale, F32)) + zero, *limits).astype(np.int64)


def requantize(product: Product, scale: np.float32, zero: int, limits: tuple[int, int]) -> np.ndarray:
    """Rule (a)."""
    v = product.sums.astype(F32) * ((product.x_scale * product.w_scale) / F32(scale))
    low, high = (quantize(F32(bound), scale, zero, limits) - zero for bound in (product.low, product.high))
    return (np.rint(np.clip(v, F32(low), F32(high))) + zero).astype(np.int64)


def attributes(node: onnx.NodeProto) -> dict:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def windows(x: np.ndarray, kernel, given: dict, fill: int) -> np.ndarray:
    """[n, c, oh, ow, kh, kw]: what each window sees."""
    (kh, kw), (sh, sw), (dh, dw) = kernel, given.get("strides", [1, 1]), given.get("dilations", [1, 1])
    top, left, bottom, right = given.get("pads", [0, 0, 0, 0])
    assert given.get("auto_pad", b"NOTSET") == b"NOTSET"
    x = np.pad(x, [(0, 0), (0, 0), (top, bottom), (left, right)], constant_values=fill)
    oh, ow = (x.shape[2] - (kh - 1) * dh - 1) // sh + 1, (x.shape[3] - (kw - 1) * dw - 1) // sw + 1
    rows = np.arange(oh)[:, None] * sh + np.arange(kh) * dh
    columns = np.arange(ow)[:, None] * sw + np.arange(kw) * dw
    return x[:, :, rows[:, None, :, None], columns[None, :, None, :]]


def conv_transpose_sums(x: np.ndarray, w: np.ndarray, given: dict) -> np.ndarray:
    groups, (sh, sw), (dh, dw) = given.get("group", 1), given.get("strides", [1, 1]), given.get("dilations", [1, 1])
    (top, left, bottom, right), (eh, ew) = given.get("pads", [0, 0, 0, 0]), given.get("output_padding", [0, 0])
    assert given.get("auto_pad", b"NOTSET") == b"NOTSET" and "output_shape" not in given
    (n, c, h, width), (_, each, kh, kw) = x.shape, w.shape
    x, w = x.reshape(n, groups, c // groups, h, width), w.reshape(groups, c // groups, each, kh, kw)
    full = np.zeros(
        (n, groups, each, (h - 1) * sh + (kh - 1) * dh + 1 + eh, (width - 1) * sw + (kw - 1) * dw + 1 + ew), x.dtype
    )
    for i in range(kh):
        for j in range(kw):
            spot = full[..., i * dh : i * dh + (h - 1) * sh + 1 : sh, j * dw : j * dw + (width - 1) * sw + 1 : sw]
            spot += np.einsum("ngcyx,gco->ngoyx", x, w[..., i, j])
    full = full.reshape(n, groups * each, *full.shape[3:])
    return full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]


def conv_sums(x: np.ndarray, w: np.ndarray, given: dict) -> np.ndarray:
    groups = given.get("group", 1)
    seen = windows(x, w.shape[2:], given, 0)
    n, c, oh, ow, kh, kw = seen.shape
    seen = seen.reshape(n, groups, c // groups, oh, ow, kh, kw)
    return np.einsum("ngcyxij,gocij->ngoyx", seen, w.reshape(groups, -1, *w.shape[1:])).reshape(n, -1, oh, ow)


def check_reference(operator: str, result: np.ndarray, exact: np.ndarray) -> None:
    """In units of the last place of the largest result."""
    ulps = np.abs(result - exact).max() / np.spacing(np.abs(exact).max().astype(F32))
    assert ulps <= MOST_ULPS.get(operator, 1), f"{operator}: {ulps} units in the last place"


class Oracle:
    def __init__(self, model: onnx.ModelProto, ours: dict[str, np.ndarray]):
        self.graph, self.ours = model.graph, ours
        self.opsets = list(model.opset_import)
        self.values: dict[str, object] = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        self.constants = set(self.values)
        self.readers = defaultdict(list)
        for node in model.graph.node:
            for name in node.input:
                self.readers[name].append(node)
        self.outputs = {o.name for o in model.graph.output}
        self.exact = self.near = self.different = 0
        self.failures: list[str] = []

    def real(self, name: str):
        value = self.values[name]
        return value.real() if isinstance(value, Dequantized | Product) else value

    def scalar(self, name: str):
        return self.values[name].reshape(-1)[0]

    def judge(self, name: str, expected: np.ndarray, real: np.ndarray | None) -> None:
        """`real`: what is rounded, in steps, where it is not known to the bit."""
        got = self.ours[name].astype(np.int64)
        assert got.shape == expected.shape, name
        self.different += not np.array_equal(got, expected)
        if real is None:
            self.exact += 1
            wrong = got != expected
        else:
            self.near += 1
            low, high = np.iinfo(self.ours[name].dtype).min, np.iinfo(self.ours[name].dtype).max
            wrong = np.abs(got - np.clip(real, low, high)) > 0.502  # fp32 sums, in steps
        if wrong.any():
            at = np.flatnonzero(wrong)[0]
            self.failures.append(f"{name}: {wrong.sum()} of {wrong.size}, {got.ravel()[at]} not {expected.ravel()[at]}")
        self.values[name] = self.ours[name]

    def quantizers_behind(self, name: str) -> bool:
        """Rule (a) holds where one quantizer, or several equal ones, read a product and nobody else does."""
        readers = self.readers[name]
        kinds = {(n.op_type, tuple(n.input[1:]), n.domain) for n in readers}
        return name not in self.outputs and len({k[0] for k in kinds}) == 1 and readers[0].op_type == "QuantizeLinear"

    def integer_product(self, node: onnx.NodeProto) -> Product | None:
        a, w = (self.values.get(name) for name in node.input[:2])
        if not (isinstance(a, Dequantized) and isinstance(w, Dequantized)) or a.bits > 16 or w.bits > 16:
            return None
        if a.scale.size != 1:
            return None
        given = attributes(node)
        if node.op_type == "Conv":
            sums, shape = conv_sums(a.centred(), w.centred(), given), (1, -1, 1, 1)
        elif node.op_type == "ConvTranspose":
            if w.scale.size > 1 and w.axis % w.q.ndim != 1:
                return None
            sums, shape = conv_transpose_sums(a.centred(), w.centred(), given), (1, -1, 1, 1)
            if w.scale.size > 1:  # one for each channel of a group
                w = Dequantized(w.q, np.tile(w.scale, given.get("group", 1)), w.zero, w.axis, w.bits)
        else:
            if given.get("transA", 0) or given.get("alpha", 1) != 1 or given.get("beta", 1) != 1:
                return None
            right = w.centred().T if given.get("transB", 0) else w.centred()
            if w.scale.size > 1 and (w.axis % w.q.ndim) != (0 if given.get("transB", 0) else w.q.ndim - 1):
                return None
            sums, shape = np.matmul(a.centred(), right), (-1,)
        x_scale, w_scale = (
            a.scale.reshape(()).astype(F32),
            w.scale.astype(F32).reshape(shape if w.scale.size > 1 else ()),
        )
        if len(node.input) > 2 and node.input[2]:
            bias, unit = (
                self.values[node.input[2]],
                np.broadcast_to(
                    (x_scale * w.scale.astype(F32)).reshape(-1),
                    sums.shape[1 if node.op_type.startswith("Conv") else -1],
                ),
            )
            if isinstance(bias, Dequantized) and np.array_equal(np.broadcast_to(bias.scale, unit.shape), unit):
                number = bias.q
            else:
                number = np.rint(self.real(node.input[2]).astype(F64) / unit.astype(F64)).astype(np.int64)
            sums = sums + number.reshape(shape)
        return Product(sums, x_scale, w_scale)

    def run(self, feeds: dict[str, np.ndarray]) -> None:
        self.values |= feeds
        waiting = list(self.graph.node)  # some producers write nodes in any order
        while waiting:
            node = next(n for n in waiting if all(not name or name in self.values for name in n.input))
            waiting.remove(node)
            handler = getattr(self, node.op_type.lower(), None)
            if handler is None or handler(node, attributes(node)) is NotImplemented:
                self.literal(node)

    def literal(self, node: onnx.NodeProto) -> None:
        inputs = [None if not name else self.real(name) for name in node.input]
        floats = [x for x in inputs if x is not None and x.dtype.kind == "f"]
        operation = ONE_ROUNDING.get(node.op_type)
        if operation is not None and floats:
            wide = any(x.dtype == F64 for x in floats)
            self.values[node.output[0]] = operation(*(x.astype(F64 if wide else F32) for x in inputs))
            return
        feeds = {name: x for name, x in zip(node.input, inputs, strict=True) if name}
        if not floats or node.op_type in MOVES:
            results = self.evaluated(node, feeds)
        else:
            wide = {name: x.astype(F64) if x.dtype == F32 else x for name, x in feeds.items()}
            results = self.evaluated(node, wide)
            if node.op_type not in FLOAT_PRODUCTS and all(x.dtype == F32 for x in floats):
                real, results = results, self.evaluated_by_references(node, feeds)
                for ours, exact in zip(results, real, strict=True):
                    check_reference(node.op_type, ours, exact)
        for name, result in zip([k for k in node.output if k], results, strict=True):
            self.values[name] = result

    def evaluated(self, node: onnx.NodeProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """One node by the onnx package, in the types of `feeds`."""
        inputs = [
            helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for k, v in feeds.items()
        ]
        outputs = [helper.make_tensor_value_info(k, TensorProto.UNDEFINED, None) for k in node.output if k]
        graph = helper.make_graph([node], "node", inputs, outputs)
        return ReferenceEvaluator(helper.make_model(graph, opset_imports=self.opsets)).run(None, feeds)

    def evaluated_by_references(self, node: onnx.NodeProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """One node by this project's readable reference, apart from the engine."""
        outputs = [helper.make_tensor_value_info(k, TensorProto.UNDEFINED, None) for k in node.output if k]
        constants = [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in feeds.items()]
        graph = helper.make_graph([node], "node", [], outputs, constants)
        with tempfile.TemporaryDirectory() as folder:
            onnx.save(helper.make_model(graph, opset_imports=self.opsets), f"{folder}/node.onnx")
            subprocess.run([EVALUATE, f"{folder}/node.onnx", folder], check=True)
            return [np.load(f"{folder}/{i}.npy") for i in range(len(outputs))]

    # ---- operators; a method has the operator's name in lower case

    def dequantizelinear(self, node, given):
        x, scale = self.values[node.input[0]], self.values[node.input[1]]
        if given.get("block_size", 0):
            if x.dtype.itemsize == 1 and x.ndim != scale.ndim:
                return NotImplemented
            axis, block = given.get("axis", 1) % x.ndim, given["block_size"]
            repeat = lambda p: np.repeat(p, block, axis).take(range(x.shape[axis]), axis)  # noqa: E731
            zero = repeat(self.values[node.input[2]].astype(np.int64)) if len(node.input) > 2 and node.input[2] else 0
            self.values[node.output[0]] = (x.astype(np.int64) - zero).astype(F32) * repeat(scale)
            return None
        zero = self.values[node.input[2]] if len(node.input) > 2 and node.input[2] else np.zeros(scale.shape, np.int64)
        bits = 8 if "int4" in str(x.dtype) else 8 * x.dtype.itemsize
        if node.input[0] in self.constants:
            self.constants.add(node.output[0])
        q = x.astype(np.int64)
        self.values[node.output[0]] = Dequantized(
            q, scale.reshape(-1), zero.astype(np.int64).reshape(-1), given.get("axis", 1), bits
        )
        return None

    def quantizelinear(self, node, given):
        value, scale = self.values[node.input[0]], self.values[node.input[1]]
        if node.output[0] not in self.ours or given.get("block_size", 0):
            return NotImplemented  # of constants
        zero = self.values[node.input[2]].astype(np.int64) if len(node.input) > 2 and node.input[2] else np.int64(0)
        info = np.iinfo(self.ours[node.output[0]].dtype)
        limits = (int(info.min), int(info.max))
        if scale.size > 1:  # per channel: literal
            real = self.real(node.input[0])
            scale, zero = (
                p.reshape([-1 if i == given.get("axis", 1) else 1 for i in range(real.ndim)]) for p in (scale, zero)
            )
            steps = None if real.dtype == F32 else real / scale.astype(F64) + zero
            return self.judge(node.output[0], quantize(real, scale, zero, limits), steps)
        scale, zero = scale.reshape(-1)[0], int(zero.reshape(-1)[0])
        if isinstance(value, Product) and self.quantizers_behind(node.input[0]):
            return self.judge(node.output[0], requantize(value, scale, zero, limits), None)
        real = self.real(node.input[0])
        steps = None if real.dtype == F32 else real / F64(scale) + zero
        return self.judge(node.output[0], quantize(real, scale, zero, limits), steps)

    def dynamicquantizelinear(self, node, given):
        x = self.real(node.input[0])
        scale, zero = (self.ours[name] for name in node.output[1:])
        low, high = min(0, x.min()), max(0, x.max())
        expected = (F32(high) - F32(low)) / F32(255)
        np.testing.assert_allclose(scale, expected, rtol=0 if x.dtype == F32 else 1e-5)
        self.judge(
            node.output[0],
            quantize(x, scale, int(zero), (0, 255)),
            None if x.dtype == F32 else x / F64(scale) + int(zero),
        )
        self.values[node.output[1]], self.values[node.output[2]] = scale, zero

    def product(self, node, given):
        product = self.integer_product(node)
        if product is None:
            return NotImplemented
        self.values[node.output[0]] = product
        return None

    conv = convtranspose = matmul = gemm = product

    def clamp(self, node, low: float, high: float):
        value = self.values[node.input[0]]
        alone = len(self.readers[node.input[0]]) == 1 and node.input[0] not in self.outputs
        if isinstance(value, Product) and alone:
            low, high = (min(max(bound, low), high) for bound in (value.low, value.high))
            self.values[node.output[0]] = Product(value.sums, value.x_scale, value.w_scale, low, high)
        else:
            self.values[node.output[0]] = np.clip(self.real(node.input[0]), F32(low), F32(high))

    def relu(self, node, given):
        self.clamp(node, 0, np.inf)

    def clip(self, node, given):
        bounds = [float(np.ravel(self.real(name))[0]) if name else None for name in node.input[1:]] + [None, None]
        low, high = bounds[0], bounds[1]
        low, high = given.get("min", low), given.get("max", high)
        self.clamp(node, -np.inf if low is None else low, np.inf if high is None else high)

    def leakyrelu(self, node, given):
        x = self.real(node.input[0])
        self.values[node.output[0]] = np.where(x < 0, x.dtype.type(given.get("alpha", 0.01)) * x, x)

    def averages(self, node, given) -> np.ndarray | None:
        """Rule (c): sums in integers, converted once."""
        value = self.values[node.input[0]]
        if not isinstance(value, Dequantized) or value.bits > 16 or value.q.ndim != 4 or value.scale.size != 1:
            return None
        if "Global" in node.op_type:
            given = {"kernel_shape": value.q.shape[2:]}
        if any(given.get("pads", [])) or given.get("ceil_mode", 0):
            return None
        sums = windows(value.centred(), given["kernel_shape"], given, 0).sum((4, 5))
        return sums.astype(F32) * value.scale.astype(F32).reshape(()) / F32(np.prod(given["kernel_shape"]))

    def averagepool(self, node, given):
        result = self.averages(node, given)
        if result is None:
            return NotImplemented
        self.values[node.output[0]] = result
        return None

    globalaveragepool = averagepool

    def maxpool(self, node, given):
        x = self.real(node.input[0])
        low = np.iinfo(x.dtype).min if x.dtype.kind in "iu" else -np.inf
        if x.ndim != 4 or len(node.output) > 1 or given.get("ceil_mode", 0):
            return NotImplemented
        self.values[node.output[0]] = windows(x, given["kernel_shape"], given, low).max((4, 5))
        return None

    # ---- the QOperator format: the same rules

    def parameters(self, node, first: int, axis: int = 0) -> Dequantized:
        q, scale, zero = (self.values.get(node.input[first + i]) for i in range(3))
        return Dequantized(
            q.astype(np.int64), scale.reshape(-1), np.asarray(zero).astype(np.int64).reshape(-1), axis, 8
        )

    def result(self, node, first: int, expected: Product | np.ndarray):
        scale, zero = self.scalar(node.input[first]), int(self.scalar(node.input[first + 1]))
        info = np.iinfo(self.ours[node.output[0]].dtype)
        if isinstance(expected, Product):
            return self.judge(node.output[0], requantize(expected, scale, zero, (info.min, info.max)), None)
        steps = None if expected.dtype == F32 else expected / F64(scale) + zero
        return self.judge(node.output[0], quantize(expected, scale, zero, (info.min, info.max)), steps)

    def qlinearconv(self, node, given):
        x, w = self.parameters(node, 0), self.parameters(node, 3)
        sums = conv_sums(x.centred(), w.centred(), given)
        if len(node.input) > 8 and node.input[8]:
            sums = sums + self.values[node.input[8]].astype(np.int64).reshape(1, -1, 1, 1)
        self.result(node, 6, Product(sums, x.scale[0], w.scale.reshape(1, -1, 1, 1)))

    def qlinearmatmul(self, node, given):
        x, w = self.parameters(node, 0), self.parameters(node, 3, axis=-1)
        self.result(node, 6, Product(np.matmul(x.centred(), w.centred()), x.scale[0], w.scale))

    def qgemm(self, node, given):
        flip = given.get("transB", 0)
        x, w = self.parameters(node, 0), self.parameters(node, 3, axis=0 if flip else 1)
        sums = np.matmul(x.centred(), w.centred().T if flip else w.centred())
        if node.input[6]:
            sums = sums + self.values[node.input[6]].astype(np.int64)
        self.result(node, 7, Product(sums, x.scale[0], w.scale))

    def qlinearadd(self, node, given):
        self.result(node, 6, self.parameters(node, 0).real() + self.parameters(node, 3).real())

    def qlinearmul(self, node, given):
        a, b = self.parameters(node, 0), self.parameters(node, 3)
        self.result(node, 6, Product(a.centred() * b.centred(), a.scale[0], b.scale[0]))

    def qlinearconcat(self, node, given):
        parts = [self.parameters(node, i).real() for i in range(2, len(node.input), 3)]
        self.result(node, 0, np.concatenate(parts, given["axis"]))

    def qlinearaveragepool(self, node, given):
        self.values["#"] = self.parameters(node, 0)
        self.result(node, 3, self.averages(helper.make_node(node.op_type, ["#"], ["y"]), given))

    qlinearglobalaveragepool = qlinearaveragepool

    def qlinearsigmoid(self, node, given):
        self.result(node, 3, 1 / (1 + np.exp(-self.parameters(node, 0).real().astype(F64))))

    def qlinearleakyrelu(self, node, given):
        x = self.parameters(node, 0).real()
        self.result(node, 3, np.where(x < 0, F32(given.get("alpha", 0.01)) * x, x))

    def qlinearsoftmax(self, node, given):
        x = self.parameters(node, 0).real().astype(F64)
        power = np.exp(x - x.max(given["axis"], keepdims=True))
        self.result(node, 3, power / power.sum(given["axis"], keepdims=True))

    def matmulnbits(self, node, given):
        k, n, bits, block = (given[key] for key in ("K", "N", "bits", "block_size"))
        blocks, mask = -(-k // block), (1 << bits) - 1

        def unpacked(x: np.ndarray, count: int) -> np.ndarray:  # little-endian fields in the last axis
            return (x[..., None] >> np.arange(0, 8, bits) & mask).reshape(*x.shape[:-1], -1)[..., :count].astype(F64)

        w = unpacked(self.values[node.input[1]].reshape(n, blocks, -1), block)
        zero = np.full((n, blocks), float(1 << (bits - 1)))
        if len(node.input) > 3 and node.input[3]:
            zero = unpacked(self.values[node.input[3]].reshape(n, -1), blocks)
        w = (w - zero[..., None]) * self.values[node.input[2]].reshape(n, blocks, 1).astype(F64)
        self.values[node.output[0]] = self.real(node.input[0]).astype(F64) @ w.reshape(n, -1)[:, :k].T

    def integer_sums(self, node, given):
        x, w = (self.values[name].astype(np.int64) for name in node.input[:2])
        zeros = [int(self.scalar(n)) if n else 0 for n in node.input[2:3]] + [0]
        w_zero = self.values[node.input[3]].astype(np.int64) if len(node.input) > 3 and node.input[3] else np.int64(0)
        is_conv = node.op_type == "ConvInteger"
        w = w - (w_zero.reshape(-1, 1, 1, 1) if is_conv and w_zero.size > 1 else w_zero)
        sums = conv_sums(x - zeros[0], w, given) if is_conv else np.matmul(x - zeros[0], w)
        self.judge(node.output[0], sums, None)

    convinteger = matmulinteger = integer_sums


def with_integers_shown(model: onnx.ModelProto) -> list[str]:
    """Makes what quantizers write outputs of the graph; returns their names."""
    constants = {i.name: i.data_type for i in model.graph.initializer}
    shown = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] not in constants:
            given = attributes(node)
            kind = (
                constants[node.input[2]]
                if len(node.input) > 2 and node.input[2]
                else given.get("output_dtype", TensorProto.UINT8)
            )
            shown[node.output[0]] = kind
        elif node.op_type == "DynamicQuantizeLinear":
            shown |= dict(zip(node.output, (TensorProto.UINT8, TensorProto.FLOAT, TensorProto.UINT8), strict=True))
        elif node.op_type in ("ConvInteger", "MatMulInteger"):
            shown[node.output[0]] = TensorProto.INT32
        elif node.op_type.startswith("QLinear") or (node.op_type == "QGemm" and len(node.input) > 7):
            zero = {
                "QLinearConcat": 1,
                "QLinearAdd": 7,
                "QLinearMul": 7,
                "QLinearConv": 7,
                "QLinearMatMul": 7,
                "QGemm": 8,
            }
            shown[node.output[0]] = constants[node.input[zero.get(node.op_type, 4)]]
    given = {o.name for o in model.graph.output}
    model.graph.output.extend(helper.make_tensor_value_info(n, t, None) for n, t in shown.items() if n not in given)
    return list(shown)


def steps_in_float_without_reason(session: zeropoint.Session) -> list[str]:
    head, *lines = session.explain().splitlines()
    numbers, remark = head.index("numbers"), head.index("remark")
    return [line for line in lines if line[numbers:].startswith("float ") and not line[remark:].strip()]


@pytest.mark.parametrize("name", FILES)
def test_file(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    model = onnx.load(FOREIGN / f"{name}.onnx")
    float_outputs = [o.name for o in model.graph.output]
    shown = with_integers_shown(model)
    names = [o.name for o in model.graph.output]
    engine = zeropoint.Session(model.SerializeToString(), threads=1)
    literal, optimized = open_session(model, optimize=False), open_session(model)
    integers = list(shown)
    equal = theirs = oracle_equal = total = 0
    for picture in blobs(2, seed=11):
        feeds = {model.graph.input[0].name: picture[None]}
        ours, plain, fused = (dict(zip(names, s.run(None, feeds), strict=True)) for s in (engine, literal, optimized))
        oracle = Oracle(model, {n: np.asarray(ours[n]) for n in integers})
        oracle.run(feeds)
        assert not oracle.failures, "\n".join(oracle.failures)
        total += oracle.exact + oracle.near
        oracle_equal += oracle.exact + oracle.near - oracle.different
        equal += sum(np.array_equal(ours[n], plain[n]) for n in integers if ours[n].dtype.kind in "iu" and ours[n].ndim)
        theirs += sum(
            np.array_equal(fused[n], plain[n]) for n in integers if ours[n].dtype.kind in "iu" and ours[n].ndim
        )
        for output in float_outputs:
            np.testing.assert_allclose(ours[output], oracle.real(output), rtol=1e-4, atol=1e-5, err_msg=output)
            span = np.ptp(plain[output]) + 1e-6
            assert np.abs(ours[output] - plain[output]).max() <= 0.05 * span, output
    floats = steps_in_float_without_reason(engine)
    assert not floats, f"explain() does not say why these are float: {floats}"
    SHARES[name.split("_")[0]].append((total, equal, theirs, oracle_equal))
    with capsys.disabled():
        oracle_share = f"{total:4} integer tensors, equal to the oracle {oracle_equal:4}"
        print(f"\n  {name:50} {oracle_share}, to literal ONNX Runtime: ours {equal:4}, its own {theirs:4}", end="")


def test_summary(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints one line a producer."""
    with capsys.disabled():
        for producer, rows in SHARES.items():
            total, equal, theirs, oracle = (max(1, sum(row[i] for row in rows)) for i in range(4))
            ours, theirs = (100 * part / total for part in (equal, theirs))
            whole, their_whole = (sum(row[0] == row[i] for row in rows) for i in (1, 2))
            print(f"\n  {producer}: {len(rows)} files, {oracle} of {total} integer tensors equal to the oracle", end="")
            print(f"; to literal ONNX Runtime: ours {ours:.1f} %, its own optimized {theirs:.1f} %", end="")
            print(f", whole files {whole} and {their_whole}", end="")
