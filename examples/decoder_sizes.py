#!/usr/bin/env python3
"""What a decoder weighs at each bit width and group, and what 4 bits cost it.

1. LLaMA-2 7B from its published shape: 27 GB in fp32 (2.8e10 bytes when one says 7 billion). Its graph is written with
   weights that are a hole in a file, so it takes no room on disk; `zeropoint inspect --sizes llama.onnx` reads none.
2. A small decoder really quantized: SmolLM2-135M where build/models has it (tools/setup.sh large), else a tiny one with
   random weights. 8 bits and 4 bits in groups; file, calculated size, error of the logits, same next token, time.
   Files of 4 bits are larger than calculated: the embedding stays in 8 bits, and groups have zero points.

needs: onnx
usage: examples/decoder_sizes.py [--model DECODER.onnx] [--prompts FOLDER] [--keep FOLDER] [--quick]

--quick takes the tiny one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import zeropoint as q

try:
    from onnx import NodeProto, TensorProto, helper, numpy_helper
except ImportError:
    sys.exit("this example builds its models with onnx: pip install onnx")

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Shape:
    """Of a decoder with gated feed-forward layers and RMS norms, as in a LLaMA's config.json."""

    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    heads: int

    def weights(self) -> int:
        """Matrices: embedding, four of attention and three of the feed-forward layer in each layer, head."""
        layer = 4 * self.hidden**2 + 3 * self.hidden * self.intermediate
        return 2 * self.vocabulary * self.hidden + self.layers * layer

    def parameters(self) -> int:
        """With the norms' vectors."""
        return self.weights() + (2 * self.layers + 1) * self.hidden


LLAMA_2_7B = Shape(layers=32, hidden=4096, intermediate=11008, vocabulary=32000, heads=32)
TINY = Shape(layers=4, hidden=256, intermediate=688, vocabulary=4096, heads=8)


class Decoder:
    """The graph, operator by operator; `weight` makes an initializer of a name and dimensions."""

    def __init__(self, shape: Shape, weight: Callable[[str, tuple[int, ...]], TensorProto], tokens: int) -> None:
        self.shape, self.weight, self.nodes = shape, weight, list[NodeProto]()
        self.tensors = list[TensorProto]()
        self.constants: dict[str, np.ndarray] = {
            "eps": np.array([1e-5], np.float32),
            "heads": np.array([0, 0, shape.heads, -1]),
            "joined": np.array([0, 0, -1]),
            "root": np.array([(shape.hidden // shape.heads) ** -0.5], np.float32),
            "mask": np.triu(np.full((tokens, tokens), -1e4, np.float32), 1),
        }
        x = self.add("Gather", self.matrix("embedding", shape.vocabulary, shape.hidden), "input_ids")
        for i in range(shape.layers):
            x = self.add("Add", x, self.attention(f"layer{i}.attention", self.norm(f"layer{i}.attention.norm", x)))
            x = self.add("Add", x, self.feed_forward(f"layer{i}.mlp", self.norm(f"layer{i}.mlp.norm", x)))
        logits = self.product("head", self.norm("norm", x), shape.hidden, shape.vocabulary)
        graph = helper.make_graph(
            self.nodes,
            "decoder",
            [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["N", tokens])],
            [helper.make_tensor_value_info(logits, TensorProto.FLOAT, ["N", tokens, shape.vocabulary])],
            self.tensors + [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        self.file: bytes = model.SerializeToString()

    def add(self, op_type: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        output = name or f"{op_type.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output

    def matrix(self, name: str, *dims: int) -> str:
        self.tensors.append(self.weight(f"{name}.weight", dims))
        return f"{name}.weight"

    def product(self, name: str, x: str, depth: int, columns: int) -> str:
        return self.add("MatMul", x, self.matrix(name, depth, columns), name=name)

    def norm(self, name: str, x: str) -> str:
        mean = self.add("ReduceMean", self.add("Mul", x, x), axes=[-1])
        scaled = self.add("Div", x, self.add("Sqrt", self.add("Add", mean, "eps")))
        return self.add("Mul", scaled, self.matrix(name, self.shape.hidden))

    def attention(self, name: str, x: str) -> str:
        """Causal. Positions are left out: they have no weights."""
        hidden = self.shape.hidden
        query, key, value = (
            self.add("Reshape", self.product(f"{name}.{part}", x, hidden, hidden), "heads")
            for part in ("query", "key", "value")
        )
        query, value = (self.add("Transpose", each, perm=[0, 2, 1, 3]) for each in (query, value))
        scores = self.add("MatMul", query, self.add("Transpose", key, perm=[0, 2, 3, 1]))
        scores = self.add("Add", self.add("Mul", scores, "root"), "mask")
        mixed = self.add("MatMul", self.add("Softmax", scores, axis=-1), value)
        joined = self.add("Reshape", self.add("Transpose", mixed, perm=[0, 2, 1, 3]), "joined")
        return self.product(f"{name}.output", joined, hidden, hidden)

    def feed_forward(self, name: str, x: str) -> str:
        hidden, intermediate = self.shape.hidden, self.shape.intermediate
        gate = self.product(f"{name}.gate", x, hidden, intermediate)
        gate = self.add("Mul", gate, self.add("Sigmoid", gate))
        up = self.product(f"{name}.up", x, hidden, intermediate)
        return self.product(f"{name}.down", self.add("Mul", gate, up), intermediate, hidden)


def write_without_weights(shape: Shape, folder: Path) -> Path:
    """llama.onnx, and llama.data beside it, as long as the weights and empty."""
    length = 0

    def hole(name: str, dims: tuple[int, ...]) -> TensorProto:
        nonlocal length
        size = 4 * int(np.prod(dims))
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
        for key, value in {"location": "llama.data", "offset": str(length), "length": str(size)}.items():
            tensor.external_data.add(key=key, value=value)
        length += size
        return tensor

    (folder / "llama.onnx").write_bytes(Decoder(shape, hole, tokens=16).file)
    with open(folder / "llama.data", "wb") as data:
        data.truncate(length)
    return folder / "llama.onnx"


def megabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.2f} MB"


def print_sizes(sizes: dict[str, int]) -> None:
    """A line a width, a column a group."""
    print("          a channel       g128        g64        g32      fp32 / g32")
    for width in dict.fromkeys(name.split()[0] for name in sizes):
        row = [bytes_ for name, bytes_ in sizes.items() if name.split()[0] == width]
        ratio = f"  {sizes['fp32'] / row[-1]:10.2f}" if len(row) > 1 else ""
        print(f"  {width:5}" + "".join(f" {megabytes(each):>10}" for each in row) + ratio)


def llama(folder: Path) -> None:
    print(f"LLaMA-2 7B: {LLAMA_2_7B}")
    print(f"{LLAMA_2_7B.parameters():,} parameters, of them {LLAMA_2_7B.weights():,} in matrices")
    path = write_without_weights(LLAMA_2_7B, folder)
    start = time.perf_counter()
    inspection = q.inspect(path)
    assert inspection.quantizable_parameters == LLAMA_2_7B.weights(), inspection.quantizable_parameters
    print(f"zeropoint inspect --sizes, {time.perf_counter() - start:.2f} s:")
    print_sizes(inspection.sizes)


def tiny(folder: Path) -> Path:
    generator = np.random.default_rng(0)

    def draw(name: str, dims: tuple[int, ...]) -> TensorProto:
        values = generator.standard_normal(dims, dtype=np.float32)
        values = values / np.float32(np.sqrt(dims[0])) if len(dims) == 2 else np.ones(dims, np.float32)
        return numpy_helper.from_array(values, name)

    (folder / "tiny.onnx").write_bytes(Decoder(TINY, draw, tokens=16).file)
    return folder / "tiny.onnx"


def milliseconds(session: q.Session, feeds: dict[str, np.ndarray]) -> float:
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        session.run(None, feeds)
        best = min(best, time.perf_counter() - start)
    return 1e3 * best


def quantize(path: Path, prompts: list[dict[str, np.ndarray]], folder: Path) -> None:
    model = q.load(path)
    sizes = q.inspect(model).sizes
    print(f"\n{path.name}")
    print_sizes(sizes)
    feeds = prompts[0]
    session = q.Session(model)
    expected = [session.run(None, prompt)[0] for prompt in prompts]
    print(
        f"{'':22}  calculated       file   ratio     SQNR   same next token   one run of {expected[0].shape[1]} tokens"
    )
    print(f"{'fp32':22} {megabytes(sizes['fp32']):>11} {'':35} {milliseconds(session, feeds):21.1f} ms")
    for recipe, width in {
        q.recipes.weight_only_w8(): "int8",
        q.recipes.weight_only_w4(128): "int4 g128",
        q.recipes.weight_only_w4(32): "int4 g32",
    }.items():
        quantized = q.quantize(model, recipe=recipe)
        out = folder / f"{path.stem}.{recipe.name}.onnx"
        quantized.model.save(out)
        session = q.Session(out)
        noise = signal = same = count = 0.0
        for prompt, logits in zip(prompts, expected, strict=True):
            (result,) = session.run(None, prompt)
            signal += float(np.vdot(logits, logits))
            noise += float(np.sum((result - logits) ** 2))
            same += float(np.sum(result.argmax(axis=-1) == logits.argmax(axis=-1)))
            count += logits.shape[0] * logits.shape[1]
        size = out.stat().st_size
        print(
            f"{recipe.name:22} {megabytes(sizes[width]):>11} {megabytes(size):>10}  {sizes['fp32'] / size:6.2f}"
            f"  {10 * np.log10(signal / noise):4.1f} dB  {100 * same / count:15.1f} %"
            f"  {milliseconds(session, feeds):19.1f} ms"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="what a decoder weighs at each bit width, and what 4 bits cost it")
    parser.add_argument("--model", type=Path, default=ROOT / "build/models/smollm2_135m.onnx")
    parser.add_argument("--prompts", type=Path, default=ROOT / "build/data/prompts", help="samples for it")
    parser.add_argument("--keep", type=Path, help="keep the files there")
    parser.add_argument("--quick", action="store_true", help="the tiny decoder, whatever is there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        llama(folder)
        if not arguments.quick and arguments.model.exists():
            samples = q.open_samples(arguments.prompts, arguments.model)
            quantize(arguments.model, [samples[i] for i in range(min(2, len(samples)))], folder)
        else:
            generator = np.random.default_rng(1)
            prompts = [{"input_ids": generator.integers(0, TINY.vocabulary, (4, 16))} for _ in range(4)]
            quantize(tiny(folder), prompts, folder)


if __name__ == "__main__":
    main()
