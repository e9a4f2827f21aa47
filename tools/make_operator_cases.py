"""Writes models with inputs and expected outputs, one folder a case, in the layout of ONNX's backend tests.

    python tools/make_operator_cases.py FOLDER

FOLDER/onnx: the operator cases of the `onnx` package (its own reference values).
FOLDER/counted.txt: which of the `onnx` package's cases are tests of the operators below on plain tensors in opsets 7 to 26.
FOLDER/onnxruntime: seeded cases of quantized operators, full of ties, whose outputs ONNX Runtime computed; without the
`onnxruntime` package this part is left out.
FOLDER/opsets: seeded nodes in all versions of opsets 7 to 26 and all element types (old_opset_cases.py).
"""

import argparse
import json
import pathlib
import platform
import shutil
import sys
import warnings

import numpy as np
import old_opset_cases
import onnx
import operator_cases_contrib
from onnx import TensorProto, helper, numpy_helper

SEED = 20240613

# What zeropoint runs of ONNX.
OPERATORS = set(
    """
Abs Acos Add And ArgMax ArgMin Asin Atan Attention AveragePool BatchNormalization Cast CastLike Ceil Clip
Concat Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos CumSum DepthToSpace DequantizeLinear Div Dropout
DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm
GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Identity If
InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop LpNormalization
MatMul MatMulInteger Max MaxPool Mean Min Mish Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow QLinearConv
QLinearMatMul QuantizeLinear RMSNormalization RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean
ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize RotaryEmbedding Round ScatterElements ScatterND Selu Shape
Sigmoid Sign Sin Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tanh Tile TopK Transpose
Trilu Unsqueeze Where Xor
    """.split()
)


def write_case(folder, model, data_sets, exact=False, most_steps=0):
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    if exact or most_steps:
        (folder / "tolerance.json").write_text(json.dumps({"steps": most_steps}))
    for number, (inputs, outputs) in enumerate(data_sets):
        data = folder / f"test_data_set_{number}"
        data.mkdir()
        for kind, values, infos in (("input", inputs, model.graph.input), ("output", outputs, model.graph.output)):
            for i, value in enumerate(values):
                if isinstance(value, onnx.TensorProto):
                    proto = value
                elif isinstance(value, np.ndarray | np.generic):
                    proto = numpy_helper.from_array(np.asarray(value), infos[i].name)
                else:
                    return False  # sequences, maps, optionals
                (data / f"{kind}_{i}.pb").write_bytes(proto.SerializeToString())
    return True


def write_onnx_cases(folder):
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    for case in cases:
        if case.model is not None and case.data_sets and not write_case(folder / case.name, case.model, case.data_sets):
            shutil.rmtree(folder / case.name)


def nodes_of(graph):
    """Nodes of subgraphs too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in [attribute.g, *attribute.graphs]:
                yield from nodes_of(body)


def counts(model):
    """Only operators of ONNX's own domain that are in OPERATORS, its subgraphs included; one opset import, 7 to 26; all inputs and
    outputs tensors of bool, 8- to 64-bit integers or 16- to 64-bit floats (no strings, sequences, optionals, 8-bit floats...)."""
    if [o.domain for o in model.opset_import] != [""] or not 7 <= model.opset_import[0].version <= 26:
        return False
    if any(node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx") for node in nodes_of(model.graph)):
        return False
    plain = {
        *(TensorProto.BOOL, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.FLOAT, TensorProto.DOUBLE),
        *(TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64),
        *(TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64),
    }
    values = [*model.graph.input, *model.graph.output]
    return all(v.type.HasField("tensor_type") and v.type.tensor_type.elem_type in plain for v in values)


def write_counted(folder):
    """The node tests, with the function bodies that are expanded from them, and the package's `simple` and `pytorch-operator`
    models: 1,189 in version 1.23.2."""
    data = pathlib.Path(onnx.__file__).parent / "backend" / "test" / "data"
    names = []
    for part in (folder / "onnx", data / "simple", data / "pytorch-operator"):
        for path in sorted(part.glob("*/model.onnx")):
            if counts(onnx.load(path)):
                names.append(f"{part.name}/{path.parent.name}")
    (folder / "counted.txt").write_text("\n".join(names) + "\n")


# ---- cases computed by ONNX Runtime


def node_model(node, inputs, initializers, outputs, opset=21):
    graph = helper.make_graph(
        [node],
        node.op_type,
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for name, a in inputs.items()
        ],
        [helper.make_tensor_value_info(name, dtype, None) for name, dtype in outputs.items()],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in initializers.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


class Cases:
    def __init__(self, folder):
        import onnxruntime

        self.runtime = onnxruntime
        self.folder = folder
        self.random = np.random.default_rng(SEED)

    def integers(self, dtype, shape):
        limits = np.iinfo(dtype)
        return self.random.integers(limits.min, limits.max + 1, shape).astype(dtype)

    def scale(self, shape=(), ties=True):
        """Powers of two times small integers make ties frequent; other scales make roundings."""
        if ties:
            return (self.random.integers(1, 8, shape) * 2.0 ** -self.random.integers(3, 9)).astype(np.float32)
        return self.random.uniform(1e-3, 0.2, shape).astype(np.float32)

    def add(self, name, node, inputs, initializers, outputs, opset=21, steps=0):
        """An empty input of the node stands for an absent one. Results may differ from ours by `steps`."""
        model = node_model(node, inputs, initializers, outputs, opset)
        options = self.runtime.SessionOptions()
        options.log_severity_level = 4
        session = self.runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        results = session.run(None, inputs)
        write_case(self.folder / name, model, [(list(inputs.values()), results)], exact=True, most_steps=steps)

    def add_floats(self, name, node, inputs, initializers, outputs, absolute=2e-6):
        """Floats may differ by this much, beside what the type's precision allows."""
        self.add(name, node, inputs, initializers, outputs)
        (self.folder / name / "tolerance.json").unlink()
        (self.folder / name / "absolute.txt").write_text(str(absolute))

    def quantize_linear(self, number):
        for dtype in (np.uint8, np.int8, np.uint16, np.int16):
            ties = number % 2 == 0
            scale = self.scale(ties=ties)
            steps = self.random.integers(-300, 300, (64, 64)) / 2.0
            x = (
                (steps * scale).astype(np.float32)
                if ties
                else self.random.normal(0, 60 * scale, (64, 64)).astype(np.float32)
            )
            x.flat[:6] = [np.nan, np.inf, -np.inf, 3e38, -3e38, 0]
            node = helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"])
            zero = self.integers(dtype, ())
            proto = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            self.add(
                f"quantize_linear_{np.dtype(dtype)}_{number}",
                node,
                {"x": x},
                {"scale": scale, "zero": zero},
                {"y": proto},
            )
            channels, zeros = self.scale(64, ties), self.integers(dtype, 64)
            node = helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"], axis=-1)
            x[:, 7:] = np.nan_to_num(x[:, 7:])
            self.add(
                f"quantize_linear_axis_{np.dtype(dtype)}_{number}",
                node,
                {"x": x},
                {"scale": channels, "zero": zeros},
                {"y": proto},
            )
            node = helper.make_node("DequantizeLinear", ["x", "scale", "zero"], ["y"], axis=0)
            self.add(
                f"dequantize_linear_axis_{np.dtype(dtype)}_{number}",
                node,
                {"x": self.integers(dtype, (64, 33))},
                {"scale": channels, "zero": zeros},
                {"y": TensorProto.FLOAT},
            )

    def dynamic_quantize_linear(self, number):
        node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "scale", "zero"])
        x = self.random.normal(self.random.normal(), 10.0 ** self.random.integers(-3, 4), 2000).astype(np.float32)
        if number % 3 == 1:
            x = np.round(x) / 2
        if number % 7 == 2:
            x = np.abs(x)
        if number % 7 == 3:
            x[:] = 0
        outputs = {"y": TensorProto.UINT8, "scale": TensorProto.FLOAT, "zero": TensorProto.UINT8}
        self.add(f"dynamic_quantize_linear_{number}", node, {"x": x}, {}, outputs)

    def qlinear_conv(self, number):
        random = self.random
        x_type, w_type = [(np.uint8, np.uint8), (np.uint8, np.int8), (np.int8, np.int8)][number % 3]
        groups = [1, 1, 2, 8][random.integers(4)]
        c, o = groups * random.integers(1, 5), groups * random.integers(1, 5)
        kernel = [int(k) for k in random.integers(1, 4, 2)]
        x = self.integers(x_type, (2, c, *random.integers(5, 12, 2)))
        w = self.integers(w_type, (o, c // groups, *kernel))
        ties = number % 2 == 0
        per_channel = random.integers(2) == 0
        w_scale = self.scale(o if per_channel else (), ties)
        w_zero = (
            np.zeros(o, w_type)
            if per_channel and w_type == np.int8
            else self.integers(w_type, o if per_channel else ())
        )
        if per_channel and w_type == np.uint8:
            w_zero[:] = w_zero[0]  # ONNX Runtime takes one zero point of u8 weights
        spread = np.sqrt(w[0].size) * 5000 * self.scale(ties=ties)
        parameters = {
            "x_scale": self.scale(ties=ties),
            "x_zero": self.integers(x_type, ()),
            "w": w,
            "w_scale": w_scale,
            "w_zero": w_zero,
            "y_zero": self.integers(x_type, ()),
        }
        parameters["y_scale"] = np.float32(2.0 ** np.round(np.log2(parameters["x_scale"] * np.max(w_scale) * spread)))
        names = ["x", "x_scale", "x_zero", "w", "w_scale", "w_zero", "y_scale", "y_zero"]
        if random.integers(2):
            parameters["bias"] = random.integers(-20000, 20000, o).astype(np.int32)
            names.append("bias")
        attributes = {
            "group": int(groups),
            "kernel_shape": kernel,
            "strides": [int(v) for v in random.integers(1, 3, 2)],
            "dilations": [int(v) for v in random.integers(1, 3, 2)],
            "pads": [int(v) for v in random.integers(0, 3, 4)],
        }
        node = helper.make_node("QLinearConv", names, ["y"], **attributes)
        proto = helper.np_dtype_to_tensor_dtype(np.dtype(x_type))
        self.add(f"qlinear_conv_{number}", node, {"x": x}, parameters, {"y": proto})

    def qlinear_matmul(self, number):
        random = self.random
        a_type, b_type = [(np.uint8, np.uint8), (np.uint8, np.int8), (np.int8, np.int8)][number % 3]
        m, k, n = (int(v) for v in random.integers(1, 40, 3))
        ties = number % 2 == 0
        a, b = self.integers(a_type, (2, m, k)), self.integers(b_type, (k, n))
        per_channel = b_type == np.int8 and random.integers(2) == 0
        b_scale = self.scale(n if per_channel else (), ties)
        parameters = {
            "a_scale": self.scale(ties=ties),
            "a_zero": self.integers(a_type, ()),
            "b": b,
            "b_scale": b_scale,
            "b_zero": np.zeros(n, b_type) if per_channel else self.integers(b_type, ()),
            "y_zero": self.integers(a_type, ()),
        }
        parameters["y_scale"] = np.float32(
            2.0 ** np.round(np.log2(parameters["a_scale"] * np.max(b_scale) * np.sqrt(k) * 300))
        )
        names = ["a", "a_scale", "a_zero", "b", "b_scale", "b_zero", "y_scale", "y_zero"]
        node = helper.make_node("QLinearMatMul", names, ["y"])
        proto = helper.np_dtype_to_tensor_dtype(np.dtype(a_type))
        self.add(f"qlinear_matmul_{number}", node, {"a": a}, parameters, {"y": proto})

        # QGemm: the same with a bias and transposed weights.
        parameters["b"] = np.ascontiguousarray(b.T)
        parameters["c"] = random.integers(-5000, 5000, n).astype(np.int32)
        alpha = float([1.0, 0.5, 1.7][random.integers(3)])
        names = ["a", "a_scale", "a_zero", "b", "b_scale", "b_zero", "c", "y_scale", "y_zero"]
        node = helper.make_node("QGemm", names, ["y"], domain="com.microsoft", transB=1, alpha=alpha)
        self.add(f"qgemm_{number}", node, {"a": a[0]}, parameters, {"y": proto})
        float_parameters = {key: value for key, value in parameters.items() if not key.startswith("y_")}
        node = helper.make_node("QGemm", names[:7], ["y"], domain="com.microsoft", transB=1, alpha=alpha)
        self.add(f"qgemm_float_{number}", node, {"a": a[0]}, float_parameters, {"y": TensorProto.FLOAT})

    def integer_products(self, number):
        x = self.integers(np.uint8, (1, 3, 9, 8))
        w = self.integers(np.uint8 if number % 2 else np.int8, (4, 3, 3, 3))
        zeros = {"w": w, "x_zero": self.integers(np.uint8, ()), "w_zero": self.integers(w.dtype, ())}
        node = helper.make_node("ConvInteger", ["x", "w", "x_zero", "w_zero"], ["y"], pads=[1, 0, 2, 1])
        self.add(f"conv_integer_{number}", node, {"x": x}, zeros, {"y": TensorProto.INT32})
        a, b = self.integers(np.uint8, (2, 5, 17)), self.integers(w.dtype, (17, 6))
        zeros = {"b": b, "a_zero": self.integers(np.uint8, ()), "b_zero": self.integers(w.dtype, ())}
        node = helper.make_node("MatMulInteger", ["a", "b", "a_zero", "b_zero"], ["y"])
        self.add(f"matmul_integer_{number}", node, {"a": a}, zeros, {"y": TensorProto.INT32})

    def qlinear_elementwise(self, number):
        """ONNX Runtime joins the scales of these first, we follow the literal graph: one step apart at most."""
        dtype = np.uint8 if number % 2 else np.int8
        proto = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        a, b = self.integers(dtype, (2, 8, 7, 6)), self.integers(dtype, (2, 8, 7, 6) if number % 4 < 2 else (8, 1, 1))
        p = {f"{name}_scale": self.scale(ties=number % 3 == 0) for name in "aby"} | {
            f"{name}_zero": self.integers(dtype, ()) for name in "aby"
        }
        first, last = ["a", "a_scale", "a_zero"], ["y_scale", "y_zero"]
        kind = {"domain": "com.microsoft"}
        for op_type in ("QLinearAdd", "QLinearMul"):
            node = helper.make_node(op_type, [*first, "b", "b_scale", "b_zero", *last], ["y"], **kind)
            q = p | {"b": b}
            if op_type == "QLinearMul":
                q["y_scale"] = np.float32(q["a_scale"] * q["b_scale"] * 60)
            self.add(f"{op_type}_{number}", node, {"a": a}, q, {"y": proto}, steps=1)
        p = {key: value for key, value in p.items() if not key.startswith("b")}
        own = p | {"y_scale": np.float32(1 / 256), "y_zero": np.array(0 if number % 2 else -128, dtype)}
        for op_type, attributes, parameters in (
            ("QLinearSigmoid", {}, own),
            ("QLinearLeakyRelu", {"alpha": 0.1}, p),
            ("QLinearGlobalAveragePool", {}, p),
            ("QLinearGlobalAveragePool", {"channels_last": 1}, p),
            ("QLinearAveragePool", {"kernel_shape": [3, 2], "pads": [1, 1, 0, 1], "strides": [2, 1]}, p),
            ("QLinearAveragePool", {"kernel_shape": [3, 2], "pads": [1, 1, 0, 1], "count_include_pad": 1}, p),
            ("QLinearSoftmax", {"axis": -1, "opset": 13}, own),
        ):
            node = helper.make_node(op_type, [*first, *last], ["y"], **attributes, **kind)
            name = "_".join([op_type, *(str(v) for v in attributes.values() if isinstance(v, int)), str(number)])
            self.add(name, node, {"a": a}, parameters, {"y": proto}, steps=1)
        node = helper.make_node("QLinearConcat", [*last, *first, "b", "b_scale", "b_zero"], ["y"], axis=1, **kind)
        b = {"b": a[:, :3] ^ 21, "b_scale": self.scale(), "b_zero": self.integers(dtype, ())}
        self.add(f"QLinearConcat_{number}", node, {"a": a}, p | b, {"y": proto}, steps=1)


def write_old_opset_cases(folder):
    for name, model, inputs, outputs in old_opset_cases.cases():
        write_case(folder / name, model, [(inputs, outputs)])


def has_exact_products():
    """Without VNNI, ONNX Runtime's x86 kernels saturate sums of two u8*s8 products at 16 bits: nothing to compare with."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    facts = cpuinfo.read_text() if cpuinfo.exists() else ""
    return platform.machine() not in ("x86_64", "AMD64") or "avx512_vnni" in facts or "avx_vnni" in facts


def write_onnxruntime_cases(folder, count):
    cases = Cases(folder)
    if not has_exact_products():
        print("no cases by ONNX Runtime: this CPU has no VNNI, its products would not be exact", file=sys.stderr)
        return
    for number in range(count):
        cases.qlinear_conv(number)
        cases.qlinear_matmul(number)
        if number % 4 == 0:
            cases.quantize_linear(number // 4)
            cases.dynamic_quantize_linear(number // 4)
            cases.integer_products(number // 4)
            cases.qlinear_elementwise(number // 4)
    operator_cases_contrib.write(cases, max(1, count // 8))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument(
        "--count", type=int, default=200, help="cases of each kind by ONNX Runtime (default: %(default)s)"
    )
    arguments = parser.parse_args()
    for part in ("onnx", "onnxruntime", "opsets"):
        shutil.rmtree(arguments.folder / part, ignore_errors=True)
    write_onnx_cases(arguments.folder / "onnx")
    write_counted(arguments.folder)
    write_old_opset_cases(arguments.folder / "opsets")
    try:
        write_onnxruntime_cases(arguments.folder / "onnxruntime", arguments.count)
    except ModuleNotFoundError as error:
        print(f"no cases by ONNX Runtime: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
