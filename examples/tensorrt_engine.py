#!/usr/bin/env python3
"""A quantized ONNX file for TensorRT: quantized and checked here, its INT8 engine built and run where there is a GPU.

    PYTHONPATH=build/release/python build/venv/bin/python examples/tensorrt_engine.py [--model MODEL] [--data SAMPLES]

Everywhere: quantizes to symmetric int8, makes biases floats again, and checks the graph by the rules for explicit
quantization: int8 only, zero points 0, one scale a tensor for activations and one a channel for weights, every
convolution and matrix product between quantized values. Needs the package onnx.

Where `import tensorrt` works: parses the file (int8 by the Q/DQ nodes, no calibrator), builds the engine, writes it to
MODEL.engine and runs it once, beside zeropoint's result.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import zeropoint as q

try:
    import onnx
    from onnx import numpy_helper
except ImportError:
    raise SystemExit("this example needs the package onnx: pip install onnx") from None

ROOT = Path(__file__).resolve().parents[1]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "tests/data/fmnist_resnet8.onnx")
    parser.add_argument("--data", type=Path, help="samples, as of zeropoint.open_samples; random ones without it")
    parser.add_argument("--output", type=Path, help="the quantized file to write; the engine stands beside it")
    args = parser.parse_args(argv)

    model = q.load(args.model)
    samples = random_samples(model, 32) if args.data is None else q.open_samples(args.data, model)
    recipe = q.recipes.static_w8a8().override(".*", activation=q.int8(range="mse"))
    result = q.quantize(model, samples, recipe)
    output = args.output or Path(tempfile.mkdtemp()) / f"{args.model.stem}.int8.onnx"
    result.model.save(output)
    onnx.save(with_float_biases(onnx.load(output)), output)
    before, after = args.model.stat().st_size, output.stat().st_size
    print(f"{output.name}: {before / 1e3:.1f} kB -> {after / 1e3:.1f} kB ({before / after:.2f}x smaller)")

    scheme = result.qparams[model.inputs[0].name]
    print(f"input: scale {scheme.scale[0]:.6f}, zero point {scheme.zero_point[0]} ({scheme.dtype})")
    problems, found = check(onnx.load(output))
    for kind, count in found.items():
        print(f"{kind:47} {count}")
    print("fits TensorRT's explicit quantization" if not problems else "\n".join(problems))
    feeds = samples[0]
    ours = q.Session(output).run(None, feeds)
    print(f"zeropoint's result:   {summary(ours[0])}")
    if problems:
        return 1
    try:
        import tensorrt  # noqa: F401
    except ImportError:
        print("no TensorRT here: take the file and this script to a machine with a GPU (pip install tensorrt torch)")
        return 0
    theirs = run_engine(output, feeds, model)
    print(f"TensorRT's result:    {summary(theirs)}")
    print(f"largest difference:   {np.abs(theirs - ours[0]).max():.4g}")
    return 0


def random_samples(model: q.Model, count: int) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    shapes = {each.name: [dim if isinstance(dim, int) else 1 for dim in each.shape or []] for each in model.inputs}
    return [
        {name: random.standard_normal(dims, dtype=np.float32) for name, dims in shapes.items()} for _ in range(count)
    ]


def summary(array: np.ndarray) -> str:
    return f"shape {list(array.shape)}, first values {np.array2string(array.ravel()[:4], precision=3)}"


def with_float_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """TensorRT dequantizes int8 only; it takes biases as floats and rounds them itself."""
    graph = model.graph
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    for node in list(graph.node):
        bias = constants.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if bias is not None and bias.dtype == np.int32:
            real = (bias * constants[node.input[1]].astype(np.float64)).astype(np.float32)
            graph.initializer.append(numpy_helper.from_array(real, node.output[0]))
            graph.node.remove(node)
    return model


def check(model: onnx.ModelProto) -> tuple[list[str], dict[str, int]]:
    """What TensorRT would refuse, and how many of what there are."""
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    problems: list[str] = []
    activations, weights, products = 0, 0, 0
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = constants[node.input[2]] if len(node.input) > 2 else np.uint8([0])
            scale = constants[node.input[1]]
            if zero.dtype != np.int8 or np.any(zero != 0):
                problems.append(f"{node.name}: {zero.dtype}, zero point {zero.ravel()[0]}, which must be int8 and 0")
            if node.op_type == "QuantizeLinear" and scale.size != 1:
                problems.append(f"{node.name}: {scale.size} scales for an activation")
            activations += node.op_type == "QuantizeLinear"
            weights += node.op_type == "DequantizeLinear" and node.input[0] in constants
        if node.op_type in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
            plain = [name for name in node.input[:2] if makers.get(name) != "DequantizeLinear"]
            problems += [f"{node.name} ({node.op_type}): '{name}' is not quantized" for name in plain]
            products += not plain
    return problems, {
        "activations in int8, zero point 0, one scale:": activations,
        "weights in int8, zero point 0:": weights,
        "convolutions and products of quantized values:": products,
    }


def run_engine(path: Path, feeds: dict[str, np.ndarray], model: q.Model) -> np.ndarray:
    """The first output. Memory on the GPU is PyTorch's."""
    import tensorrt as trt
    import torch

    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(path.read_bytes()):
        raise SystemExit("\n".join(str(parser.get_error(i)) for i in range(parser.num_errors)))
    config = builder.create_builder_config()
    config.set_flag(trt.BuilderFlag.INT8)  # allowed; the Q/DQ nodes say where
    profile = builder.create_optimization_profile()
    for name, array in feeds.items():
        profile.set_shape(name, array.shape, array.shape, array.shape)
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise SystemExit("TensorRT could not build the engine")
    engine_path = path.with_suffix(".engine")
    engine_path.write_bytes(plan)
    print(f"{engine_path}: {engine_path.stat().st_size / 1e3:.1f} kB")

    engine = trt.Runtime(logger).deserialize_cuda_engine(engine_path.read_bytes())
    context = engine.create_execution_context()
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)).cuda() for name, array in feeds.items()}
    for name, tensor in tensors.items():
        context.set_input_shape(name, tuple(tensor.shape))
        context.set_tensor_address(name, tensor.data_ptr())
    for value in model.outputs:
        tensors[value.name] = torch.empty(tuple(context.get_tensor_shape(value.name)), device="cuda")
        context.set_tensor_address(value.name, tensors[value.name].data_ptr())
    stream = torch.cuda.Stream()
    context.execute_async_v3(stream.cuda_stream)
    stream.synchronize()
    first: np.ndarray = tensors[model.outputs[0].name].cpu().numpy()
    return first


if __name__ == "__main__":
    sys.exit(main())
