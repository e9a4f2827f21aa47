"""Models that PT2E (torchao.quantization.pt2e) quantized, as zeropoint models."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import torch
from torch import fx

import zeropoint as q

from .export import Inputs, export, split_inputs
from .quantized import Calling, QuantizedModule

with contextlib.suppress(ImportError):  # private to torch: nothing but from_pt2e may depend on it
    import torch.ao.quantization.fx._decomposed  # defines the operators quantized_decomposed

_DECOMPOSED = torch.ops.quantized_decomposed


def from_pt2e(
    program: torch.export.ExportedProgram | fx.GraphModule,
    example_inputs: Inputs | None = None,
    *,
    input_names: list[str] | None = None,
    output_names: list[str] | None = None,
    threads: int = 0,
) -> QuantizedModule:
    """Reads a quantized program as PT2E makes it, and runs it in integers.

    program: what ``convert_pt2e`` returns, or what torch.export makes (or ``torch.export.load`` reads) of that.
    example_inputs: as for ``to_model``; an ExportedProgram knows its own.
    input_names, output_names: of the model's inputs and outputs.

    Quantizers become QuantizeLinear and DequantizeLinear with the program's scales, zero points and integer weights;
    limits narrower than the integer type's become a Clip in front. Ranges chosen at run time (``choose_qparams``,
    asymmetric, 8 bits) become DynamicQuantizeLinear, and linear layers behind them MatMulInteger. torch multiplies by
    1 / scale where ONNX divides by the scale, so a value in the middle between two integers may go to the other one.

    Raises Error ``unsupported`` for programs with other quantizers, and where torch lacks PT2E's operators.
    """
    if not hasattr(_DECOMPOSED, "quantize_per_tensor"):
        message = f"torch {torch.__version__} does not define the operators quantized_decomposed that PT2E writes"
        raise q.Error("unsupported", "program", message)
    program = _exported(program, example_inputs) if isinstance(program, fx.GraphModule) else copy.deepcopy(program)
    _join_dynamic(program.graph_module)
    _join_linear(program)
    from ._quantized_decomposed import translations

    exported = export(
        program,
        (),
        input_names=input_names,
        output_names=output_names,
        opset=21,  # the first with 16-bit integers
        translations=translations(),
    )
    return QuantizedModule(exported.model, calling=Calling.of_program(exported), threads=threads)


def _exported(module: fx.GraphModule, example_inputs: Inputs | None) -> torch.export.ExportedProgram:
    """With the open dimensions that the module was captured with."""
    captured = [node.meta.get("val") for node in module.graph.nodes if node.op == "placeholder"]
    if example_inputs is None:
        raise TypeError("give example_inputs, or torch.export.export(module, inputs) in place of the module")
    args, kwargs = split_inputs(example_inputs)
    tensors = [value for value in captured if isinstance(value, torch.Tensor)]
    shapes: tuple[Any, ...] | None = None
    if not kwargs and len(tensors) == len(args) and all(isinstance(arg, torch.Tensor) for arg in args):
        shapes = tuple(
            {axis: torch.export.Dim.AUTO for axis, size in enumerate(value.shape) if not isinstance(size, int)}
            for value in tensors
        )
    with torch.no_grad():
        return torch.export.export(module, args, kwargs, dynamic_shapes=shapes, strict=False)


@torch.library.custom_op("zeropoint::quantize_dynamically", mutates_args=())
def _quantize_dynamically(values: torch.Tensor) -> torch.Tensor:
    """values, quantized to 8 bits over the range that they have, and dequantized."""
    scale, zero_point = _DECOMPOSED.choose_qparams.tensor(values, 0, 255, torch.finfo(torch.float32).eps, torch.uint8)
    limits = (scale, zero_point, 0, 255, torch.uint8)
    return _DECOMPOSED.dequantize_per_tensor.tensor(_DECOMPOSED.quantize_per_tensor.tensor(values, *limits), *limits)


@_quantize_dynamically.register_fake
def _(values: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(values)


@torch.library.custom_op("zeropoint::linear_dynamically", mutates_args=())
def _linear_dynamically(
    values: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """A linear layer on values quantized as above; weight: integers [outputs, inputs], scales: one for each output."""
    real = weight.float() * scales.float().reshape(-1, 1)
    return torch.nn.functional.linear(_quantize_dynamically(values), real, bias)


@_linear_dynamically.register_fake
def _(
    values: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    return values.new_empty((*values.shape[:-1], weight.shape[0]))


def _join_linear(program: torch.export.ExportedProgram) -> None:
    """Linear layers on values quantized at run time, with symmetric weights: ONNX has a product of integers."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.target is not torch.ops.aten.linear.default:
            continue
        values, weight, bias = (*node.args, None)[:3]
        if values.target is not torch.ops.zeropoint.quantize_dynamically.default:
            continue
        if weight.target is not _DECOMPOSED.dequantize_per_channel.default or weight.args[3] != 0:
            continue
        integers, scales, zero_points = weight.args[:3]
        zeros = None if zero_points is None else _constant(program, zero_points)
        if zero_points is not None and (zeros is None or bool(zeros.any())):
            continue
        with graph.inserting_before(node):
            joined = graph.call_function(
                torch.ops.zeropoint.linear_dynamically.default, (values.args[0], integers, scales, bias)
            )
        joined.meta = dict(node.meta)
        node.replace_all_uses_with(joined)
    graph.eliminate_dead_code()
    graph.lint()
    program.graph_module.recompile()


def _constant(program: torch.export.ExportedProgram, node: fx.Node) -> torch.Tensor | None:
    """What a program's placeholder for a parameter, buffer or constant stands for."""
    signature = program.graph_signature
    for names in (
        signature.inputs_to_parameters,
        signature.inputs_to_buffers,
        signature.inputs_to_lifted_tensor_constants,
    ):
        if node.name in names:
            name = names[node.name]
            value = program.state_dict.get(name, program.constants.get(name))
            return value if isinstance(value, torch.Tensor) else None
    return None


def _join_dynamic(module: fx.GraphModule) -> None:
    """choose_qparams, quantize and dequantize in one, since that is what ONNX has an operator for.

    int8 in [-128, 127] stands for the same real numbers as uint8 in [0, 255].
    """
    graph = module.graph
    for node in list(graph.nodes):
        if node.target is not _DECOMPOSED.dequantize_per_tensor.tensor:
            continue
        quantized, scale = node.args[0], node.args[1]
        if quantized.target is not _DECOMPOSED.quantize_per_tensor.tensor:
            continue
        chosen = scale.args[0] if scale.op == "call_function" and scale.target.__name__ == "getitem" else None
        if chosen is None or chosen.target is not _DECOMPOSED.choose_qparams.tensor:
            continue
        values, low, high = chosen.args[0], chosen.args[1], chosen.args[2]
        if quantized.args[0] is not values or (low, high) not in ((0, 255), (-128, 127)):
            continue
        with graph.inserting_before(node):
            joined = graph.call_function(torch.ops.zeropoint.quantize_dynamically.default, (values,))
        joined.meta = dict(node.meta)
        node.replace_all_uses_with(joined)
    graph.eliminate_dead_code()
    graph.lint()
    module.recompile()
    left = {
        str(node.target) for node in graph.nodes if node.op == "call_function" and "choose_qparams" in str(node.target)
    }
    if left:
        message = f"no ONNX operator does {', '.join(sorted(left))} with these limits"
        raise q.Error("unsupported", "program", message)
