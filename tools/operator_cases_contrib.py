"""Cases of com.microsoft's operators with float results, for make_operator_cases.py: outputs by ONNX Runtime."""

import numpy as np
from onnx import TensorProto, helper

FLOAT = TensorProto.FLOAT


def node(op_type, inputs, outputs=("y",), domain="com.microsoft", **attributes):
    return helper.make_node(op_type, list(inputs), list(outputs), domain=domain, **attributes)


def floats(cases, *shape, scale=1.0):
    return cases.random.normal(0, scale, shape).astype(np.float32)


def normalizations(cases, number):
    batch, steps, width = (int(v) for v in cases.random.integers(1, 9, 3))
    x, skip = floats(cases, batch, steps, width), floats(cases, batch, steps, width)
    p = {name: floats(cases, width) for name in ("gamma", "beta", "bias")}
    if number % 2:
        skip = skip[:1]
    given = {"x": x, "skip": skip}
    outputs = {"y": FLOAT, "": 0, "sum": FLOAT}
    names = ["y", "", "", "sum"]
    del outputs[""]
    n = node("SkipLayerNormalization", [*given, *p], names, epsilon=1e-5)
    cases.add_floats(f"skip_layer_normalization_{number}", n, given, p, outputs)
    q = {"gamma": p["gamma"], "bias": p["bias"]}
    n = node("SkipSimplifiedLayerNormalization", [*given, *q], names, epsilon=1e-5)
    cases.add_floats(f"skip_simplified_{number}", n, given, q, outputs)
    n = node("SimplifiedLayerNormalization", ["x", "gamma"], ["y"], domain="", epsilon=1e-5, axis=-1, stash_type=1)
    cases.add_floats(f"simplified_layer_normalization_{number}", n, {"x": x}, {"gamma": p["gamma"]}, {"y": FLOAT})

    ids = {
        "ids": cases.random.integers(0, 11, (batch, steps)).astype(np.int32),
        "segments": cases.random.integers(0, 2, (batch, steps)).astype(np.int32),
    }
    tables = {
        "words": floats(cases, 11, width),
        "positions": floats(cases, 9, width),
        "kinds": floats(cases, 2, width),
        "gamma": p["gamma"],
        "beta": p["beta"],
    }
    mask = {"mask": cases.random.integers(0, 2, (batch, steps)).astype(np.int32)}
    n = node("EmbedLayerNormalization", [*ids, *tables, *mask], ["y", "counts"], epsilon=1e-12)
    cases.add_floats(
        f"embed_layer_normalization_{number}", n, ids | mask, tables, {"y": FLOAT, "counts": TensorProto.INT32}
    )


def activations(cases, number):
    x, bias = floats(cases, 3, 5, 8, scale=3), floats(cases, 8)
    for op_type, parameters, attributes in (
        ("Gelu", {}, {}),
        ("QuickGelu", {}, {"alpha": 1.3} if number % 2 else {}),
        ("FastGelu", {}, {}),
        ("FastGelu", {"b": bias}, {}),
        ("BiasGelu", {"b": bias}, {}),
    ):
        name = f"{op_type}_{len(parameters)}_{number}"
        cases.add_floats(name, node(op_type, ["x", *parameters], **attributes), {"x": x}, parameters, {"y": FLOAT})


def products(cases, number):
    random = cases.random
    m, k, n = (int(v) for v in random.integers(1, 12, 3))
    flip_a, flip_b = int(number % 2), int(number // 2 % 2)
    a = floats(cases, *((2, 3, k, m) if flip_a else (2, 3, m, k)))
    b = floats(cases, *((3, n, k) if flip_b else (3, k, n)))
    one = node("FusedMatMul", "ab", transA=flip_a, transB=flip_b, alpha=0.7)
    cases.add_floats(f"fused_matmul_{number}", one, {"a": a, "b": b}, {}, {"y": FLOAT})
    one = node("FusedMatMul", "ab", transBatchA=1, transBatchB=1, transA=flip_a)
    a = floats(cases, *((k, 2, 3, m) if flip_a else (m, 2, 3, k)))
    cases.add_floats(f"fused_matmul_batch_{number}", one, {"a": a, "b": floats(cases, k, 2, 3, n)}, {}, {"y": FLOAT})

    activation = ["Relu", "Tanh", "Sigmoid", "LeakyRelu", "Clip", "HardSigmoid"][number % 6]
    parameters = {"LeakyRelu": [0.1], "Clip": [-0.5, 1.0], "HardSigmoid": [0.2, 0.5]}.get(activation, [])
    attributes = {"activation": activation} | ({"activation_params": parameters} if parameters else {})
    x, w, bias = floats(cases, 1, 4, 7, 6), floats(cases, 6, 2, 3, 3), floats(cases, 6)
    one = node("FusedConv", "xwb", group=2, pads=[1, 1, 1, 1], kernel_shape=[3, 3], **attributes)
    cases.add_floats(f"fused_conv_{number}", one, {"x": x}, {"w": w, "b": bias}, {"y": FLOAT})
    if activation == "Relu":
        one = node("FusedConv", "xwbz", group=2, pads=[1, 1, 1, 1], kernel_shape=[3, 3], **attributes)
        z = floats(cases, 1, 6, 7, 6)
        cases.add_floats(f"fused_conv_sum_{number}", one, {"x": x, "z": z}, {"w": w, "b": bias}, {"y": FLOAT})
    gemm = ["Relu", "Tanh", "Sigmoid", "LeakyRelu"][number % 4]
    one = node(
        "FusedGemm", "abc", transB=1, activation=gemm, **({"activation_alpha": 0.2} if gemm == "LeakyRelu" else {})
    )
    given = {"a": floats(cases, m, k)}
    cases.add_floats(
        f"fused_gemm_{number}", one, given, {"b": floats(cases, n, k), "c": floats(cases, n)}, {"y": FLOAT}
    )


def quantized_products(cases, number):
    random = cases.random
    m, k, n = (int(v) for v in random.integers(1, 40, 3))
    b = cases.integers(np.uint8 if number % 2 else np.int8, (k, n))
    per_column = number % 4 >= 2
    zeros = np.zeros(n, b.dtype) if per_column else cases.integers(b.dtype, ())
    p = {"b": b, "b_scale": cases.scale(n if per_column else (), ties=False), "b_zero": zeros, "bias": floats(cases, n)}
    x = floats(cases, 2, m, k)
    cases.add_floats(
        f"dynamic_quantize_matmul_{number}", node("DynamicQuantizeMatMul", ["a", *p]), {"a": x}, p, {"y": FLOAT}, 1e-5
    )
    q = {
        "a_scale": cases.scale(ties=False),
        "a_zero": cases.integers(np.uint8, ()),
    }
    names = ["a", "b", "a_scale", "b_scale", "a_zero", "b_zero", "bias"]
    a = cases.integers(np.uint8, (2, m, k))
    one = node("MatMulIntegerToFloat", names)
    cases.add_floats(f"matmul_integer_to_float_{number}", one, {"a": a}, p | q, {"y": FLOAT}, 1e-4)

    bits, size = (4, 8, 4, 2)[number % 4], int((16, 32, 64)[number % 3])
    if bits == 2:
        size = 32
    k = int(random.integers(1, 4)) * size if number % 5 else int(random.integers(17, 100))
    blocks = -(-k // size)
    p = {"b": random.integers(0, 256, (n, blocks, size * bits // 8)).astype(np.uint8)}
    p["scales"] = cases.scale((n * blocks,), ties=False)
    names = ["a", "b", "scales"]
    if number % 3 == 1:
        p["zeros"] = random.integers(0, 256, (n * -(-blocks * bits // 8),)).astype(np.uint8)
        names.append("zeros")
    if number % 6 == 2 and bits != 2:
        p["zeros"] = random.uniform(0, 2**bits, (n, blocks)).astype(np.float32)
        names.append("zeros")
    one = node("MatMulNBits", names, K=k, N=n, bits=bits, block_size=size)
    cases.add_floats(f"matmul_nbits_{bits}_{number}", one, {"a": floats(cases, 2, m, k)}, p, {"y": FLOAT}, 2e-4)


def pooling(cases, number):
    dtype = np.uint8 if number % 2 else np.int8
    proto = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    x = cases.integers(dtype, (2, 7, 6, 5))
    one = node("NhwcMaxPool", "x", kernel_shape=[3, 2], pads=[1, 0, 1, 1], strides=[2, 1])
    cases.add(f"nhwc_max_pool_{number}", one, {"x": x}, {}, {"y": proto})
    p = {
        f"{name}_{what}": cases.scale(ties=False) if what == "scale" else cases.integers(dtype, ())
        for name in "xyz"
        for what in ("scale", "zero")
    }
    names = ["c", "x", "x_scale", "x_zero", "y", "y_scale", "y_zero", "z_scale", "z_zero"]
    given = {"c": cases.random.integers(0, 2, (2, 1, 6, 5)).astype(bool), "x": x, "y": cases.integers(dtype, (5,))}
    cases.add(f"qlinear_where_{number}", node("QLinearWhere", names, ["z"]), given, p, {"z": proto}, steps=1)


def attention(cases, number):
    random = cases.random
    batch, steps, heads, head = (int(v) for v in random.integers(1, 5, 4))
    inner, hidden = int(random.integers(1, 9)), heads * head
    x = floats(cases, batch, steps, inner)
    p = {"w": floats(cases, inner, 3 * hidden), "bias": floats(cases, 3 * hidden)}
    past = int(random.integers(1, 4)) if number % 3 == 1 else 0
    masks = {
        0: None,
        1: random.integers(0, 2, (batch, past + steps)),
        2: random.integers(1, past + steps + 1, batch),
        3: random.integers(0, 2, (batch, steps, past + steps)),
    }
    mask = masks[number % 4]
    given = {"x": x}
    names = ["x", "w", "bias", "", ""]
    if mask is not None and not (number % 4 == 1 and past + steps == 1):
        given["mask"] = mask.astype(np.int32)
        names[3] = "mask"
    if past:
        given["past"] = floats(cases, 2, batch, heads, past, head)
        names[4] = "past"
    attributes = {"num_heads": heads, "unidirectional": int(number % 5 == 2)}
    one = node("Attention", names, ["y", "present"] if past else ["y"], **attributes)
    outputs = {"y": FLOAT} | ({"present": FLOAT} if past else {})
    cases.add_floats(f"attention_{number}", one, given, p, outputs)

    a = cases.integers(np.uint8, (batch, steps, inner))
    w = cases.integers(np.int8, (inner, 3 * hidden))
    q = {
        "w": w,
        "bias": p["bias"],
        "x_scale": np.float32(0.01),
        "w_scale": np.float32(0.02),
        "x_zero": cases.integers(np.uint8, ()),
        "w_zero": np.array(0, np.int8),
    }
    names = ["x", "w", "bias", "x_scale", "w_scale", "mask" if "mask" in given else "", "x_zero", "w_zero", names[4]]
    while not names[-1]:
        names.pop()
    one = node("QAttention", names, ["y", "present"] if past else ["y"], **attributes)
    cases.add_floats(f"qattention_{number}", one, given | {"x": a}, q, outputs)


def dynamic_lstm(cases, number):
    """Gates differ from ONNX Runtime in the last places, so a state may round to the neighbouring step."""
    random = cases.random
    steps, inner, hidden = (int(v) for v in random.integers(1, 9, 3))
    directions = 2 if number % 3 == 2 else 1
    direction = ["forward", "reverse", "bidirectional"][number % 3]
    x = floats(cases, steps, 1, inner)
    dtype = np.int8 if number % 2 else np.uint8
    per_column = number % 4 >= 2
    shape = (directions, 4 * hidden) if per_column else (directions,)
    p = {
        "w": cases.integers(dtype, (directions, inner, 4 * hidden)),
        "r": cases.integers(dtype, (directions, hidden, 4 * hidden)),
        "b": floats(cases, directions, 8 * hidden, scale=0.3),
        "h": floats(cases, directions, 1, hidden, scale=0.5),
        "c": floats(cases, directions, 1, hidden, scale=0.5),
        "w_scale": random.uniform(0.002, 0.01, shape).astype(np.float32),
        "w_zero": np.full(shape, 0 if dtype == np.int8 else 128, dtype),
        "r_scale": random.uniform(0.002, 0.01, shape).astype(np.float32),
        "r_zero": np.full(shape, 0 if dtype == np.int8 else 128, dtype),
    }
    names = ["x", "w", "r", "b", "", "h", "c", "", "w_scale", "w_zero", "r_scale", "r_zero"]
    one = node("DynamicQuantizeLSTM", names, ["y", "last_h", "last_c"], hidden_size=hidden, direction=direction)
    outputs = {"y": FLOAT, "last_h": FLOAT, "last_c": FLOAT}
    cases.add_floats(f"dynamic_quantize_lstm_{number}", one, {"x": x}, p, outputs, 3e-3)


def recurrent(cases, number):
    random = cases.random
    steps, batch, inner, hidden = (int(v) for v in random.integers(1, 6, 4))
    directions = 2 if number % 3 == 2 else 1
    direction = ["forward", "reverse", "bidirectional"][number % 3]
    x = floats(cases, steps, batch, inner)
    lengths = random.integers(1, steps + 1, batch).astype(np.int32)
    for op_type, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
        p = {
            "w": floats(cases, directions, gates * hidden, inner, scale=0.5),
            "r": floats(cases, directions, gates * hidden, hidden, scale=0.5),
            "b": floats(cases, directions, 2 * gates * hidden, scale=0.5),
            "lengths": lengths,
            "h": floats(cases, directions, batch, hidden, scale=0.5),
        }
        attributes = {"hidden_size": hidden, "direction": direction}
        outputs = {"y": FLOAT, "last_h": FLOAT}
        if op_type == "LSTM":
            p["c"] = floats(cases, directions, batch, hidden, scale=0.5)
            p["p"] = floats(cases, directions, 3 * hidden, scale=0.5)
            attributes["input_forget"] = number % 2
            outputs["last_c"] = FLOAT
        if op_type == "GRU":
            attributes["linear_before_reset"] = number % 2
        if number % 4 == 3:
            attributes["clip"] = 0.6
        if number % 5 == 1:
            functions = {1: ["Relu"], 3: ["HardSigmoid", "Softsign"], 4: ["Sigmoid", "ScaledTanh", "Elu"]}[gates]
            attributes["activations"] = functions * directions
            if gates == 4:
                attributes["activation_alpha"] = [1.2, 0.8] * directions
                attributes["activation_beta"] = [0.7] * directions
        one = node(op_type, ["x", *p], list(outputs), domain="", **attributes)
        cases.add_floats(f"{op_type.lower()}_{number}", one, {"x": x}, p, outputs, 1e-5)


def write(cases, count):
    for number in range(count):
        for group in (
            normalizations,
            activations,
            products,
            quantized_products,
            pooling,
            attention,
            dynamic_lstm,
            recurrent,
        ):
            group(cases, number)
