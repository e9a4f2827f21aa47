"""The numbers that textbooks and tutorials print, and the laws behind them."""

from __future__ import annotations

import numpy as np
import pytest

import zeropoint as q

FIRST = np.float32(
    [0.46483758, 1.1436542, -1.457284, -0.658385, 1.2318981, 0.6196174, 0.95771927, 0.00453585, -0.02097602, 1.118749]
)
SECOND = np.float32(
    [-0.47069794, 0.8608386, -0.947035, -1.0697421, 0.10035864, 0.0013437, 0.6782814, 0.7141242, -0.09668107, 0.4391506]
)


def mean_squared_error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))


def test_real_zero_point_of_the_textbook():
    values, scale, zero_point = q.quantize_tensor(FIRST, zero_point="real")
    assert scale == (FIRST.max() - FIRST.min()) / np.float32(255)
    assert zero_point == pytest.approx(138.186, abs=1e-3)
    assert values.tolist() == [182, 247, 0, 76, 255, 197, 229, 139, 136, 244]
    back = [
        0.4620538,
        1.1475316,
        -1.4572839,
        -0.6558022,
        1.2318981,
        0.620241,
        0.957707,
        0.00858392,
        -0.02305352,
        1.1158942,
    ]
    np.testing.assert_allclose(q.dequantize_tensor(values, scale, zero_point), back, atol=2e-7)


def test_integer_zero_point_of_every_runtime():
    # 138.186 is rounded to 138, so that the real 0 is an integer: padding and skipped products need that. The grid
    # moves by 0.186 of a step, and two values whose fraction lies in that gap become the neighbour.
    values, scale, zero_point = q.quantize_tensor(FIRST)
    assert values.dtype == np.uint8
    assert (scale.dtype, zero_point.dtype) == (np.float32, np.int32)
    assert zero_point == 138
    assert values.tolist() == [182, 246, 0, 76, 255, 197, 229, 138, 136, 244]
    assert q.dequantize_tensor(np.uint8([138]), scale, zero_point) == 0
    np.testing.assert_array_equal(
        q.dequantize_tensor(values, scale, zero_point), np.float32(scale * (values - zero_point))
    )


def test_ten_more_values_and_their_error():
    values, scale, zero_point = q.quantize_tensor(SECOND, zero_point="real")
    assert values.tolist() == [79, 255, 16, 0, 155, 141, 231, 236, 129, 199]
    assert mean_squared_error(SECOND, q.dequantize_tensor(values, scale, zero_point)) == pytest.approx(
        5.47e-6, abs=5e-9
    )
    values, scale, zero_point = q.quantize_tensor(SECOND)
    assert zero_point == 141
    assert values.tolist() == [79, 255, 16, 0, 154, 141, 231, 235, 128, 199]
    assert mean_squared_error(SECOND, q.dequantize_tensor(values, scale, zero_point)) == pytest.approx(
        3.65e-6, abs=5e-9
    )
    assert values.nbytes / SECOND.nbytes == 0.25


def test_six_to_six():
    scale, zero_point = q.choose_scale(-6, 6)
    assert scale == pytest.approx(12 / 255, rel=1e-7)
    assert zero_point == 128  # 127.5 rounds to even
    values, _, _ = q.quantize_tensor([-6, 0, 6], range=(-6, 6))
    assert values.tolist() == [0, 128, 255]


def test_asymmetric_and_symmetric():
    assert q.choose_scale(-44.93, 43.31) == (pytest.approx(88.24 / 255), 130)
    assert q.choose_scale(-44.93, 43.31, symmetric=True) == (pytest.approx(44.93 / 127), 0)
    ends = np.float32([-44.93, 43.31, -100])
    values, _, _ = q.quantize_tensor(ends, symmetric=True, range=(-44.93, 43.31))
    assert (values.dtype, values.tolist()) == (np.int8, [-127, 122, -127])
    values, _, _ = q.quantize_tensor(ends, range=(-44.93, 43.31))
    assert values.tolist() == [0, 255, 0]


def test_given_scale_as_in_torch():
    # torch.quantize_per_tensor(x, scale=0.01, zero_point=0, dtype=torch.qint8)
    x = np.random.default_rng(5).standard_normal((64, 64), dtype=np.float32)
    values = q.quantize_linear(x, 0.01, 0, dtype="int8")
    np.testing.assert_array_equal(values, np.clip(np.rint(x / np.float32(0.01)), -128, 127).astype(np.int8))
    error = np.abs(x - q.dequantize_tensor(values, 0.01))
    assert error[np.abs(x) < 1.27].max() <= 0.00501
    assert 0.0025 < error[np.abs(x) < 1.27].mean() < 0.0026  # a quarter of a step
    assert x.nbytes == 4 * values.nbytes


def test_a_million_numbers():
    x = np.random.default_rng(6).standard_normal((1000, 1000), dtype=np.float32)
    values, _, _ = q.quantize_tensor(x, symmetric=True)
    assert round(x.nbytes / 2**20, 2) == 3.81
    assert round(values.nbytes / 2**20, 2) == 0.95


def test_outlier_and_range_methods():
    x = np.random.default_rng(7).standard_normal(20000, dtype=np.float32)
    x[0] = 100
    error = {}
    for method in ("min_max", "percentile", "mse", "kl_divergence"):
        low, high = q.choose_range(x, method, parameter=99.9 if method == "percentile" else 0)
        assert x.min() <= low <= 0 < high <= x.max()
        values, scale, zero_point = q.quantize_tensor(x, range=method, parameter=99.9 if method == "percentile" else 0)
        error[method] = mean_squared_error(x[1:], q.dequantize_tensor(values, scale, zero_point)[1:])
    # Without the outlier the step is about 9 / 255 and not 104 / 255: the error falls by two orders of magnitude.
    assert error["percentile"] < error["min_max"] / 50
    assert error["kl_divergence"] < error["min_max"] / 10
    assert error["mse"] <= error["min_max"]


def test_per_channel_where_filters_differ():
    generator = np.random.default_rng(8)
    weight = (
        generator.standard_normal((8, 3, 3, 3), dtype=np.float32)
        * np.float32(10.0) ** np.arange(-4, 4)[:, None, None, None]
    )
    weight = weight.astype(np.float32)
    values, scale, zero_point = q.quantize_tensor(weight, symmetric=True)
    whole = q.dequantize_tensor(values, scale, zero_point)
    values, scale, zero_point = q.quantize_tensor(weight, symmetric=True, axis=0)
    assert scale.shape == (8,)
    assert not zero_point.any()
    np.testing.assert_array_equal(np.abs(values).reshape(8, -1).max(axis=1), 127)
    each = q.dequantize_tensor(values, scale, zero_point, axis=0)

    def relative(back: np.ndarray) -> np.ndarray:
        return np.linalg.norm((back - weight).reshape(8, -1), axis=1) / np.linalg.norm(weight.reshape(8, -1), axis=1)

    assert relative(each).max() < 0.01
    assert relative(whole)[0] == 1  # the smallest filter is all zeros


def constant(name: str, array: np.ndarray) -> str:
    code = {"float32": "f32", "int8": "s8", "uint8": "u8", "int32": "s32"}[array.dtype.name]
    dims = ",".join(map(str, array.shape))
    return f"  {name} = {code}[{dims}]{{{', '.join(str(v) for v in array.ravel().tolist())}}}\n"


def test_integers_only():
    """Y = XW + B: sums of bytes in int32, the bias among them, one multiplication back to bytes (gemmlowp's scheme)."""
    generator = np.random.default_rng(9)
    x = generator.standard_normal((5, 16), dtype=np.float32)
    weight = generator.standard_normal((16, 4), dtype=np.float32)
    bias = generator.standard_normal(4, dtype=np.float32)
    y = x @ weight + bias
    x_q, x_scale, x_zero = q.quantize_tensor(x)
    w_q, w_scale, _ = q.quantize_tensor(weight, symmetric=True)
    y_scale, y_zero = q.choose_scale(float(y.min()), float(y.max()))
    b_q = np.rint(bias / (x_scale * w_scale)).astype(np.int32)

    sums = (x_q.astype(np.int32) - x_zero) @ w_q.astype(np.int32) + b_q
    expected = np.clip(np.rint(sums * np.float64(x_scale * w_scale / y_scale)) + y_zero, 0, 255)

    text = "ir_version 8\nopset 17\ngraph affine(x: u8[5,16]) -> (y: u8[5,4]) {\n"
    text += constant("x_scale", np.float32(x_scale)) + constant("x_zero", np.uint8(x_zero))
    text += constant("w", w_q) + constant("w_scale", np.float32(w_scale)) + constant("b", b_q)
    text += constant("b_scale", np.float32(x_scale * w_scale))
    text += constant("y_scale", np.float32(y_scale)) + constant("y_zero", np.uint8(y_zero))
    text += "  xf = DequantizeLinear(x, x_scale, x_zero)\n  wf = DequantizeLinear(w, w_scale)\n"
    text += (
        "  bf = DequantizeLinear(b, b_scale)\n  yf = Gemm(xf, wf, bf)\n  y = QuantizeLinear(yf, y_scale, y_zero)\n}\n"
    )
    session = q.Session(q.Model.from_text(text))
    assert session.integer_coverage == 1
    (result,) = session.run(None, {"x": x_q})
    assert np.abs(result.astype(int) - expected).max() <= 1  # the product of scales is rounded to fp32 in the engine
    assert np.mean(result == expected) > 0.9
    np.testing.assert_allclose(q.dequantize_tensor(result, y_scale, y_zero), y, atol=0.15)


@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("symmetric", [False, True])
def test_every_width(bits: int, symmetric: bool):
    x = np.linspace(-1, 2, 1001, dtype=np.float32)
    values, scale, zero_point = q.quantize_tensor(x, bits, symmetric)
    assert values.itemsize == (1 if bits <= 8 else 2)
    low, high = (-(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1) if symmetric else (0, 2**bits - 1)
    assert low <= values.min() and values.max() == high
    assert np.abs(q.dequantize_tensor(values, scale, zero_point) - x).max() <= scale * 1.001
    assert (
        q.dequantize_tensor(q.quantize_linear([0.0], scale, zero_point, dtype=values.dtype.name), scale, zero_point)
        == 0
    )


def test_groups():
    x = np.random.default_rng(10).standard_normal((64, 6), dtype=np.float32)
    values, scale, zero_point = q.quantize_tensor(x, 4, axis=0, group=32)
    assert scale.shape == zero_point.shape == (2, 6)
    error = np.abs(q.dequantize_tensor(values, scale, zero_point, axis=0, group=32) - x)
    assert (error <= np.repeat(scale, 32, axis=0)).all()


def test_what_is_taken_and_given():
    values, scale, _ = q.quantize_tensor([[0, 1], [2, 3]])  # lists become float32
    assert values.shape == (2, 2) and scale.shape == ()
    assert q.quantize_tensor(np.float64([0, 1, 3]))[0].tolist() == [0, 85, 255]
    assert values.flags.writeable and values.flags.c_contiguous
    transposed, _, _ = q.quantize_tensor(np.arange(6, dtype=np.float32).reshape(2, 3).T)
    assert transposed.tolist() == [[0, 153], [51, 204], [102, 255]]
    assert q.quantize_tensor(np.float32(3))[0].shape == ()
    assert q.quantize_tensor(np.zeros((0, 3), np.float32))[0].shape == (0, 3)
    with pytest.raises(TypeError, match="x is int32, wanted is float32"):
        q.quantize_tensor(np.arange(3, dtype=np.int32))
    with pytest.raises(q.Error, match="percentile"):
        q.quantize_tensor(FIRST, range="median")
    with pytest.raises(q.Error) as caught:
        q.quantize_tensor([1.0, np.nan])
    assert caught.value.code == "non_finite"
    with pytest.raises(q.Error):
        q.quantize_tensor(FIRST, 17)
