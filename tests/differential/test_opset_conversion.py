"""Models at old opsets, converted to newer ones: both run, and give the same.

Every operator whose form or meaning changed between opset 7 and 26 has cases here; what runs them is ONNX Runtime where it
knows the operator, else the reference of the onnx package. A failure says its seed; ZEROPOINT_SEEDS=20 tries more.
"""

import os
import pathlib
import subprocess

import numpy as np
import onnx
import onnx.reference
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = pathlib.Path(os.environ.get("ZEROPOINT_BUILD", ROOT / "build/release")) / "tests/convert_opset"
NEWEST = 26  # that conversion reaches
NEWEST_RUN = 25  # of ONNX Runtime 1.32

IR_VERSIONS = {7: 3, 8: 3, 9: 4, 10: 5, 11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10}
F32, F64, F16, I64 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.INT64


def model(nodes, inputs, outputs, opset, constants=None):
    """`inputs` and `outputs`: name -> (type, dims or None)."""
    infos = [[helper.make_tensor_value_info(n, t, d) for n, (t, d) in values.items()] for values in (inputs, outputs)]
    initializers = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    if opset < 9:  # listed among the inputs, as IR version 3 asks for
        infos[0] += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in initializers]
    graph = helper.make_graph(nodes, "g", *infos, initializers)
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSIONS.get(opset, 11)
    )
    return made


def convert(made, opset, folder):
    source, target = folder / "in.onnx", folder / f"out{opset}.onnx"
    onnx.save(made, source)
    result = subprocess.run([TOOL, source, target, str(opset)], capture_output=True, text=True, timeout=60)
    if result.returncode:
        raise RuntimeError(result.stderr)
    converted = onnx.load(target)
    onnx.checker.check_model(converted, full_check=True)
    if opset:
        assert {i.domain: i.version for i in converted.opset_import}[""] == max(opset, made.opset_import[0].version)
    return converted


def run(made, feeds, reference):
    if reference:
        return onnx.reference.ReferenceEvaluator(made).run(None, feeds)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def declare_ranks(made, outputs):
    """onnx.checker wants to know them."""
    for output, value in zip(made.graph.output, outputs, strict=True):
        dims = [None] * np.ndim(value)
        output.CopyFrom(helper.make_tensor_value_info(output.name, output.type.tensor_type.elem_type, dims))


def check(made, feeds, folder, targets, reference=False, expected=None, checked=True):
    before = expected if expected is not None else run(made, feeds, reference)
    declare_ranks(made, before)
    if checked:
        onnx.checker.check_model(made)
    for target in targets:
        after = run(convert(made, target, folder), feeds, reference)
        assert len(before) == len(after)
        for x, y in zip(before, after, strict=True):
            assert x.dtype == y.dtype
            # The same formula; where it is written out in other operators, the order of roundings differs.
            np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-6)


def later(opset):
    """The opsets to convert to: the next ones, where something changes, and the newest that runs."""
    return [t for t in (9, 10, 11, 12, 13, 14, 16, 18, 20, 21, 25) if t > opset]


class Case:
    def __init__(
        self, op, opset, arrays, attributes=None, constants=None, outputs=1, out_types=None, inputs=None, **how
    ):
        self.op, self.opset, self.arrays, self.attributes = op, opset, arrays, attributes or {}
        self.constants, self.outputs, self.how = constants or {}, outputs, how
        self.inputs = inputs or [*arrays, *self.constants]
        self.out_types = out_types or [helper.np_dtype_to_tensor_dtype(next(iter(arrays.values())).dtype)] * outputs

    def build(self, known_shapes):
        names = [f"y{i}" for i in range(self.outputs)]
        node = helper.make_node(self.op, self.inputs, names, name="node", **self.attributes)
        inputs = {
            n: (helper.np_dtype_to_tensor_dtype(a.dtype), list(a.shape) if known_shapes else [None] * a.ndim)
            for n, a in self.arrays.items()
        }
        outputs = dict(zip(names, ((t, None) for t in self.out_types), strict=True))
        return model([node], inputs, outputs, self.opset, self.constants)


def cases(seed):
    rng = np.random.default_rng(seed)

    def f(*dims, dtype=np.float32):
        return rng.normal(size=dims).astype(dtype)

    def pick(*choices):
        return choices[rng.integers(len(choices))]

    def dims(low, high, size=5):
        return [int(d) for d in rng.integers(1, size, rng.integers(low, high + 1))]

    found = {}

    def add(name, *args, **how):
        found[name] = Case(*args, **how)

    channels, x = int(rng.integers(1, 5)), f(2, 3, *dims(1, 2))
    x = f(2, channels, *dims(1, 2))
    statistics = [np.abs(f(channels)) + 0.1 for _ in range(4)]
    parameters = dict(zip(("scale", "bias", "mean", "variance"), statistics, strict=True))
    add("batch_norm_7", "BatchNormalization", 7, {"x": x}, {"epsilon": 1e-3}, parameters)
    wide = {n: np.abs(f(*x.shape[1:])) + 0.1 for n in parameters}
    expected = (x - wide["mean"]) / np.sqrt(wide["variance"] + 1e-3) * wide["scale"] + wide["bias"]
    add(
        "batch_norm_of_positions", "BatchNormalization", 7, {"x": x}, {"epsilon": 1e-3, "spatial": 0}, wide,
        expected=[expected.astype(np.float32)],
    )  # fmt: skip
    add("batch_norm_9", "BatchNormalization", 9, {"x": x}, {}, parameters)

    scales = [1.0, 1.0, *(float(s) for s in rng.choice([1.0, 1.5, 2.0, 3.0], 2))]
    mode = pick("nearest", "linear")
    image = f(1, 2, *dims(2, 2, 6))
    add("upsample_7", "Upsample", 7, {"x": image}, {"scales": scales, "mode": mode})
    add("upsample_9", "Upsample", 9, {"x": image}, {"mode": mode}, {"s": np.array(scales, np.float32)})
    add("resize_10", "Resize", 10, {"x": image}, {"mode": mode}, {"s": np.array(scales, np.float32)})
    down = np.array([1.0, 1.0, 0.5, 0.6], np.float32)
    add("resize_10_down", "Resize", 10, {"x": f(1, 2, 7, 8)}, {"mode": mode}, {"s": down})
    roi, empty = np.zeros(0, np.float32), np.zeros(0, np.float32)
    coordinates = pick("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
    sizes = np.array([1, 2, *rng.integers(3, 9, 2)], np.int64)
    add("resize_11_sizes", "Resize", 11, {"x": image}, {"mode": mode, "coordinate_transformation_mode": coordinates},
        {"roi": roi, "scales": empty, "sizes": sizes})  # fmt: skip
    add("resize_11_scales", "Resize", 11, {"x": image}, {"mode": mode, "coordinate_transformation_mode": coordinates},
        {"roi": roi, "s": np.array(scales, np.float32)})  # fmt: skip
    add("resize_11_tensorflow", "Resize", 11, {"x": image},
        {"mode": "nearest", "coordinate_transformation_mode": "tf_half_pixel_for_nn",
         "nearest_mode": pick("floor", "round_prefer_floor")},
        {"roi": roi, "s": np.array(scales, np.float32)})  # fmt: skip
    add("resize_13", "Resize", 13, {"x": image}, {"mode": "cubic"}, {"s": np.array(scales, np.float32)},
        inputs=["x", "", "s"])  # fmt: skip

    any_dims = dims(2, 4)
    y = f(*any_dims)
    axis = int(rng.integers(len(any_dims)))
    start, end = int(rng.integers(-2, 2)), pick(-1, 3, np.iinfo(np.int32).max)
    y_long = f(*[d + 3 for d in any_dims])
    add("slice_7", "Slice", 7, {"x": y_long}, {"starts": [start], "ends": [end], "axes": [axis]})
    add("slice_7_without_axes", "Slice", 7, {"x": y_long}, {"starts": [0, 1], "ends": [2, 3]})
    add("top_k_7", "TopK", 7, {"x": f(2, 6)}, {"k": 3, "axis": pick(-1, 1)}, outputs=2, out_types=[F32, I64])
    bounds = pick({"min": -0.5}, {"max": 0.25}, {"min": -0.5, "max": 0.25}, {})
    add("clip_7", "Clip", 7, {"x": y}, bounds)
    add("clip_7_f16", "Clip", 7, {"x": y.astype(np.float16)}, bounds, reference=True)
    pads = [int(p) for p in rng.integers(0, 3, 2 * len(any_dims))]
    pad_mode = pick("constant", "edge")
    add("pad_7", "Pad", 7, {"x": y}, {"pads": pads, "mode": pad_mode, "value": pick(0.0, 1.5)})
    add("pad_7_f64", "Pad", 7, {"x": y.astype(np.float64)}, {"pads": pads, "value": 2.5})
    add("scatter_9", "Scatter", 9, {"x": f(3, 4)}, {"axis": 1},
        {"i": rng.permuted(np.tile(np.arange(4), (3, 1)), axis=1)[:, :2].astype(np.int64), "u": f(3, 2)})  # fmt: skip
    indices = rng.integers(0, 4, (2, 3)).astype(np.int64)
    add("one_hot_9", "OneHot", 9, {"i": indices}, {"axis": pick(-1, 0, 1)},
        {"depth": np.array(4, np.int64), "values": np.array([0.5, 2.5], np.float32)}, out_types=[F32])  # fmt: skip
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        for opset in (7, 11):
            add(f"{op.lower()}_{opset}", op, opset, {"x": y}, pick({}, {"axis": axis}))
        ones = f(2, 5, 1, 1)
        add(f"{op.lower()}_of_pooled", op, 9, {"x": ones}, {"axis": 1})
    add("softmax_negative_axis", "Softmax", 11, {"x": y}, {"axis": axis - len(any_dims)})
    some = sorted(rng.choice(len(any_dims), rng.integers(1, len(any_dims) + 1), replace=False))
    some = [int(a) for a in some]
    reduce = {"keepdims": int(rng.integers(2)), **pick({}, {"axes": some})}
    for op in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"):
        positive = np.abs(y) + 0.1
        for opset in (7, 11, 13):
            if op == "Sum" and opset == 13:
                continue
            add(f"reduce_{op.lower()}_{opset}", "Reduce" + op, opset, {"x": positive}, reduce)
    squeezed = f(3, 1, 2, 1)
    for opset in (7, 11):
        add(f"squeeze_{opset}", "Squeeze", opset, {"x": squeezed}, pick({"axes": [1, 3]}, {"axes": [1]}))
        add(f"unsqueeze_{opset}", "Unsqueeze", opset, {"x": y}, {"axes": pick([0], [0, 2], [1])})
    add("squeeze_11_of_all", "Squeeze", 11, {"x": squeezed})
    for opset in (7, 11):
        add(f"split_{opset}", "Split", opset, {"x": f(2, 6)}, {"axis": 1, "split": [1, 3, 2]}, outputs=3)
        add(f"split_{opset}_equal", "Split", opset, {"x": f(2, 6)}, {"axis": 1}, outputs=3)
    add("split_13_equal", "Split", 13, {"x": f(2, 6)}, {"axis": 1}, outputs=2)
    for opset in (7, 10):
        add(f"dropout_{opset}", "Dropout", opset, {"x": y}, {"ratio": 0.3})
    add("quantize_10", "QuantizeLinear", 10, {"x": 3 * y}, {},
        {"s": np.array(0.1, np.float32), "z": np.array(5, np.uint8)}, out_types=[TensorProto.UINT8])  # fmt: skip
    boxes = np.sort(rng.uniform(0, 6, (2, 4)).astype(np.float32).reshape(2, 2, 2), axis=1).reshape(2, 4)
    add("roi_align_10", "RoiAlign", 10, {"x": f(1, 2, 8, 8)},
        {"output_height": 3, "output_width": 3, "sampling_ratio": 2},
        {"boxes": boxes, "batch": np.zeros(2, np.int64)}, targets=[11, 13, 16, 21])  # fmt: skip
    add("dft_17", "DFT", 17, {"x": f(2, 6, 1)}, {"axis": 1, "onesided": pick(0, 1)})
    grid = rng.uniform(-1, 1, (1, 3, 3, 2)).astype(np.float32)
    add("grid_sample_16", "GridSample", 16, {"x": f(1, 2, 5, 5)},
        {"mode": pick("bilinear", "bicubic", "nearest"), "align_corners": pick(0, 1)}, {"grid": grid})  # fmt: skip
    groups = pick(1, 2, 3)
    normalized = f(2, 6, 4)
    scale, bias = f(groups), f(groups)
    grouped = normalized.reshape(2, groups, -1)
    centered = grouped - grouped.mean(-1, keepdims=True)
    standard = (centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-5)).reshape(2, groups, -1, 4)
    expected = (standard * scale[:, None, None] + bias[:, None, None]).reshape(normalized.shape)
    add("group_norm_18", "GroupNormalization", 18, {"x": normalized}, {"num_groups": groups}, {"s": scale, "b": bias},
        targets=[21, 25], checked=False, expected=[expected])  # fmt: skip
    hidden = 3
    for op, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
        add(f"{op.lower()}_7", op, 7, {"x": f(4, 2, 5)}, {"hidden_size": hidden},
            {"w": f(1, gates * hidden, 5), "r": f(1, gates * hidden, hidden), "b": f(1, 2 * gates * hidden)},
            outputs=2)  # fmt: skip
    add("max_pool_7", "MaxPool", 7, {"x": f(1, 2, 6, 6)}, {"kernel_shape": [3, 3], "strides": [2, 2]})
    add("average_pool_7", "AveragePool", 7, {"x": f(1, 2, 6, 6)}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})
    add("conv_7", "Conv", 7, {"x": f(1, 2, 6, 6)}, {"kernel_shape": [3, 3]}, {"w": f(4, 2, 3, 3), "b": f(4)})
    add("gemm_7", "Gemm", 7, {"x": f(2, 3)}, {"transB": 1, "alpha": 0.5}, {"w": f(4, 3), "b": f(4)})
    add("cast_7", "Cast", 7, {"x": 9 * y}, {"to": I64}, out_types=[I64])
    add("depth_to_space_7", "DepthToSpace", 7, {"x": f(1, 8, 2, 3)}, {"blocksize": 2})
    add("p_relu_7", "PRelu", 7, {"x": f(2, 3, 4)}, {}, {"slope": f(3, 1)})
    add("arg_max_7", "ArgMax", 7, {"x": y}, {"axis": axis}, out_types=[I64])
    return found


SEEDS = range(int(os.environ.get("ZEROPOINT_SEEDS", "2")))


@pytest.mark.parametrize("name", cases(0))
def test_operator(name, tmp_path):
    for seed in SEEDS:
        case = cases(seed)[name]
        how = dict(case.how)
        targets = how.pop("targets", later(case.opset))
        for known_shapes in (True, False):
            try:
                check(case.build(known_shapes), case.arrays, tmp_path, targets, **how)
            except BaseException as error:
                error.add_note(f"{name}, seed {seed}, known_shapes {known_shapes}") if hasattr(
                    error, "add_note"
                ) else None
                raise


def test_negative_indices_of_one_hot_9(tmp_path):
    indices = np.array([[0, -1, 2], [-3, 3, 5]], np.int64)
    node = helper.make_node("OneHot", ["i", "depth", "values"], ["y"])
    constants = {"depth": np.array([4], np.int64), "values": np.array([0, 1], np.float32)}
    made = model([node], {"i": (I64, [2, 3])}, {"y": (F32, None)}, 9, constants)
    expected = (indices[..., None] == np.arange(4)).astype(np.float32)  # the text of opset 9: off outside of [0, depth)
    check(made, {"i": indices}, tmp_path, [11, 13, 21], expected=[expected])


def test_dropout_mask(tmp_path):
    x = np.ones((2, 3), np.float32)
    node = helper.make_node("Dropout", ["x"], ["y", "mask"])
    made = model([node], {"x": (F32, [2, 3])}, {"y": (F32, None), "mask": (F32, None)}, 7)
    # The reference: ONNX Runtime's mask is false when it drops nothing, the text says true.
    check(made, {"x": x}, tmp_path, [10, 12, 13, 21], reference=True, expected=[x, np.ones_like(x)])


def test_many_operators_in_one_graph(tmp_path):
    """A chain in which one conversion's nodes are read by the next one's."""
    x = np.random.default_rng(3).normal(size=(2, 3, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Softmax", ["x"], ["a"], name="s"),
        helper.make_node("Softmax", ["a"], ["a_Shape"], name="t"),  # a name that conversion would take
        helper.make_node("ReduceMean", ["a_Shape"], ["c"], axes=[1], keepdims=0),
        helper.make_node("Unsqueeze", ["c"], ["d"], axes=[0]),
        helper.make_node("Pad", ["d"], ["e"], pads=[0, 1, 0, 0, 0, 1], value=1.0),
        helper.make_node("Slice", ["e"], ["f"], axes=[2], starts=[1], ends=[3]),
        helper.make_node("Clip", ["f"], ["y"], min=0.0, max=0.9),
    ]
    made = model(nodes, {"x": (F32, [2, 3, 4])}, {"y": (F32, None)}, 7)
    check(made, {"x": x}, tmp_path, later(7))


@pytest.mark.parametrize("opset", [9, 11])
def test_subgraphs(opset, tmp_path):
    """Both branches change, and read outer values."""
    x = np.random.default_rng(4).normal(size=(2, 3, 4)).astype(np.float32)
    clip = {"min": 0.0} if opset < 11 else {}
    branches = {
        "then_branch": [
            helper.make_node("Softmax", ["x"], ["s"]),
            helper.make_node("Squeeze", ["u"], ["q"], axes=[0]),
            helper.make_node("Add", ["s", "q"], ["a"]),
        ],
        "else_branch": [
            helper.make_node("ReduceSum", ["x"], ["r"], axes=[1], keepdims=1),
            helper.make_node("Clip", ["r"], ["t"], **clip),
            helper.make_node("Add", ["t", "x"], ["b"]),
        ],
    }
    graphs = {
        key: helper.make_graph(nodes, key, [], [helper.make_tensor_value_info(nodes[-1].output[0], F32, [2, 3, 4])])
        for key, nodes in branches.items()
    }
    nodes = [helper.make_node("Unsqueeze", ["x"], ["u"], axes=[0]), helper.make_node("If", ["c"], ["y"], **graphs)]
    made = model(nodes, {"x": (F32, [2, 3, 4]), "c": (TensorProto.BOOL, [])}, {"y": (F32, None)}, opset)
    for condition in (True, False):
        check(made, {"x": x, "c": np.array(condition)}, tmp_path, [13, 18, 21])


@pytest.mark.parametrize(
    "op, opset, attributes, target, says",
    [
        ("Upsample", 7, {"scales": [1.0], "mode": "nearest"}, 27, "ends at opset 26"),
        ("Relu", 6, {}, 13, "begins at opset 7"),
    ],
)
def test_refusals(op, opset, attributes, target, says, tmp_path):
    made = model([helper.make_node(op, ["x"], ["y"], **attributes)], {"x": (F32, [2])}, {"y": (F32, None)}, 7)
    made.opset_import[0].version = opset
    onnx.save(made, tmp_path / "in.onnx")
    result = subprocess.run(
        [TOOL, tmp_path / "in.onnx", tmp_path / "out.onnx", str(target)], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert says in result.stderr


def test_compared_with_the_onnx_package(tmp_path):
    """For information: which of our cases onnx.version_converter brings to opset 21, and what they then give."""
    onnx_converter = pytest.importorskip("onnx.version_converter")
    outcomes = {"same": 0, "refused": 0, "differs": 0}
    for case in cases(0).values():
        made = case.build(True)
        try:
            theirs = onnx_converter.convert_version(made, 21)
            result = run(theirs, case.arrays, False)
        except Exception:
            outcomes["refused"] += 1
            continue
        declare_ranks(made, result)
        ours = run(convert(made, 21, tmp_path), case.arrays, case.how.get("reference", False))
        alike = len(ours) == len(result) and all(
            a.shape == b.shape and np.allclose(a, b, atol=1e-4) for a, b in zip(ours, result, strict=True)
        )
        outcomes["same" if alike else "differs"] += 1
    print(f"onnx.version_converter beside ours, {sum(outcomes.values())} cases to opset 21: {outcomes}")
