"""Seeded nodes of every operator that moves, selects or computes element by element, in each version that opsets 7 to 26 have of
it, for all element types of that version: tools/make_operator_cases.py writes them as cases.

Their expected outputs come from the `onnx` package's reference evaluator, or from ONNX Runtime where that has no such version.
"""

import warnings

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

SEED = 77
FIRST, LAST = 7, 26

DTYPES = {
    "bool": (TensorProto.BOOL, np.dtype(bool)),
    "float16": (TensorProto.FLOAT16, np.dtype(np.float16)),
    "bfloat16": (TensorProto.BFLOAT16, np.dtype(ml_dtypes.bfloat16)),
    "float": (TensorProto.FLOAT, np.dtype(np.float32)),
    "double": (TensorProto.DOUBLE, np.dtype(np.float64)),
    "float8e4m3fn": (TensorProto.FLOAT8E4M3FN, np.dtype(ml_dtypes.float8_e4m3fn)),
    "float8e4m3fnuz": (TensorProto.FLOAT8E4M3FNUZ, np.dtype(ml_dtypes.float8_e4m3fnuz)),
    "float8e5m2": (TensorProto.FLOAT8E5M2, np.dtype(ml_dtypes.float8_e5m2)),
    "float8e5m2fnuz": (TensorProto.FLOAT8E5M2FNUZ, np.dtype(ml_dtypes.float8_e5m2fnuz)),
    "float8e8m0": (TensorProto.FLOAT8E8M0, np.dtype(ml_dtypes.float8_e8m0fnu)),
    "float4e2m1": (TensorProto.FLOAT4E2M1, np.dtype(ml_dtypes.float4_e2m1fn)),
    "int2": (TensorProto.INT2, np.dtype(ml_dtypes.int2)),
    "uint2": (TensorProto.UINT2, np.dtype(ml_dtypes.uint2)),
    "int4": (TensorProto.INT4, np.dtype(ml_dtypes.int4)),
    "uint4": (TensorProto.UINT4, np.dtype(ml_dtypes.uint4)),
} | {
    f"{s}int{b}": (getattr(TensorProto, f"{s.upper()}INT{b}"), np.dtype(f"{s}int{b}"))
    for s in ("", "u")
    for b in (8, 16, 32, 64)
}

NAME_OF = {dtype: name for name, (_, dtype) in DTYPES.items()}
ONE_BYTE_OR_LESS = {name for name in DTYPES if name.startswith(("float8", "float4", "int2", "uint2", "int4", "uint4"))}


class Values:
    """Random tensors of one element type."""

    def __init__(self, random, dtype):
        self.random = random
        self.dtype = dtype
        self.name = NAME_OF[dtype]
        self.is_float = self.name.startswith(("float", "bfloat", "double"))
        self.is_small = self.name in ONE_BYTE_OR_LESS
        self.is_unsigned = self.name.startswith("uint")

    def __call__(self, *shape, low=None, high=None):
        if self.name == "bool":
            return self.random.integers(0, 2, shape).astype(bool)
        if self.name in ("float8e8m0",):
            return (2.0 ** self.random.integers(-4, 5, shape)).astype(np.float32).astype(self.dtype)
        if self.is_float:
            low, high = (-8.0 if low is None else low), (8.0 if high is None else high)
            # Multiples of 1/8: exact in narrow types, and full of ties.
            return (np.round(self.random.uniform(low, high, shape) * 8) / 8).astype(np.float32).astype(self.dtype)
        limits = ml_dtypes.iinfo(self.dtype)
        low = int(limits.min) if low is None else max(int(low), int(limits.min))
        high = int(limits.max) if high is None else min(int(high), int(limits.max))
        return self.random.integers(
            low, high, shape, dtype=np.uint64 if self.name == "uint64" else np.int64, endpoint=True
        ).astype(self.dtype)

    def nonzero(self, *shape, low=None, high=None):
        values = self(*shape, low=low, high=high)
        return np.where(values.astype(np.float64) == 0, np.ones_like(values), values).astype(self.dtype)


class Fixed(np.ndarray):
    """An input that shapes depend on: it becomes an initializer."""


def fixed(values, dtype=np.int64):
    return np.asarray(values, dtype).view(Fixed)


FORMS = {}


def forms(*names, type_of=0):
    """Registers a function(values, version, operator) that yields (attributes, inputs[, number of outputs]). `type_of` is the input
    whose types are gone through, or a name of a type constraint."""

    def register(function):
        for name in names:
            FORMS[name] = (function, type_of)
        return function

    return register


UNARY = {
    **dict.fromkeys(
        ["Abs", "Ceil", "Cos", "Elu", "Erf", "Floor", "HardSigmoid", "HardSwish", "Identity"], (None, None)
    ),
    **dict.fromkeys(
        ["LeakyRelu", "Mish", "Neg", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus"], (None, None)
    ),
    **dict.fromkeys(
        ["Softsign", "Swish", "Tanh", "Not", "Celu", "Shrink", "ThresholdedRelu", "BitwiseNot"], (None, None)
    ),
    **dict.fromkeys(["Tan", "Acos", "Asin"], (-1, 1)),
    **dict.fromkeys(["Atan", "Sinh", "Cosh", "Asinh", "Exp", "Gelu"], (-4, 4)),
    "Atanh": (-0.9, 0.9),
    "Acosh": (1, 9),
    "Log": (0.125, 9),
    "Sqrt": (0, 9),
    "Reciprocal": (0.25, 9),
}
ATTRIBUTES = {
    "Elu": [{"alpha": 0.5}],
    "Celu": [{"alpha": 0.5}],
    "HardSigmoid": [{"alpha": 0.25, "beta": 0.25}],
    "LeakyRelu": [{"alpha": 0.25}],
    "Selu": [{"alpha": 0.5, "gamma": 2.0}],
    "Shrink": [{"lambd": 1.5, "bias": 1.5}],
    "Swish": [{"alpha": 0.5}],
    "ThresholdedRelu": [{"alpha": 2.0}],
    "Gelu": [{"approximate": "tanh"}],
}


@forms(*UNARY)
def unary(t, version, operator):
    low, high = UNARY[operator]
    for attributes in [{}, *ATTRIBUTES.get(operator, [])]:
        yield attributes, [t(3, 7, low=low, high=high)]
    yield {}, [t(low=low, high=high)]
    yield {}, [t(0, 2)]


@forms("Add", "Sub", "Mul", "Div", "Mod", "PRelu", "Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual")
@forms("And", "Or", "Xor", "BitwiseAnd", "BitwiseOr", "BitwiseXor")
def binary(t, version, operator):
    second = t.nonzero if operator in ("Div", "Mod") else t
    attributes = {"fmod": 1} if operator == "Mod" and t.is_float else {}
    small = {"low": -3, "high": 3} if operator in ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual") else {}
    if operator == "PRelu" and not t.is_float:
        small = {"low": -100, "high": 100}
    for a, b in (((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (3, 1)), ((5,), ())):
        yield attributes, [t(*a, **small), second(*b, **small)]
    if operator == "Mod":
        yield {"fmod": 1}, [t(4, 5), second(5)]
    if operator != "PRelu":
        yield attributes, [t(3, 1, **small), second(2, 1, 4, **small)]


@forms("BitShift")
def bit_shift(t, version, operator):
    for direction in ("LEFT", "RIGHT"):
        yield {"direction": direction}, [t(3, 4), t(4, low=0, high=7)]


@forms("Pow")
def power(t, version, operator):
    if t.is_float:
        yield {}, [t(2, 5, low=0.5, high=3), t(5, low=-2, high=3)]
        yield {}, [t(2, 5, low=-3, high=3), t(1, low=2, high=2)]
    else:
        yield {}, [t(2, 5, low=-9, high=9), t(5, low=0, high=4)]
    if version >= 12:
        for dtype in (np.float32, np.int32, np.int64, np.float64, np.uint8):
            yield {}, [t(2, 3, low=1, high=5), Values(t.random, np.dtype(dtype))(3, low=0, high=3)]


@forms("Max", "Min", "Sum", "Mean")
def variadic(t, version, operator):
    yield {}, [t(2, 3)]
    yield {}, [t(2, 3), t(2, 3)]
    if version >= 8:
        yield {}, [t(2, 3), t(3), t(2, 1), t()]


@forms("IsInf", "IsNaN")
def tests(t, version, operator):
    x = np.array([1, np.nan, np.inf, -np.inf, -0.0], np.float32).astype(t.dtype)
    yield {}, [x]
    if operator == "IsInf":
        yield {"detect_negative": 0}, [x]
        yield {"detect_positive": 0}, [x]


@forms("Clip")
def clip(t, version, operator):
    low, high = t(low=-3, high=-1 if not t.is_unsigned else 2), t(low=3, high=5)
    if version < 11:
        yield {"min": -2.0, "max": 3.0}, [t(4, 5)]
        yield {"max": 3.0}, [t(4, 5)]
        yield {}, [t(4, 5)]
        return
    yield {}, [t(4, 5), low, high]
    yield {}, [t(4, 5), None, high]
    yield {}, [t(4, 5), low]
    yield {}, [t(4, 5)]


@forms("Where", type_of="T")
def where(t, version, operator):
    condition = Values(t.random, np.dtype(bool))
    yield {}, [condition(2, 3), t(2, 3), t(2, 3)]
    yield {}, [condition(3, 1), t(1, 4), t()]


@forms("Dropout")
def dropout(t, version, operator):
    if version < 12:
        yield {"ratio": 0.25}, [t(3, 4)]
        yield {}, [t(3, 4)], 1 if version < 10 else 2
    else:
        yield {}, [t(3, 4), np.array(0.25, np.float32)], 2
        yield {}, [t(3, 4), np.array(0.0, np.float32), np.array(True)], 2


# ---- shapes


@forms("Concat")
def concat(t, version, operator):
    yield {"axis": 0}, [t(2, 3), t(1, 3), t(4, 3)]
    yield {"axis": 1 if version < 11 else -1}, [t(2, 3), t(2, 5)]


@forms("Split")
def split(t, version, operator):
    yield {"axis": 1}, [t(2, 6)], 3
    if version < 13:
        yield {"axis": 0, "split": [2, 0, 3]}, [t(5, 3)], 3
        return
    yield {"axis": 0}, [t(5, 3), fixed([2, 0, 3])], 3
    if version >= 18:
        yield {"axis": -1, "num_outputs": 3}, [t(2, 8)], 3


@forms("Flatten")
def flatten(t, version, operator):
    for axis in (0, 1, 2, 3, *((-1,) if version >= 11 else ())):
        yield {"axis": axis}, [t(2, 3, 4)]


@forms("Reshape")
def reshape(t, version, operator):
    yield {}, [t(2, 3, 4), fixed([0, -1])]
    yield {}, [t(2, 3, 4), fixed([4, 6])]
    if version >= 14:
        yield {"allowzero": 1}, [t(2, 0, 4), fixed([0, 5])]


@forms("Squeeze", "Unsqueeze")
def squeeze(t, version, operator):
    x = t(1, 3, 1, 2) if operator == "Squeeze" else t(3, 2)
    for axes in ([0], [0, 2], *(([-2],) if version >= 11 else ())):
        yield ({"axes": axes}, [x]) if version < 13 else ({}, [x, fixed(axes)])
    if operator == "Squeeze":
        yield {}, [x]


@forms("Transpose")
def transpose(t, version, operator):
    yield {}, [t(2, 3, 4)]
    yield {"perm": [2, 0, 1]}, [t(2, 3, 4)]


@forms("Expand")
def expand(t, version, operator):
    yield {}, [t(3, 1), fixed([2, 1, 4])]
    yield {}, [t(2, 3), fixed([1])]


@forms("Tile")
def tile(t, version, operator):
    yield {}, [t(2, 3), fixed([2, 1])]
    yield {}, [t(2, 3), fixed([0, 2])]


@forms("Shape", "Size")
def shape(t, version, operator):
    yield {}, [t(2, 3, 4)]
    if operator == "Shape" and version >= 15:
        yield {"start": 1}, [t(2, 3, 4)]
        yield {"start": -2, "end": -1}, [t(2, 3, 4)]


@forms("Slice")
def slice_(t, version, operator):
    cases = [([1], [3], [1], None), ([0, -2], [100, -1], [0, 1], None)]
    if version >= 10:
        cases += [([-1], [-100], [1], [-2]), ([3, 0], [0, 5], [0, 1], [-1, 2])]
    for starts, ends, axes, steps in cases:
        if version < 10:
            yield {"starts": starts, "ends": ends, "axes": axes}, [t(4, 5)]
        else:
            yield {}, [t(4, 5), *(fixed(list_) for list_ in (starts, ends, axes, steps) if list_ is not None)]


@forms("Pad")
def pad(t, version, operator):
    modes = ["constant", "reflect", "edge"] + (["wrap"] if version >= 19 else [])
    for mode in modes:
        pads = [1, 2, 0, 1]
        if version < 11:
            yield {"mode": mode, "pads": pads, **({"value": 2.5} if mode == "constant" else {})}, [t(3, 4)]
        else:
            if mode != "constant" or t.name != "float8e8m0":  # which has no 0
                yield {"mode": mode}, [t(3, 4), fixed(pads)]
            if mode == "constant" and t.name != "float8e8m0":
                yield {"mode": mode}, [t(3, 4), fixed([0, -1, 2, -1]), t()]
                if version >= 18:
                    yield {"mode": mode}, [t(3, 4), fixed([1, 2]), None, fixed([-1])]


@forms("Constant", type_of="T")
def constant(t, version, operator):
    yield {"value": numpy_helper.from_array(t(2, 3), "v")}, []
    if version >= 12 and t.name == "float":
        yield {"value_float": 1.5}, []
        yield {"value_floats": [1.5, 2.5]}, []
        yield {"value_int": 3}, []
        yield {"value_ints": [3, -4]}, []


@forms("ConstantOfShape", type_of="T2")
def constant_of_shape(t, version, operator):
    yield {"value": numpy_helper.from_array(t(1), "v")}, [fixed([2, 3])]
    yield {"value": numpy_helper.from_array(t(1), "v")}, [fixed([])]


@forms("Range")
def range_(t, version, operator):
    def scalar(value):
        return np.array(value, np.float32).astype(t.dtype)

    yield {}, [scalar(2), scalar(10), scalar(3)]
    yield {}, [scalar(10), scalar(2), scalar(-2)]
    yield {}, [scalar(2), scalar(2), scalar(1)]


# ---- selecting


@forms("Gather", "GatherElements")
def gather(t, version, operator):
    for dtype in (np.int64, np.int32):
        index = Values(t.random, np.dtype(dtype))
        low = 0 if version < 11 else -3
        yield {}, [t(3, 4), index(2, 4, low=low, high=2)]
        yield {"axis": 1}, [t(2, 3), index(2, 3, low=low, high=2)]
    if operator == "Gather":
        yield {}, [t(3, 4), np.array(1)]


@forms("GatherND")
def gather_nd(t, version, operator):
    index = Values(t.random, np.dtype(np.int64))
    yield {}, [t(3, 4), index(5, 2, low=0, high=2)]
    yield {}, [t(3, 4), index(2, 2, 1, low=-3, high=2)]
    if version >= 12:
        yield {"batch_dims": 1}, [t(2, 3, 4), index(2, 1, low=0, high=2)]


@forms("ScatterElements", "Scatter", "ScatterND")
def scatter(t, version, operator):
    reductions = [None] + (["add", "mul"] if version >= 16 else []) + (["min", "max"] if version >= 18 else [])
    for reduction in reductions:
        if reduction is not None and (t.name == "bool" or t.is_small):
            continue
        attributes = {} if reduction is None else {"reduction": reduction}
        small = {"low": -3, "high": 3}
        if operator == "ScatterND":
            places = np.array([[2, 1], [0, 3], *([] if reduction is None else [[2, 1]])])
            yield attributes, [t(3, 4, **small), places, t(len(places), **small)]
            yield attributes, [t(3, 4, **small), np.array([[1], [-1]]), t(2, 4, **small)]
        else:
            places = np.array([[1, 0, 2], [0, 2, 1], *([] if reduction is None else [[1, 0, 0]])])
            yield attributes, [t(3, 4, **small), places, t(*places.shape, **small)]
            yield {"axis": 1, **attributes}, [t(2, 3, **small), np.array([[2], [0]], np.int32), t(2, 1, **small)]


@forms("OneHot", type_of="T3")
def one_hot(t, version, operator):
    for axis in (-1, 0, 1):
        indices = np.array([[0, 2], [1, -1 if version >= 11 else 1]])
        yield {"axis": axis}, [indices, fixed(3), t(2, low=0, high=5) if t.name != "bool" else np.array([False, True])]


@forms("NonZero")
def non_zero(t, version, operator):
    yield {}, [t(3, 4, low=0, high=1)]


@forms("Compress")
def compress(t, version, operator):
    yield {"axis": 1}, [t(2, 3), np.array([True, False, True])]
    yield {}, [t(2, 3), np.array([False, True, False, True])]


@forms("Trilu")
def trilu(t, version, operator):
    yield {}, [t(2, 3, 4)]
    yield {"upper": 0}, [t(3, 4), np.array(1)]
    yield {}, [t(4, 3), np.array(-1)]


@forms("CumSum")
def cum_sum(t, version, operator):
    for attributes in ({}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}):
        yield attributes, [t(3, 4, low=0, high=9), fixed(1, np.int32)]
    yield {}, [t(3, 4, low=0, high=9), fixed(-2)]


@forms("DepthToSpace", "SpaceToDepth")
def blocks(t, version, operator):
    x = t(2, 8, 2, 3) if operator == "DepthToSpace" else t(2, 2, 4, 6)
    yield {"blocksize": 2}, [x]
    if operator == "DepthToSpace" and version >= 11:
        yield {"blocksize": 2, "mode": "CRD"}, [x]


@forms("ReverseSequence")
def reverse_sequence(t, version, operator):
    yield {}, [t(4, 3), np.array([1, 4, 2])]
    yield {"batch_axis": 0, "time_axis": 1}, [t(3, 4, 2), np.array([1, 4, 0])]


@forms("ArgMax", "ArgMin")
def arg(t, version, operator):
    small = {"low": -3, "high": 3}
    for axis in (0, 1 if version < 11 else -1):
        for keepdims in (0, 1):
            yield {"axis": axis, "keepdims": keepdims}, [t(3, 5, **small)]
            if version >= 12:
                yield {"axis": axis, "keepdims": keepdims, "select_last_index": 1}, [t(3, 5, **small)]


@forms("TopK")
def top_k(t, version, operator):
    x = t(3, 6, low=-9, high=9)
    if version < 10:
        yield {"k": 4, "axis": 1}, [x], 2
        return
    yield {"axis": 1}, [x, fixed([4])], 2
    if version >= 11:
        yield {"axis": 0, "largest": 0}, [x, fixed([2])], 2


@forms("Hardmax", "Softmax", "LogSoftmax")
def softmax(t, version, operator):
    yield {}, [t(2, 3, 4)]
    for axis in (0, 1, 2 if version < 11 else -2):
        yield {"axis": axis}, [t(2, 3, 4)]


SUMS = {"ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceProd"}
REDUCTIONS = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
]


@forms(*REDUCTIONS, "ReduceSum", "ReduceSumSquare")
def reduce(t, version, operator):
    if operator.startswith("ReduceLog") and not t.is_float:
        return  # rounded in the middle, each in its own way
    span = (
        {"low": 1, "high": 3}
        if operator in ("ReduceProd", "ReduceLogSum", "ReduceMean", "ReduceL2")
        else {"low": -5, "high": 5}
    )
    by_input = version >= (13 if operator == "ReduceSum" else 18)
    x = t(2, 3, 4, **span)
    for axes in ([1], [0, 2], *(([-1],) if version >= 11 else ())):
        for keepdims in (0, 1):
            if by_input:
                yield {"keepdims": keepdims}, [x, fixed(axes)]
            else:
                yield {"keepdims": keepdims, "axes": axes}, [x]
    yield {"keepdims": 0}, [x]
    if by_input:
        yield {"noop_with_empty_axes": 0}, [x, fixed([])]


# ---- interpolation


POSITIVE = {"low": 1, "high": 100}  # nothing cancels


@forms("Upsample")
def upsample(t, version, operator):
    for mode in (
        "nearest",
        *(("linear",) if t.is_float else ()),
    ):  # ONNX Runtime cuts integers, the reference rounds them
        if version < 9:
            yield {"mode": mode, "scales": [1.0, 1.0, 2.0, 3.0]}, [t(1, 2, 3, 2, **POSITIVE)]
        else:
            yield {"mode": mode}, [t(1, 2, 3, 2, **POSITIVE), fixed([1.0, 1.0, 2.0, 3.0], np.float32)]


@forms("Resize")
def resize(t, version, operator):
    scales, sizes = fixed([1, 1, 1.5, 2.5], np.float32), fixed([1, 2, 5, 3])
    if version < 11:
        yield {"mode": "nearest"}, [t(1, 2, 4, 3, **POSITIVE), scales]
        if t.is_float:
            yield {"mode": "linear"}, [t(1, 2, 4, 3, **POSITIVE), fixed([1, 1, 2, 0.75], np.float32)]
        return
    none = fixed([], np.float32) if version < 13 else None
    # Coordinates in the reference are doubles: those that fall between two elements may be rounded to either by others.
    for coordinates in (
        "half_pixel",
        "asymmetric",
        "align_corners",
        *(("half_pixel_symmetric",) if version >= 19 else ()),
    ):
        yield (
            {"mode": "nearest", "coordinate_transformation_mode": coordinates},
            [t(1, 2, 4, 3, **POSITIVE), none, none, sizes],
        )
        if not t.is_float:
            continue
        yield (
            {"mode": "linear", "coordinate_transformation_mode": coordinates},
            [t(1, 2, 4, 3, **POSITIVE), none, none, sizes],
        )
        yield (
            {"mode": "cubic", "coordinate_transformation_mode": coordinates},
            [t(1, 2, 4, 5, **POSITIVE), none, none, sizes],
        )
        yield (
            {"mode": "linear", "coordinate_transformation_mode": coordinates},
            [t(1, 2, 4, 3, **POSITIVE), none, scales],
        )
    if not t.is_float:  # quarters: no ties that hang on a last digit
        if t.name != "bool":
            yield {"mode": "linear"}, [t(1, 2, 4, 3, **POSITIVE), none, fixed([1, 1, 2, 2], np.float32)]
        return
    roi = fixed([0, 0, 0.25, -0.25, 1, 1, 0.75, 1.25], np.float32)
    crop = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 2.0}
    yield {"mode": "linear", **crop}, [t(1, 2, 4, 3, **POSITIVE), roi, none, sizes]
    yield {"mode": "cubic", "exclude_outside": 1}, [t(1, 2, 4, 5, **POSITIVE), none, none, sizes]
    yield {"mode": "cubic", "cubic_coeff_a": -0.5}, [t(1, 2, 4, 5, **POSITIVE), none, none, sizes]
    if version >= 18:
        for mode in ("linear", "cubic"):
            yield {"mode": mode, "antialias": 1}, [t(1, 1, 9, 8, **POSITIVE), None, None, fixed([1, 1, 4, 5])]
        for policy in ("not_larger", "not_smaller"):
            yield (
                {"mode": "linear", "axes": [2, 3], "keep_aspect_ratio_policy": policy},
                [t(1, 1, 4, 6, **POSITIVE), None, None, fixed([3, 3])],
            )


@forms("GridSample")
def grid_sample(t, version, operator):
    names = ("bilinear", "nearest", "bicubic") if version < 20 else ("linear", "nearest", "cubic")
    for mode in names:
        for padding in ("zeros", "border", "reflection"):
            for align in (0, 1):
                attributes = {"mode": mode, "padding_mode": padding, "align_corners": align}
                # Sixteenths plus a bit: never half-way between two elements.
                grid = (np.round(t.random.uniform(-1.4, 1.4, (1, 3, 4, 2)) * 16) / 16 + 0.01).astype(np.float32)
                # The reference clamps the whole window of a cubic at the border, ONNX Runtime each element.
                as_others = "cubic" not in mode or padding != "border"
                if t.name == "float" or mode == "nearest" or (t.is_float and as_others):
                    yield attributes, [t(1, 2, 4, 5), grid]
                    if version >= 20 and mode != "cubic":
                        grid = np.concatenate([grid[:, None], grid[:, None, :, :, :1]], axis=-1)
                        yield attributes, [t(1, 1, 3, 4, 3), grid]


@forms("NonMaxSuppression", type_of=None)
def non_max_suppression(t, version, operator):
    random = t.random
    for centre in (0, 1):
        corners = random.uniform(0, 4, (2, 12, 4)).astype(np.float32)
        scores = random.uniform(0, 1, (2, 3, 12)).astype(np.float32)
        limits = [np.array([4]), np.array([0.3], np.float32), np.array([0.2], np.float32)]
        yield {"center_point_box": centre}, [corners, scores, *limits]


# ---- types


@forms("Cast", type_of="T1")
def cast(t, version, operator):
    values = t(7, low=0, high=1.875 if t.is_float else None)
    for name in allowed_types(operator, version, "T2"):
        if t.is_float or not name.startswith(("float8", "float4")) or t.name == "bool":
            yield {"to": int(DTYPES[name][0])}, [values]


@forms("CastLike", type_of="T1")
def cast_like(t, version, operator):
    values = t(7, low=0, high=1.875 if t.is_float else None)
    for name in allowed_types(operator, version, "T2"):
        if (t.is_float or not name.startswith(("float8", "float4"))) and name != "float8e8m0":
            yield {}, [values, Values(t.random, DTYPES[name][1])(1)]


@forms("QuantizeLinear", type_of="T3")
def quantize_linear(t, version, operator):
    x = Values(t.random, np.dtype(np.float32))
    zero = (lambda *shape: np.zeros(shape, np.float32).astype(t.dtype)) if t.is_float else (lambda *shape: t(*shape))
    yield {}, [x(3, 4), np.array(0.25, np.float32), zero()]
    if version >= 13:
        yield {"axis": 1}, [x(2, 3, 4), np.array([0.25, 0.5, 1], np.float32), zero(3)]
    if version >= 21:
        yield {"axis": 1, "block_size": 2}, [x(2, 4), np.array([[0.25, 0.5], [1, 2]], np.float32), zero(2, 2)]
        yield {"output_dtype": int(DTYPES[t.name][0])}, [x(3, 4), np.array(0.25, np.float32)]
        yield {"axis": 0}, [x(3, 4).astype(np.float16), np.array([0.25, 0.5, 1], np.float16), zero(3)]


@forms("DequantizeLinear", type_of=0)
def dequantize_linear(t, version, operator):
    span = {"low": -1000, "high": 1000}
    zero = (lambda *shape: np.zeros(shape, np.float32).astype(t.dtype)) if t.is_float or t.name == "int32" else t
    yield {}, [t(3, 4, **span), np.array(0.25, np.float32), zero()]
    yield {}, [t(3, 4, **span), np.array(0.25, np.float32)]
    if version >= 13:
        yield {"axis": 1}, [t(2, 3, 4, **span), np.array([0.25, 0.5, 1], np.float32), zero(3)]
    if version >= 19:
        yield {"axis": 0}, [t(2, 4, **span), np.array([0.25, 0.5], np.float16), zero(2)]
    if version >= 21:
        yield {"axis": 1, "block_size": 2}, [t(2, 4, **span), np.array([[0.25, 0.5], [1, 2]], np.float32), zero(2, 2)]


@forms("DynamicQuantizeLinear", type_of=0)
def dynamic_quantize_linear(t, version, operator):
    yield {}, [t(5, 6)], 3


# ---- models


def allowed_types(operator, version, constraint):
    schema = onnx.defs.get_schema(operator, version)
    if constraint is None:
        return ["float"]
    if isinstance(constraint, int):
        constraint = schema.inputs[constraint].type_str
    for entry in schema.type_constraints:
        if entry.type_param_str == constraint:
            names = [text[7:-1] for text in entry.allowed_type_strs if text.startswith("tensor(")]
            return sorted(name for name in names if name in DTYPES)
    names = [constraint[7:-1]] if constraint.startswith("tensor(") else []
    if not names and operator == "ConstantOfShape":
        return allowed_types(operator, version, schema.type_constraints[-1].type_param_str)
    return [name for name in names if name in DTYPES]


def node_model(operator, version, attributes, inputs, outputs):
    names = ["" if value is None else f"x{i}" for i, value in enumerate(inputs)]
    node = helper.make_node(operator, names, [f"y{i}" for i in range(outputs)], **attributes)
    infos, initializers, feeds = [], [], {}
    for name, value in zip(names, inputs, strict=True):
        if value is None:
            continue
        array = np.asarray(value)
        if isinstance(value, Fixed):
            initializers.append(numpy_helper.from_array(array, name))
        else:
            infos.append(helper.make_tensor_value_info(name, DTYPES[NAME_OF[array.dtype]][0], array.shape))
            feeds[name] = array
    graph = helper.make_graph(
        [node], operator, infos, [onnx.ValueInfoProto(name=f"y{i}") for i in range(outputs)], initializers
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", version)], ir_version=10 if version < 25 else 13
    )
    return model, feeds


def by_reference(model, feeds):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        results = ReferenceEvaluator(model).run(None, feeds)
    return [np.asarray(result) for result in results]


def by_runtime(model, feeds):
    import onnxruntime

    if any(NAME_OF[value.dtype] in ONE_BYTE_OR_LESS or value.dtype == ml_dtypes.bfloat16 for value in feeds.values()):
        raise NotImplementedError("not a type of NumPy's own")
    model = onnx.shape_inference.infer_shapes(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"]).run(None, feeds)


# The reference evaluator has no old versions of these, or differs from ONNX Runtime and PyTorch (GridSample's cubic borders).
RUNTIME_FIRST = {"Hardmax": 13, "Softmax": 13, "LogSoftmax": 13, "GridSample": 99}
# It rounds several times where we compute in fp32 and round once.
NOT_IN_16_BITS = {"Gelu", "GridSample", "LogSoftmax", "Softmax"}


def cases(report=False):
    """Yields (name, model, inputs, outputs): all nodes of one version of an operator in one model."""
    for operator in sorted(FORMS):
        function, constraint = FORMS[operator]
        versions = {
            onnx.defs.get_schema(operator, o).since_version: o for o in range(LAST, FIRST - 1, -1) if has(operator, o)
        }
        for since, opset in sorted(versions.items()):
            random = np.random.default_rng([SEED, since, *operator.encode()])
            nodes, infos, initializers, feeds, results = [], [], [], [], []
            for name in allowed_types(operator, opset, constraint):
                if name in ("bfloat16", "float16") and operator in NOT_IN_16_BITS:
                    continue
                values = Values(random, DTYPES[name][1])
                for attributes, inputs, *count in function(values, since, operator):
                    model, feed = node_model(operator, opset, attributes, inputs, *(count or [1]))
                    outputs = None
                    runtime_first = since < RUNTIME_FIRST.get(operator, 0)
                    order = [by_reference, by_runtime]
                    if runtime_first:
                        order = [by_runtime, by_reference] if operator == "GridSample" else [by_runtime]
                    for evaluate in order:
                        try:
                            outputs = evaluate(model, feed)
                            break
                        except Exception as error:  # whatever it cannot do
                            last = f"{type(error).__name__}: {error}"
                    if outputs is None:
                        if report:
                            print(f"{operator}-{since} {name} {attributes}: nobody computes it: {last[:150]}")
                        continue
                    prefix = f"{name}_{len(nodes)}_"
                    node = model.graph.node[0]
                    node.input[:] = [i and prefix + i for i in node.input]
                    node.output[:] = [prefix + o for o in node.output]
                    nodes.append(node)
                    for info in model.graph.input:
                        feeds.append(feed[info.name])
                        info.name = prefix + info.name
                        infos.append(info)
                    for tensor in model.graph.initializer:
                        tensor.name = prefix + tensor.name
                        initializers.append(tensor)
                    # Some reductions of the reference widen integers.
                    results += [o.astype(values.dtype) for o in outputs] if operator in SUMS else outputs
            if not nodes:
                continue
            names = [output for node in nodes for output in node.output]
            graph = helper.make_graph(
                nodes, operator, infos, [onnx.ValueInfoProto(name=n) for n in names], initializers
            )
            model = helper.make_model(
                graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10 if opset < 25 else 13
            )
            yield f"{operator}_{since}_opset_{opset}", model, feeds, results


def has(operator, opset):
    try:
        return not onnx.defs.get_schema(operator, opset).deprecated
    except onnx.defs.SchemaError:
        return False
