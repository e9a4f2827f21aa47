#!/usr/bin/env python3
"""Quantization of single tensors, as textbooks teach it: nine small experiments, each with the figures that it prints.

needs: nothing but zeropoint; matplotlib for --plot, torch for --torch
usage: examples/tensors.py [--plot FILE.png] [--torch] [--quick]

--plot draws experiment 7, --torch does experiment 5 with torch.quantize_per_tensor beside ours.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np

import zeropoint as q

FIRST = np.array(
    [0.46483758, 1.1436542, -1.457284, -0.658385, 1.2318981, 0.6196174, 0.95771927, 0.00453585, -0.02097602, 1.118749],
    np.float32,
)
SECOND = np.array(
    [
        -0.47069794,
        0.8608386,
        -0.947035,
        -1.0697421,
        0.10035864,
        0.0013437,
        0.6782814,
        0.7141242,
        -0.09668107,
        0.4391506,
    ],
    np.float32,
)


def mean_squared_error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))


def milliseconds(work: Callable[[], object], repeat: int = 7) -> float:
    """Of the fastest of several calls."""
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best * 1e3


def numbers(values: np.ndarray) -> str:
    return " ".join(str(value) for value in values)


def constant(name: str, array: np.ndarray | np.generic) -> str:
    """A line of a model's text: `name = f32[2]{0.5, 1}`."""
    code = {"float32": "f32", "int8": "s8", "uint8": "u8", "int32": "s32"}[array.dtype.name]
    dims = ",".join(map(str, array.shape))
    return f"  {name} = {code}[{dims}]{{{', '.join(str(value) for value in array.ravel().tolist())}}}\n"


def real_and_integer_zero_points() -> None:
    values, scale, zero_point = q.quantize_tensor(FIRST, zero_point="real")
    print(f"x        {numbers(FIRST)}")
    print(f"scale    (max - min) / 255 = {scale}; -min / scale = {zero_point}")
    print(f"real     {numbers(values)}")
    print(f"back     {numbers(q.dequantize_tensor(values, scale, zero_point))}")
    values, scale, zero_point = q.quantize_tensor(FIRST)
    print(f"integer  {numbers(values)}   with zero point {zero_point}")
    print(
        "Runtimes pad with zeros and skip products of zero points, so for them 0 must be exact. Rounding the zero point"
    )
    print("moves the grid by a part of a step: values close to the middle between two integers become the other one.")


def error_size_and_sum(quick: bool) -> None:
    for zero_point in ("real", "integer"):
        values, scale, zero = q.quantize_tensor(SECOND, zero_point=zero_point)
        error = mean_squared_error(SECOND, q.dequantize_tensor(values, scale, zero))
        print(f"{zero_point:8} {numbers(values)}   mean squared error {error:.2e}")
    print(f"{SECOND.nbytes} bytes become {values.nbytes}: ratio {values.nbytes / SECOND.nbytes}")
    x = np.random.default_rng(2).standard_normal(1_000_000, dtype=np.float32)
    sums(1, x)
    sums(500 if quick else 10_000, x[:1024])


def sums(count: int, x: np.ndarray) -> None:
    """Adds up x so many times, as real numbers and as bytes. (A mean: ONNX has no sum of bytes.)"""
    x = np.tile(x, count).reshape(1, count, -1, 1)
    x_q, _, _ = q.quantize_tensor(x)
    head = f"graph mean(x: {{}}[{','.join(map(str, x.shape))}]) -> (y: f32[1,{count},1,1])"
    text = f"ir_version 8\nopset 17\n{head} {{{{\n{{}}  y = GlobalAveragePool({{}})\n}}}}\n"
    scaled = constant("s", np.float32(1.0)) + constant("z", np.uint8(0)) + "  xf = DequantizeLinear(x, s, z)\n"
    in_float = q.Session(q.Model.from_text(text.format("f32", "", "x")), threads=1)
    in_bytes = q.Session(q.Model.from_text(text.format("u8", scaled, "xf")), threads=1)
    fp32, uint8 = (
        milliseconds(lambda: in_float.run(None, {"x": x})),
        milliseconds(lambda: in_bytes.run(None, {"x": x_q})),
    )
    print(f"{x.size // count:,} numbers added up {count:,} times: fp32 {fp32:.3f} ms, uint8 {uint8:.3f} ms", end=" ")
    print(f"({uint8 / fp32:.2f} of it)")


def six_to_six() -> None:
    scale, zero_point = q.choose_scale(-6, 6)
    print(f"[-6, 6] onto 0 ... 255: scale 12/255 = {scale:.3f}, zero point {zero_point} (127.5 rounds to even)")


def asymmetric_and_symmetric() -> None:
    for symmetric in (False, True):
        scale, zero_point = q.choose_scale(-44.93, 43.31, symmetric=symmetric)
        ends, _, _ = q.quantize_tensor([-44.93, 43.31], symmetric=symmetric, range=(-44.93, 43.31))
        kind = "symmetric " if symmetric else "asymmetric"
        print(
            f"[-44.93, 43.31] {kind}: scale {scale:.5f}, zero point {zero_point}, ends at {ends[0]} and {ends[1]}",
            end="",
        )
        x = np.linspace(-44.93, 43.31, 10_001, dtype=np.float32)
        values, scale, zero_point = q.quantize_tensor(x, symmetric=symmetric)
        print(f", mean squared error {mean_squared_error(x, q.dequantize_tensor(values, scale, zero_point)):.6f}")


def given_scale(with_torch: bool) -> None:
    x = np.random.default_rng(5).standard_normal((64, 64), dtype=np.float32)
    values = q.quantize_linear(x, 0.01, 0, dtype="int8")
    back = q.dequantize_tensor(values, 0.01)
    print(f"x          {numbers(x[0, :5])} ...")
    print(f"int8       {numbers(values[0, :5])} ...")
    print(f"back       {numbers(back[0, :5])} ...")
    print(f"mean |x - back| = {np.abs(x - back).mean():.4f} (|x| above 1.27 is cut)")
    print(f"memory {x.nbytes // values.nbytes} : 1")
    if with_torch:
        try:
            import torch
        except ImportError:
            sys.exit("--torch needs PyTorch: pip install torch")
        warnings.simplefilter("ignore")  # torch says that torchao takes this function's place
        theirs = torch.quantize_per_tensor(torch.from_numpy(x), scale=0.01, zero_point=0, dtype=torch.qint8)
        equal = np.array_equal(theirs.int_repr().numpy(), values)
        # torch multiplies by 1 / 0.01, ONNX divides by 0.01: where x / 0.01 lies at a half they may differ by a step.
        print(f"torch.quantize_per_tensor gives the same integers: {equal}")
        print(f"the same real numbers: {np.array_equal(theirs.dequantize().numpy(), back)}")


def matrix_product(quick: bool) -> None:
    size = 1000
    generator = np.random.default_rng(6)
    a, b = (generator.standard_normal((size, size), dtype=np.float32) for _ in range(2))
    a_q, a_scale, a_zero = q.quantize_tensor(a)
    b_q, b_scale, _ = q.quantize_tensor(b, symmetric=True)
    print(f"{size} x {size}: {a.nbytes / 2**20:.2f} MB as fp32, {a_q.nbytes / 2**20:.2f} MB as int8")

    def product(a_type: str, c_type: str, body: str) -> q.Model:
        head = f"graph product(a: {a_type}[{size},{size}]) -> (c: {c_type}[{size},{size}])"
        return q.Model.from_text(f"ir_version 8\nopset 17\n{head} {{\n{body}}}\n")

    zero = constant("zero", np.uint8(a_zero))
    integer = product("u8", "s32", zero + constant("b", b_q) + "  c = MatMulInteger(a, b, zero)\n")
    floating = product("f32", "f32", constant("b", b) + "  c = MatMul(a, b)\n")
    threads = q.physical_cores()
    in_bytes = q.Session(integer, threads=threads)
    in_float = q.Session(floating, threads=threads)
    exact = (a_q.astype(np.float64) - a_zero) @ b_q.astype(np.float64)  # doubles hold these sums exactly
    (c,) = in_bytes.run(None, {"a": a_q})
    print(f"equal to the exact product: {np.array_equal(c, exact)}; as real numbers off by", end=" ")
    print(f"{np.abs(c * (a_scale * b_scale) - a @ b).mean() / np.abs(a @ b).mean():.2%} on average")
    int8 = milliseconds(lambda: in_bytes.run(None, {"a": a_q}))
    fp32 = milliseconds(lambda: in_float.run(None, {"a": a}))
    blas = milliseconds(lambda: a @ b)
    small_a, small_b = a_q.astype(np.int8), b_q
    share = 20 if quick else 1  # of the rows: it takes seconds
    plain = share * milliseconds(lambda: np.matmul(small_a[: size // share], small_b), repeat=1)
    print(f"zeropoint int8 {int8:.1f} ms, zeropoint fp32 {fp32:.1f} ms ({threads} threads)")
    print(f"NumPy fp32 (BLAS) {blas:.1f} ms, NumPy int8 (no integer kernel, and it overflows) {plain:.0f} ms")


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def least_cross_entropy(logits: np.ndarray) -> tuple[float, float]:
    """The clipped range whose quantized logits give the most similar probabilities: a grid search."""
    target = softmax(logits.astype(np.float64))

    def loss(ends: tuple[float, float]) -> float:
        values, scale, zero = q.quantize_tensor(logits, range=ends)
        probabilities = softmax(q.dequantize_tensor(values, scale, zero).astype(np.float64))
        return float(-(target * np.log(probabilities + 1e-30)).sum(axis=1).mean())

    lows = [float(logits.min()) * 0.7**i for i in range(16)]
    highs = [float(logits.max()) * (1 - 0.05 * i) for i in range(6)]
    return min(((low, high) for low in lows for high in highs), key=loss)


def range_methods(plot: str | None) -> None:
    generator = np.random.default_rng(7)
    # Logits of 10 classes: the large values decide; and one outlier among the small ones.
    logits = generator.standard_normal((2000, 10), dtype=np.float32)
    logits[np.arange(2000), generator.integers(0, 10, 2000)] += np.float32(4)
    logits[0, 0] = -200
    target = softmax(logits.astype(np.float64))
    print("method              range                error of the rest   kept order   KL of softmax")
    rows: list[tuple[str, float, float, float]] = []
    for method in ("min_max", "percentile", "mse", "kl_divergence", "cross_entropy"):
        low, high = least_cross_entropy(logits) if method == "cross_entropy" else q.choose_range(logits, method)
        values, scale, zero = q.quantize_tensor(logits, range=(low, high))
        back = q.dequantize_tensor(values, scale, zero)
        error = mean_squared_error(logits[1:], back[1:])
        order = float(np.mean(back.argmax(axis=1) == logits.argmax(axis=1)))
        divergence = float(
            (target * (np.log(target + 1e-30) - np.log(softmax(back.astype(np.float64)) + 1e-30))).sum(axis=1).mean()
        )
        rows.append((method, low, high, error))
        print(f"{method:18} [{low:8.2f}, {high:6.2f}]   {error:.3e}           {order:.2%}       {divergence:.2e}")
    if plot is not None:
        draw_ranges(logits, rows, plot)


def draw_ranges(logits: np.ndarray, rows: list[tuple[str, float, float, float]], path: str) -> None:
    try:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot
    except ImportError:
        sys.exit("--plot needs matplotlib: pip install matplotlib")
    figure, (top, bottom) = pyplot.subplots(2, 1, figsize=(8, 6), constrained_layout=True)
    top.hist(logits.ravel(), bins=400, log=True, color="lightgray")
    for i, (method, low, high, _) in enumerate(rows):
        top.plot([low, high], [2 * 3**i] * 2, marker="|", markersize=12, label=method)
    top.legend(loc="upper left")
    top.set_title("values, and the range that each method keeps")
    bottom.bar([row[0] for row in rows], [row[3] for row in rows])
    bottom.set_yscale("log")
    bottom.set_title("mean squared error without the outlier's row")
    figure.savefig(path)
    print(f"picture: {path}")


def per_tensor_and_per_channel() -> None:
    generator = np.random.default_rng(8)
    spread = np.float32(10.0) ** np.linspace(-2, 1, 8, dtype=np.float32)
    weight = generator.standard_normal((8, 3, 3, 3), dtype=np.float32) * spread[:, None, None, None]
    power = (weight.reshape(8, -1) ** 2).sum(axis=1)
    print("filter                  " + " ".join(f"{i:7}" for i in range(8)))
    print("largest |w|             " + " ".join(f"{np.abs(f).max():7.3f}" for f in weight))
    for axis in (None, 0):
        values, scale, zero = q.quantize_tensor(weight, symmetric=True, axis=axis)
        noise = ((q.dequantize_tensor(values, scale, zero, axis=axis) - weight).reshape(8, -1) ** 2).sum(axis=1)
        print(
            f"SQNR (dB), per {'tensor ' if axis is None else 'channel'}  "
            + " ".join(f"{x:7.1f}" for x in 10 * np.log10(power / noise))
        )


def integers_only() -> None:
    generator = np.random.default_rng(9)
    x = generator.standard_normal((4, 64), dtype=np.float32)
    weight = generator.standard_normal((64, 3), dtype=np.float32)
    bias = generator.standard_normal(3, dtype=np.float32)
    y = x @ weight + bias
    x_q, x_scale, x_zero = q.quantize_tensor(x)
    w_q, w_scale, _ = q.quantize_tensor(weight, symmetric=True)
    y_scale, y_zero = q.choose_scale(float(y.min()), float(y.max()))
    b_q = np.rint(bias / (x_scale * w_scale)).astype(np.int32)
    print("Y = XW + B with  x = sx (xq - zx),  w = sw wq,  b = sx sw bq:")
    print("  sum (xq - zx)(wq - zw) = sum xq wq  -  zx sum wq  -  zw sum xq  +  K zx zw      (gemmlowp's scheme)")
    print("  The multiply-accumulate block multiplies bytes as they are; zx sum wq is known beforehand, and symmetric")
    print("  weights have zw = 0. So:")
    print("  y = sx sw (sum xq wq  -  zx sum wq  +  bq)         bytes times bytes, added up in int32")
    print("  yq = round(y / sy) + zy = round((sx sw / sy) * int32 sum) + zy, saturated to 0 ... 255")
    products = x_q.astype(np.int32) @ w_q.astype(np.int32)
    sums = products - x_zero * w_q.astype(np.int32).sum(axis=0) + b_q
    multiplier = np.float64(x_scale) * w_scale / y_scale
    y_q = np.clip(np.rint(sums * multiplier) + y_zero, 0, 255).astype(np.uint8)
    print(f"row 0: sum xq wq {numbers(products[0])}; with zero point and bias {numbers(sums[0])}")
    print(f"times {multiplier:.6f}: {numbers(y_q[0])}")
    fraction, exponent = np.frexp(multiplier)  # in [0.5, 1)
    fixed, shift = round(float(fraction) * 2**31), 31 - int(exponent)
    shifted = [min(max((int(total) * fixed + (1 << (shift - 1)) >> shift) + y_zero, 0), 255) for total in sums[0]]
    print(f"without any float, as gemmlowp: times {fixed}, shifted right by {shift}: {' '.join(map(str, shifted))}")
    text = "ir_version 8\nopset 17\ngraph affine(x: u8[4,64]) -> (y: u8[4,3]) {\n"
    for name, array in {
        "x_scale": np.float32(x_scale), "x_zero": np.uint8(x_zero), "w": w_q, "w_scale": np.float32(w_scale), "b": b_q,
        "b_scale": np.float32(x_scale * w_scale), "y_scale": np.float32(y_scale), "y_zero": np.uint8(y_zero),
    }.items():  # fmt: skip
        text += constant(name, np.asarray(array))
    text += "  xf = DequantizeLinear(x, x_scale, x_zero)\n  wf = DequantizeLinear(w, w_scale)\n"
    text += (
        "  bf = DequantizeLinear(b, b_scale)\n  yf = Gemm(xf, wf, bf)\n  y = QuantizeLinear(yf, y_scale, y_zero)\n}\n"
    )
    session = q.Session(q.Model.from_text(text))
    (result,) = session.run(None, {"x": x_q})
    print(f"the engine's:  {numbers(result[0])}   ({next(step.kernel for step in session.steps if step.macs)})")
    print(f"float:         {numbers(y[0])}")
    print(f"from integers: {numbers(q.dequantize_tensor(result, y_scale, y_zero)[0])}")


def main() -> None:
    parser = argparse.ArgumentParser(description="quantization of single tensors, as textbooks teach it")
    parser.add_argument("--plot", metavar="FILE.png", help="draw experiment 7 there")
    parser.add_argument("--torch", action="store_true", help="experiment 5 in PyTorch, too")
    parser.add_argument("--quick", action="store_true", help="less work for what is slow")
    arguments = parser.parse_args()
    experiments: list[tuple[str, Callable[[], None]]] = [
        ("ten numbers to uint8 and back", real_and_integer_zero_points),
        ("error, size and speed of sums", lambda: error_size_and_sum(arguments.quick)),
        ("the range [-6, 6]", six_to_six),
        ("asymmetric against symmetric", asymmetric_and_symmetric),
        ("a given scale, as in torch.quantize_per_tensor", lambda: given_scale(arguments.torch)),
        ("a matrix product in integers", lambda: matrix_product(arguments.quick)),
        ("an outlier, and how to choose the range", lambda: range_methods(arguments.plot)),
        ("per tensor against per channel", per_tensor_and_per_channel),
        ("Y = XW + B in integers only", integers_only),
    ]
    for number, (title, run) in enumerate(experiments, 1):
        print(f"\n{number}. {title}")
        run()


if __name__ == "__main__":
    main()
