"""Programs that PT2E quantized, against torch: files of torchao, and programs written with the same operators."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import zeropoint as q
import zeropoint.torch as qt

PROGRAMS = Path(__file__).parents[2] / "tests/data/pt2e"  # tools/make_pt2e.py
ops = torch.ops.quantized_decomposed


@pytest.mark.parametrize("name", ["static", "narrow", "dynamic"])
def test_programs_of_torchao(name: str):
    program = torch.export.load(PROGRAMS / f"{name}.pt2")
    quantized = qt.from_pt2e(program, threads=1)
    assert quantized.model.inputs[0].shape == [2 if name == "static" else "batch", 1, 8, 8]
    types = [node.op_type for node in quantized.model.nodes]
    assert ("DynamicQuantizeLinear" in types) == (name == "dynamic")
    if name == "dynamic":  # convolutions on such values stay in float
        integer = {step.name.partition("/")[0] for step in quantized.session.steps if step.integer and step.macs}
        assert integer == {"wide", "head"}
    else:
        assert quantized.session.integer_coverage == 1
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        images = torch.randn(2, 1, 8, 8, generator=generator) * 2
        with torch.no_grad():
            expected = program.module()(images)
        # A few ties of rounding aside, both calculate the same integers.
        torch.testing.assert_close(quantized(images), expected, rtol=0, atol=2e-3 * float(expected.abs().max()))


class Written(nn.Module):
    """One linear layer between quantizers of the given limits and type."""

    def __init__(self, low: int, high: int, dtype: torch.dtype, zero_point: int, axis: int | None) -> None:
        super().__init__()
        self.limits = (low, high, dtype)
        self.zero_point = zero_point
        self.axis = axis
        generator = torch.Generator().manual_seed(4)
        self.register_buffer("weight", torch.randint(-127, 128, (6, 4), generator=generator, dtype=torch.int8))
        self.register_buffer("scales", torch.rand(6, generator=generator, dtype=torch.float64) / 50 + 0.01)
        self.register_buffer("zeros", torch.zeros(6, dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = ops.quantize_per_tensor.default(x, 0.02, self.zero_point, *self.limits)
        x = ops.dequantize_per_tensor.default(x, 0.02, self.zero_point, *self.limits)
        if self.axis is None:
            weight = ops.dequantize_per_tensor.default(self.weight, 0.015, 0, -127, 127, torch.int8)
        else:
            weight = ops.dequantize_per_channel.default(
                self.weight, self.scales, self.zeros, self.axis, -127, 127, torch.int8
            )
        return nn.functional.linear(x, weight)


@pytest.mark.parametrize(
    ("low", "high", "dtype", "zero_point", "axis"),
    [
        (0, 255, torch.uint8, 100, None),
        (0, 127, torch.uint8, 60, 0),
        (-128, 127, torch.int8, -3, 0),
        (-127, 127, torch.int8, 0, None),
        (-32768, 32767, torch.int16, 0, 0),
    ],
)
def test_limits_and_types(low: int, high: int, dtype: torch.dtype, zero_point: int, axis: int | None):
    module = Written(low, high, dtype, zero_point, axis)
    # Halves of a step are ties, which torch may round the other way: keep away from them.
    steps = torch.arange(-400, 400).reshape(200, 4)
    x = steps * 0.02 + 0.004
    program = torch.export.export(module, (x,))
    quantized = qt.from_pt2e(program, threads=1)
    expected = module(x)
    torch.testing.assert_close(quantized(x), expected, rtol=1e-5, atol=1e-5)
    assert quantized.session.integer_coverage == 1
    clamped = (steps + zero_point < low) | (steps + zero_point > high)
    assert bool(clamped.any()) == (dtype is not torch.int16)  # the limits matter


def test_programs_are_left_as_they_were():
    program = torch.export.load(PROGRAMS / "dynamic.pt2")
    before = str(program.graph)
    qt.from_pt2e(program)
    assert str(program.graph) == before


class Symmetric(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale, zero = ops.choose_qparams_symmetric.tensor(x, -127, 127, 1e-6, torch.int8)
        x = ops.quantize_per_tensor.tensor(x, scale, zero, -127, 127, torch.int8)
        return ops.dequantize_per_tensor.tensor(x, scale, zero, -127, 127, torch.int8)


def test_other_quantizers_are_refused():
    with pytest.raises(q.Error, match="choose_qparams_symmetric") as caught:
        qt.from_pt2e(torch.export.export(Symmetric(), (torch.randn(2, 3),)))
    assert caught.value.code == "unsupported"
    graph = torch.export.export(nn.ReLU(), (torch.randn(2, 3),)).module()
    with pytest.raises(TypeError, match="example_inputs"):
        qt.from_pt2e(graph)
    quantized = qt.from_pt2e(graph, torch.tensor([[-1.0, 2.0, 3.0]] * 2))
    np.testing.assert_array_equal(quantized(torch.tensor([[-1.0, 2.0, 3.0]] * 2)).numpy(), [[0, 2, 3]] * 2)


def test_a_torch_without_the_operators():
    """Their module is private to torch; without it all but from_pt2e works."""
    code = (
        "import sys; sys.modules['torch.ao.quantization.fx._decomposed'] = None\n"
        "import torch, zeropoint, zeropoint.torch as qt\n"
        "module, x = torch.nn.ReLU(), torch.ones(2, 3)\n"
        "print(qt.to_model(module, x).nodes[0].op_type)\n"
        "try:\n    qt.from_pt2e(torch.export.export(module, (x,)))\n"
        "except zeropoint.Error as error:\n    print(error.code, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()[-2:]
    assert first == "Relu" and second.startswith("unsupported") and "quantized_decomposed" in second
