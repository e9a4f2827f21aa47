#!/usr/bin/env python3
"""Makes tests/data/foreign: quantized files as other quantizers write them, small enough to commit.

    python tools/make_foreign.py [PRODUCER...] [--out tests/data/foreign]

PRODUCER is onnxruntime, nncf, torch or quark; all four without an argument. The tests need only the files.
Made with onnxruntime 1.32.0, nncf 3.4.0, torch 2.13.0, torchao 0.18.0, onnxscript 0.7.2, amd-quark 0.13, onnx 1.23.2:
`pip install --no-deps torchao==0.18.0 amd-quark==0.13` on top of tools/setup.sh. Each file's doc_string says how it was
made. torchao's dynamic quantizers are missing: torch's exporter has no ONNX form of choose_qparams.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from blobs import blobs

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests/data"
Files = Iterator[tuple[str, onnx.ModelProto, str]]  # name, model, how it was made


class Reader:
    """Calibration data in the form that onnxruntime and Quark take."""

    def __init__(self, samples: list[dict[str, np.ndarray]]):
        self.samples = samples
        self.rewind()

    def rewind(self) -> None:
        self.rest = iter(self.samples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.rest, None)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return iter(self.samples)

    def __next__(self) -> dict[str, np.ndarray]:
        return next(self.rest)

    def __len__(self) -> int:
        return len(self.samples)


def samples_of(model: onnx.ModelProto, count: int = 8) -> list[dict[str, np.ndarray]]:
    (graph_input,) = [v for v in model.graph.input if v.name not in {i.name for i in model.graph.initializer}]
    return [{graph_input.name: x[None]} for x in blobs(count, seed=1)]


def mixed_network(opset: int = 17) -> onnx.ModelProto:
    """One of each thing that quantizers treat in its own way: a picture [N,1,28,28] -> 10 numbers."""
    rng = np.random.default_rng(7)
    constants: dict[str, np.ndarray] = {}
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, value) -> str:
        constants[name] = np.asarray(value)
        return name

    def weights(name: str, *dims: int, spread: float = 1.0) -> str:
        fan = np.prod(dims[1:]) if len(dims) > 2 else dims[0]
        return constant(name, (rng.standard_normal(dims) * spread / np.sqrt(fan)).astype(np.float32))

    def node(op: str, inputs: list[str], output: str, **attributes) -> str:
        nodes.append(helper.make_node(op, inputs, [output], name=f"{output}_{op}", **attributes))
        return output

    def floats(name: str, *values: float) -> str:
        return constant(name, np.array(values if len(values) > 1 else values[0], np.float32))

    def ints(name: str, *values: int) -> str:
        return constant(name, np.array(values, np.int64))

    # Convolutions: dense with a padded border, one channel almost zero; depthwise; grouped and dilated.
    weights("w1", 12, 1, 3, 3)
    constants["w1"][3] *= 1e-9
    constant("b1", rng.uniform(-0.3, 0.3, 12).astype(np.float32))
    x = node("Conv", ["images", "w1", "b1"], "c1", strides=[2, 2], pads=[1, 1, 1, 1])
    x = node("Relu", [x], "r1")
    x = node("Conv", [x, weights("w2", 12, 1, 3, 3), weights("b2", 12, spread=0.3)], "c2", group=12, pads=[1] * 4)
    x = node("Clip", [x, floats("zero", 0.0), floats("six", 6.0)], "clip2")
    left = node("Conv", [x, weights("w3", 12, 12, 1, 1), weights("b3", 12)], "c3")
    right = node("Conv", [x, weights("w4", 12, 6, 3, 3)], "c4", group=2, dilations=[2, 2], pads=[2] * 4)
    x = node("Add", [left, right], "sum")
    x = node("Relu", [x], "r4")
    # A gate as in squeeze-and-excitation, with swish behind it.
    gate = node("GlobalAveragePool", [x], "mean")
    gate = node("Conv", [gate, weights("w5", 12, 12, 1, 1), weights("b5", 12)], "c5")
    gate = node("Sigmoid", [gate], "gate")
    x = node("Mul", [x, gate], "gated")
    swish = node("Mul", [x, node("Sigmoid", [x], "sigmoid")], "swish")
    # Pools, a join of different ranges, a resize, padding.
    a = node("MaxPool", [swish], "max", kernel_shape=[2, 2], strides=[2, 2])
    b = node("AveragePool", [x], "average", kernel_shape=[2, 2], strides=[2, 2])
    x = node("Concat", [a, b], "joined", axis=1)
    x = node("ConvTranspose", [x, weights("w6", 24, 8, 2, 2, spread=0.4)], "up", strides=[2, 2])
    x = node("LeakyRelu", [x], "leaky", alpha=0.125)
    x = node("AveragePool", [x], "down", kernel_shape=[2, 2], strides=[2, 2])
    # 49 tokens: attention, LayerNormalization, Gelu by Erf, Gemm with transB.
    x = node("Reshape", [x, ints("tokens", -1, 8, 49)], "flat")
    x = node("Transpose", [x], "turned", perm=[0, 2, 1])
    query = node("MatMul", [x, weights("wq", 8, 16)], "query")
    key = node("MatMul", [x, weights("wk", 8, 16)], "key")
    value = node("MatMul", [x, weights("wv", 8, 16)], "value")
    scores = node("MatMul", [query, node("Transpose", [key], "key_turned", perm=[0, 2, 1])], "scores")
    scores = node("Mul", [scores, floats("quarter", 0.25)], "scaled")
    x = node("MatMul", [node("Softmax", [scores], "weights", axis=-1), value], "context")
    x = node(
        "LayerNormalization",
        [x, constant("gain", rng.uniform(0.5, 1.5, 16).astype(np.float32)), weights("offset", 16)],
        "normal",
        axis=-1,
    )
    hidden = node("MatMul", [x, weights("wh", 16, 32)], "hidden_product")
    hidden = node("Add", [hidden, weights("bh", 32)], "hidden")
    erf = node("Erf", [node("Div", [hidden, floats("root2", 2**0.5)], "scaled_hidden")], "erf")
    hidden = node("Mul", [hidden, node("Add", [erf, floats("one", 1.0)], "erf1")], "gelu2")
    hidden = node("Mul", [hidden, floats("half", 0.5)], "gelu")
    x = node("Add", [x, node("MatMul", [hidden, weights("wo", 32, 16)], "narrow")], "residual")
    x = node("ReduceMean", [x], "pooled", axes=[1], keepdims=0)
    node("Gemm", [x, weights("wl", 10, 16), weights("bl", 10)], "logits", transB=1)

    graph = helper.make_graph(
        nodes,
        "mixed",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def float_networks() -> dict[str, onnx.ModelProto]:
    return {name: onnx.load(DATA / f"fmnist_{name}.onnx") for name in ("dscnn", "resnet8", "vit", "lstm")} | {
        "mixed": mixed_network()
    }


# ---- ONNX Runtime


def prepared(model: onnx.ModelProto, opset: int | None = None) -> onnx.ModelProto:
    """BatchNormalization folded and shapes inferred, as onnxruntime's documentation asks for before quantization."""
    from onnxruntime.quantization import quant_pre_process

    if opset:
        model = onnx.version_converter.convert_version(model, opset)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "a.onnx", Path(folder) / "b.onnx"
        onnx.save(model, source)
        quant_pre_process(str(source), str(target), skip_symbolic_shape=True)
        return onnx.load(target)


def static(model: onnx.ModelProto, **options) -> onnx.ModelProto:
    from onnxruntime.quantization import quantize_static

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "q.onnx"
        quantize_static(model, target, Reader(samples_of(model)), **options)
        return onnx.load(target)


def onnxruntime_files() -> Files:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        DefaultWeightOnlyQuantConfig,
        MatMulNBitsQuantizer,
    )

    networks = float_networks()
    types = {"u8": QuantType.QUInt8, "s8": QuantType.QInt8, "u16": QuantType.QUInt16, "s16": QuantType.QInt16}
    types |= {"s4": QuantType.QInt4, "u4": QuantType.QUInt4}
    formats = {"qdq": QuantFormat.QDQ, "qoperator": QuantFormat.QOperator}

    def statically(network: str, activation: str, weight: str, per_channel: bool, format: str, opset=None, **extra):
        options = {
            "activation_type": types[activation],
            "weight_type": types[weight],
            "per_channel": per_channel,
            "quant_format": formats[format],
            "extra_options": extra,
        }
        words = ", ".join(f"{k}={v}" for k, v in options.items())
        tags = "".join(
            f"_{k.lower()}" if v is True else f"_no{k.lower()}" if v is False else "" for k, v in extra.items()
        )
        name = f"ort_{network}_{activation}{weight}_{'channel' if per_channel else 'tensor'}_{format}{tags}"
        return name + (f"_opset{opset}" if opset else ""), static(prepared(networks[network], opset), **options), words

    # All combinations of types, granularity and format on the network of everything; the real networks in some.
    for (activation, weight), per_channel, format in itertools.product(
        [("u8", "u8"), ("u8", "s8"), ("s8", "s8")], [False, True], ["qdq", "qoperator"]
    ):
        yield statically("mixed", activation, weight, per_channel, format)
    yield statically("dscnn", "u8", "s8", True, "qdq")
    yield statically("dscnn", "u8", "u8", False, "qoperator")
    yield statically("resnet8", "s8", "s8", True, "qdq")
    yield statically("mixed", "u8", "s8", True, "qdq", WeightSymmetric=False)
    yield statically("mixed", "s8", "s8", True, "qdq", ActivationSymmetric=True)
    yield statically("mixed", "u8", "s8", False, "qdq", DedicatedQDQPair=True)
    yield statically("mixed", "u8", "s8", True, "qdq", QuantizeBias=False)
    yield statically("mixed", "u8", "s8", False, "qdq", AddQDQPairToWeight=True)
    # 16-bit activations and 4-bit weights, in com.microsoft and in ONNX's own opset 21.
    for activation, weight in (
        ("u16", "u8"),
        ("s16", "s8"),
        ("u16", "u16"),
        ("s16", "s16"),
        ("u8", "s4"),
        ("u16", "u4"),
    ):
        yield statically("mixed", activation, weight, False, "qdq")
    for activation, weight in (("u16", "u8"), ("s16", "s8"), ("u8", "s4"), ("s8", "u4")):
        yield statically("mixed", activation, weight, True, "qdq", opset=21)

    for network in ("mixed", "vit"):
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "q.onnx"
            quantize_dynamic(
                prepared(networks[network]), target, weight_type=QuantType.QInt8, per_channel=network == "vit"
            )
            yield f"ort_{network}_dynamic", onnx.load(target), "quantize_dynamic, s8"

    for bits, symmetric, block in itertools.product([4, 8], [True, False], [16, 32, 128]):
        if bits == 8 and block == 128:
            continue
        config = DefaultWeightOnlyQuantConfig(block_size=block, is_symmetric=symmetric, bits=bits)
        quantizer = MatMulNBitsQuantizer(prepared(networks["mixed"]), algo_config=config)
        quantizer.process()
        kind = "symmetric" if symmetric else "asymmetric"
        yield (
            f"ort_mixed_nbits{bits}_{kind}_block{block}",
            quantizer.model.model,
            f"MatMulNBits, {bits} bits, {kind}, {block}",
        )
    for symmetric, block in itertools.product([True, False], [16, 32]):
        config = DefaultWeightOnlyQuantConfig(
            block_size=block, is_symmetric=symmetric, bits=4, quant_format=QuantFormat.QDQ
        )
        quantizer = MatMulNBitsQuantizer(prepared(networks["mixed"], 21), algo_config=config)
        quantizer.process()
        kind = "symmetric" if symmetric else "asymmetric"
        yield (
            f"ort_mixed_blocked4_{kind}_block{block}",
            quantizer.model.model,
            f"DequantizeLinear, 4 bits, {kind}, {block}",
        )


# ---- NNCF


def nncf_files() -> Files:
    import nncf

    nncf.set_log_level(logging.ERROR)
    networks = float_networks()

    def static_of(network: str, tag: str, **options):
        model = onnx.version_converter.convert_version(networks[network], 17)
        data = nncf.Dataset(samples_of(model))
        return f"nncf_{network}_{tag}", nncf.quantize(model, data, subset_size=8, **options), str(options)

    presets = {"performance": nncf.QuantizationPreset.PERFORMANCE, "mixed": nncf.QuantizationPreset.MIXED}
    for tag, preset in presets.items():
        yield static_of("dscnn", tag, preset=preset, target_device=nncf.TargetDevice.CPU)
        yield static_of("mixed", tag, preset=preset, target_device=nncf.TargetDevice.ANY)
    yield static_of("mixed", "transformer", model_type=nncf.ModelType.TRANSFORMER)
    # Of Conv it writes scales of three dimensions, of Gemm with transB a wrong axis of blocks: both are no ONNX.
    products = nncf.IgnoredScope(types=["Conv", "ConvTranspose", "Gemm"])
    for mode in ("INT8_ASYM", "INT8_SYM", "INT4_SYM", "INT4_ASYM"):
        options = {"mode": getattr(nncf.CompressWeightsMode, mode)}
        if mode.startswith("INT4"):
            options |= {"group_size": 8, "all_layers": True, "ratio": 1.0}
        model = onnx.version_converter.convert_version(networks["mixed"], 21)
        compressed = nncf.compress_weights(model, ignored_scope=products, **options)
        yield f"nncf_mixed_{mode.lower()}", compressed, f"compress_weights {options}"


# ---- PyTorch


def torch_files() -> Files:
    import torch
    import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer as x86
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import X86InductorQuantizer

    torch.manual_seed(0)

    class Pictures(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = torch.nn.Conv2d(1, 12, 3, 2, 1)
            self.depthwise = torch.nn.Conv2d(12, 12, 3, 1, 1, groups=12)
            self.point = torch.nn.Conv2d(12, 12, 1)
            self.pool = torch.nn.MaxPool2d(2)
            self.head = torch.nn.Linear(12 * 49, 10)

        def forward(self, x):
            x = torch.relu(self.stem(x))
            x = torch.nn.functional.hardtanh(self.depthwise(x), 0, 6)
            x = torch.relu(x + self.point(x))
            return self.head(torch.flatten(self.pool(x), 1))

    class Tokens(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.into = torch.nn.Linear(28, 32)
            self.norm = torch.nn.LayerNorm(32)
            self.wide = torch.nn.Linear(32, 64)
            self.narrow = torch.nn.Linear(64, 32, bias=False)
            self.head = torch.nn.Linear(32, 10)

        def forward(self, x):
            x = self.into(x.squeeze(1))
            x = x + self.narrow(torch.nn.functional.gelu(self.wide(self.norm(x))))
            x = torch.softmax(x @ x.transpose(1, 2) * 0.05, -1) @ x
            return self.head(x.mean(1))

    def export(module: torch.nn.Module, quantizer, opset: int):
        module.eval()
        images = [torch.from_numpy(x[None]) for x in blobs(8, seed=1)]
        exported = torch.export.export(module, (images[0],)).module()
        observed = prepare_pt2e(exported, quantizer)
        for image in images:
            observed(image)
        program = torch.onnx.export(
            convert_pt2e(observed),
            (images[0],),
            dynamo=True,
            opset_version=opset,
            input_names=["images"],
            output_names=["logits"],
            verbose=False,
        )
        return program.model_proto

    for name, module in (("pictures", Pictures()), ("tokens", Tokens())):
        for opset in (18, 21):
            quantizer = X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
            yield f"pt2e_{name}_x86_opset{opset}", export(module, quantizer, opset), "X86InductorQuantizer, default"


# ---- AMD Quark


def quark_files() -> Files:
    from quark.onnx import ModelQuantizer
    from quark.onnx.quantization.config import Config
    from quark.onnx.quantization.config.custom_config import get_default_config

    networks = float_networks()
    for network, preset in itertools.product(
        ("dscnn", "mixed"),
        ("XINT8", "S8S8_AAWS", "U8S8_AAWS", "U8U8_AAWA", "A8W8", "S16S8_ASWS", "A16W8", "U16S8_AAWS"),
    ):
        if network == "dscnn" and preset not in ("XINT8", "A8W8"):
            continue
        try:
            config = get_default_config(preset)
        except (KeyError, ValueError) as e:
            print(f"quark: no preset {preset}: {e}")
            continue
        model = prepared(networks[network])
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "a.onnx", Path(folder) / "q.onnx"
            onnx.save(model, source)
            ModelQuantizer(Config(global_quant_config=config)).quantize_model(
                str(source), str(target), Reader(samples_of(model))
            )
            yield f"quark_{network}_{preset.lower()}", onnx.load(target), f"quark.onnx, {preset}"


PRODUCERS: dict[str, Callable[[], Files]] = {
    "onnxruntime": onnxruntime_files,
    "nncf": nncf_files,
    "torch": torch_files,
    "quark": quark_files,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("producer", nargs="*", choices=[*PRODUCERS, []], default=list(PRODUCERS))
    parser.add_argument("--out", type=Path, default=DATA / "foreign")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for producer in arguments.producer:
        for name, model, how in PRODUCERS[producer]():
            model.doc_string = how
            del model.metadata_props[:]
            del model.graph.value_info[:]
            for node in model.graph.node:
                del node.metadata_props[:]
                node.ClearField("doc_string")
            path = arguments.out / f"{name}.onnx"
            onnx.save(model, path)
            print(f"{path.stat().st_size:8} {path.name}", flush=True)


if __name__ == "__main__":
    main()
