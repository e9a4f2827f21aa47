"""PT2E's operators in ONNX Script. torch's exporter has some of them, but leaves their limits out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir
import torch
from onnxscript.onnx_opset import opset18 as op
from onnxscript.onnx_types import TensorType


def quantize_per_tensor(
    input: TensorType, scale: float, zero_point: int, quant_min: int, quant_max: int, dtype: int
) -> TensorType:
    limits = np.iinfo(onnx_ir.DataType(dtype).numpy())
    if quant_min > limits.min or quant_max < limits.max:
        low, high = (np.float32((limit - zero_point) * scale) for limit in (quant_min, quant_max))
        input = op.Clip(input, _constant(low), _constant(high))
    return op.QuantizeLinear(input, _constant(np.float32(scale)), _zero(zero_point, dtype))


def dequantize_per_tensor(
    input: TensorType,
    scale: float,
    zero_point: int,
    quant_min: int,
    quant_max: int,
    dtype: int,
    out_dtype: int = -1,
) -> TensorType:
    values = op.DequantizeLinear(input, _constant(np.float32(scale)), _zero(zero_point, dtype))
    return values if out_dtype in (-1, None) else op.Cast(values, to=out_dtype)


def quantize_dynamically(values: TensorType) -> TensorType:
    quantized, scale, zero_point = op.DynamicQuantizeLinear(values)
    return op.DequantizeLinear(quantized, scale, zero_point)


def linear_dynamically(
    values: TensorType, weight: TensorType, scales: TensorType, bias: TensorType | None = None
) -> TensorType:
    quantized, scale, zero_point = op.DynamicQuantizeLinear(values)
    sums = op.MatMulInteger(quantized, op.Transpose(weight, perm=[1, 0]), zero_point)
    result = op.Mul(op.Cast(sums, to=1), op.Mul(scale, op.Cast(scales, to=1)))
    return result if bias is None else op.Add(result, bias)


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    decomposed = torch.ops.quantized_decomposed
    return {
        decomposed.quantize_per_tensor.default: quantize_per_tensor,
        decomposed.dequantize_per_tensor.default: dequantize_per_tensor,
        torch.ops.zeropoint.quantize_dynamically.default: quantize_dynamically,
        torch.ops.zeropoint.linear_dynamically.default: linear_dynamically,
    }


def _constant(value: Any) -> Any:
    return op.Constant(value=onnx_ir.tensor(np.asarray(value)))


def _zero(zero_point: int, dtype: int) -> Any:
    return _constant(np.asarray(zero_point, onnx_ir.DataType(dtype).numpy()))
