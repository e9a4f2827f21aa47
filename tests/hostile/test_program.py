"""The program on the malformed files of tests/hostile: each is refused in one line, in time and in memory, no other taken.

`zeropoint inspect` reads each file within 2 GiB and 10 s of processor time; what passes is then run on random inputs and
must be valid by onnx.checker or load in ONNX Runtime. The verdicts of those two on all files are printed beside ours.
`zeropoint quantize` gets each file, too: it refuses what `inspect` refuses. Every refusal names the file.
"""

import collections
import os
import pathlib
import resource
import subprocess
import sys

import onnx
import onnxruntime
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("ZEROPOINT_BUILD", ROOT / "build/release"))
ZEROPOINT = pathlib.Path(os.environ.get("ZEROPOINT", BUILD / "zeropoint"))
MEMORY, SECONDS = 2 << 30, 10


def limits():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))


def program(*arguments):
    return subprocess.run(
        [ZEROPOINT, *map(str, arguments)], capture_output=True, timeout=120, preexec_fn=limits, stdin=subprocess.DEVNULL
    )


def complaint(result, path):
    """What is wrong with a refusal, or None."""
    error = result.stderr.decode(errors="replace")
    if result.returncode != 2:
        return f"exit code {result.returncode}: {error[-200:]}"
    if error.count("\n") != 1 or not error.startswith("zeropoint: error: "):
        return f"not one line: {error[:200]!r}"
    if any(ord(c) < 32 or ord(c) == 127 for c in error[:-1]):
        return f"control characters: {error!r}"
    if "internal" in error or "out of memory" in error:
        return error
    if path.name not in error:
        return f"does not name the file: {error}"
    return None


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    lines = subprocess.run(
        [BUILD / "tests/hostile/write_hostile_models", folder], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return {folder / f"{name}.onnx": expected for name, expected in map(str.split, lines)}


def others(path):
    """Whether onnx.checker and ONNX Runtime take the file."""
    try:
        onnx.checker.check_model(onnx.load(path, load_external_data=False), full_check=True)
        checker = True
    except Exception:
        checker = False
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        runtime = True
    except Exception:
        runtime = False
    return checker, runtime


def test_every_file(files, tmp_path):
    tally, wrong, beside = collections.Counter(), [], collections.Counter()
    quantized = tmp_path / "quantized.onnx"
    for path, expected in files.items():
        result = program("inspect", path)
        verb = "inspect"
        if result.returncode == 0:  # operators pass through unknown; running asks for more
            result, verb = program("run", path, "--random"), "run"
        taken = result.returncode == 0
        again = program("quantize", path, "-o", quantized, "--recipe", "dynamic_w8a8", "--quiet")
        tally["quantized" if again.returncode == 0 else "not quantized"] += 1
        if again.returncode != 0 and (fault := complaint(again, path)):
            wrong.append(f"{path.name}, quantize: {fault}")
        elif again.returncode == 0 and verb == "inspect":
            wrong.append(f"{path.name} was quantized, but inspect refuses it: {result.stderr.decode().strip()}")
        if not taken and (fault := complaint(result, path)):
            wrong.append(f"{path.name}, {verb}: {fault}")
            continue
        if path.name.startswith(("functions_that_double", "deep", "empty_", "external_fifo")):
            checker, runtime = False, False  # these hang or crash others
        else:
            checker, runtime = others(path)
        beside[f"onnx.checker {'takes' if checker else 'refuses'}, ours {'takes' if taken else 'refuses'}"] += 1
        beside[f"onnxruntime {'takes' if runtime else 'refuses'}, ours {'takes' if taken else 'refuses'}"] += 1
        if taken and expected == "refuse":
            wrong.append(f"{path.name} was taken")
        elif taken and not (checker or runtime):
            wrong.append(f"{path.name} was taken, but neither onnx.checker nor ONNX Runtime takes it")
        tally["taken and valid" if taken else f"refused by {verb}"] += 1
    print(f"\n{len(files)} files: {dict(tally)}, {len(wrong)} wrong", file=sys.stderr)
    for line, count in sorted(beside.items()):
        print(f"{count:6} {line}", file=sys.stderr)
    assert not wrong, "\n" + "\n".join(wrong)
    assert sum(count for verdict, count in tally.items() if verdict.startswith("refused by")) >= 500


def model_bytes(nodes, initializers=(), outputs=("y",), dims=(1, 4)):
    helper, f32 = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", f32, dims)],
        [helper.make_tensor_value_info(o, f32, None) for o in outputs],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def chain(count, op_type="Relu"):
    node = onnx.helper.make_node
    return model_bytes(
        [node(op_type, [f"v{i}" if i else "x"], [f"v{i + 1}" if i + 1 < count else "y"]) for i in range(count)]
    )


def fan(count):
    """One value with many readers, summed in one node."""
    node = onnx.helper.make_node
    nodes = [node("Relu", ["x"], [f"v{i}"]) for i in range(count)]
    return model_bytes([*nodes, node("Sum", [f"v{i}" for i in range(count)], ["y"])])


def many_outputs(count):
    node = onnx.helper.make_node
    return model_bytes([node("Relu", ["x"], [f"v{i}"]) for i in range(count)], outputs=[f"v{i}" for i in range(count)])


def products(count):
    """Products with one matrix, each an output of the graph."""
    node = onnx.helper.make_node
    w = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [4, 2], [1.0] * 8)
    nodes = [node("MatMul", ["x", "w"], [f"v{i}"]) for i in range(count)]
    return model_bytes(nodes, [w], [f"v{i}" for i in range(count)])


def doubling(count):
    """Each node reads the one before twice: 2^count paths."""
    node = onnx.helper.make_node
    return model_bytes(
        [node("Add", [f"v{i}" if i else "x"] * 2, [f"v{i + 1}" if i + 1 < count else "y"]) for i in range(count)]
    )


def claims(op, values, **attributes):
    """A node whose output is as large as a few bytes in the file say."""
    helper, numpy = onnx.helper, onnx.numpy_helper
    import numpy as np

    initializers = [numpy.from_array(np.array(v), f"i{k}") for k, v in enumerate(values)]
    names = [f"i{k}" for k in range(len(values))]
    inputs = names if op in ("ConstantOfShape", "Range") else ["x", *names]
    nodes = [helper.make_node(op, inputs, ["t"], **attributes)]
    if op == "Range":
        nodes.append(helper.make_node("Cast", ["t"], ["y"], to=1))
    else:
        nodes.append(helper.make_node("Relu", ["t"], ["y"]))
    return model_bytes(nodes, initializers)


def behind_conv(nodes, x="x", initializers=(), dims=(1, 4, 8, 8)):
    """A convolution that makes `c`, then these nodes."""
    w = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [4, 4, 1, 1], [1.0] * 16)
    return model_bytes([onnx.helper.make_node("Conv", [x, "w"], ["c"]), *nodes], [w, *initializers], dims=dims)


def links(op_type, count, first, last, more=(), **attributes):
    names = [first, *(f"v{i}" for i in range(1, count)), last]
    return [onnx.helper.make_node(op_type, [names[i], *more], [names[i + 1]], **attributes) for i in range(count)]


def before_conv(op_type, count, more=(), initializers=(), beside=(), **attributes):
    """Quantizers spread, and paddings are folded, from the convolution to the chain before it."""
    w = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [4, 4, 1, 1], [1.0] * 16)
    nodes = [*links(op_type, count, "x", "t", more, **attributes), onnx.helper.make_node("Conv", ["t", "w"], ["y"])]
    return model_bytes([*nodes, *beside], [w, *initializers], dims=(1, 4, 8, 8))


def integers(name, values):
    return onnx.helper.make_tensor(name, onnx.TensorProto.INT64, [len(values)], values)


def constant_chain(count):
    """A megabyte in each node, of eight bytes in the file."""
    node = onnx.helper.make_node
    nodes = [node("ConstantOfShape", ["s"], ["c"]), *links("Tanh", count, "c", "t"), node("Add", ["t", "x"], ["y"])]
    return model_bytes(nodes, [integers("s", [1 << 18])], dims=(1,))


def normalized(count):
    """Each convolution takes the normalization behind it into weights of its own: a megabyte, which the file shares."""
    node, tensor, f32 = onnx.helper.make_node, onnx.helper.make_tensor, onnx.TensorProto.FLOAT
    nodes = [node("Sum", [f"v{i}" for i in range(count)], ["y"])]
    for i in range(count):
        nodes += [node("Conv", ["x", "w"], [f"c{i}"]), node("BatchNormalization", [f"c{i}", *"pppp"], [f"v{i}"])]
    weights = tensor("w", f32, [512, 512, 1, 1], bytes(4 << 18), raw=True)
    return model_bytes(nodes, [weights, tensor("p", f32, [512], [1.0] * 512)], dims=(1, 512, 1, 1))


def einsums(count):
    """Sums of 2^23 products each of small constants."""
    node, tensor, f32 = onnx.helper.make_node, onnx.helper.make_tensor, onnx.TensorProto.FLOAT
    nodes = [node("Einsum", ["a", "a", "b"], [f"v{i}"], equation="ab,cd,e->") for i in range(count)]
    nodes += [node("Sum", [f"v{i}" for i in range(count)], ["t"]), node("Add", ["t", "x"], ["y"])]
    return model_bytes(nodes, [tensor("a", f32, [32, 32], [1.0] * 1024), tensor("b", f32, [8], [1.0] * 8)], dims=(1,))


def many_axes(count, rank):
    """Each node's type takes as much as a million numbers of a shape say."""
    nodes = [onnx.helper.make_node("Reshape", ["x", "s"], ["t"]), *links("Tanh", count, "t", "y")]
    return model_bytes(nodes, [integers("s", [1] * rank)], dims=(1,))


def long_axis(op_type, inputs=("x",), initializers=(), dims=(1 << 40, 0), outputs=("y",), before=(), **attributes):
    """A million million rows without elements."""
    made = [f"{output}_made" for output in outputs]
    nodes = [onnx.helper.make_node(op_type, inputs, made, **attributes)]
    casts = [onnx.helper.make_node("Cast", [t], [y], to=1) for t, y in zip(made, outputs)]
    return model_bytes([*before, *nodes, *casts], initializers, outputs, dims)


LARGE = {
    "chain_of_a_million": (lambda: chain(1_000_000), "inspect"),
    "chain_that_stays": (lambda: chain(500_000, "Tanh"), "inspect"),
    "100000_products": (lambda: products(100_000), "inspect"),
    "fan_of_100000": (lambda: fan(100_000), "inspect"),
    "100000_outputs": (lambda: many_outputs(100_000), "inspect"),
    "doubling_100000": (lambda: doubling(100_000), "inspect"),
    "expand_to_a_terabyte": (lambda: claims("Expand", [[1 << 19, 1 << 19, 4]]), "run"),
    "tile_to_a_terabyte": (lambda: claims("Tile", [[1 << 19, 1 << 19]]), "run"),
    "constant_of_a_terabyte": (lambda: claims("ConstantOfShape", [[1 << 19, 1 << 19]]), "run"),
    "range_of_a_terabyte": (lambda: claims("Range", [0, 1 << 38, 1]), "run"),
    "pad_to_a_terabyte": (lambda: claims("Pad", [[0, 0, 1 << 19, 1 << 19]]), "run"),
    "transposes_before_conv": (lambda: before_conv("Transpose", 50_000, perm=[0, 1, 3, 2]), "inspect"),
    "transposes_by_the_table": (
        lambda: before_conv("Transpose", 50_000, perm=[0, 1, 3, 2]),
        "inspect --target zeropoint",
    ),
    "transposes_with_readers_by_the_table": (
        lambda: before_conv(
            "Transpose",
            20_000,
            perm=[0, 1, 3, 2],
            beside=[onnx.helper.make_node("Tanh", [f"v{i}"], [f"t{i}"]) for i in range(1, 20_000)],
        ),
        "inspect --target zeropoint",
    ),
    "pads_before_conv": (
        lambda: before_conv("Pad", 50_000, ["p"], [integers("p", [0] * 7 + [1])]),
        "inspect",
    ),
    "joins_of_joins": (
        lambda: behind_conv(
            [
                onnx.helper.make_node("Concat", [f"j{i}" if i else "c"] * 2, [f"j{i + 1}" if i < 59 else "y"], axis=0)
                for i in range(60)
            ],
            dims=(0, 4, 8, 8),
        ),
        "inspect",
    ),
    "convolution_and_500000_tanh": (lambda: behind_conv(links("Tanh", 500_000, "c", "y")), "inspect"),
    "20000_transposed_products": (
        lambda: model_bytes(
            links("Gemm", 20_000, "x", "y", ["w"], transA=1),
            [onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [4, 4], [1.0] * 16)],
            dims=(4, 4),
        ),
        "inspect",
    ),
    "constants_of_20_gigabytes": (lambda: constant_chain(20_000), "inspect"),
    "shared_weights_of_5_gigabytes": (lambda: normalized(5_000), "inspect"),
    "einsums_of_constants": (lambda: einsums(10_000), "inspect"),
    "tensors_of_10000_axes": (lambda: many_axes(20_000, 10_000), "inspect"),
    "long_axis_sum": (lambda: long_axis("CumSum", ["x", "a"], [integers("a", [1])]), "run"),
    "long_axis_top": (lambda: long_axis("TopK", ["x", "k"], [integers("k", [0])], outputs=("y", "i")), "run"),
    "long_axis_boxes": (
        lambda: long_axis(
            "NonMaxSuppression",
            ["x", "scores"],
            dims=(1 << 40, 0, 4),
            before=[onnx.helper.make_node("Transpose", ["x"], ["scores"], perm=[0, 2, 1])],
        ),
        "run",
    ),
    "long_axis_pad": (lambda: long_axis("Pad", ["x", "p"], [integers("p", [0, 0, 1 << 39, 0])]), "run"),
    "long_axis_lstm": (
        lambda: long_axis(
            "LSTM",
            ["x", "w", "r"],
            [
                onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1, 4, 3], [1.0] * 12),
                onnx.helper.make_tensor("r", onnx.TensorProto.FLOAT, [1, 4, 1], [1.0] * 4),
            ],
            dims=(1 << 40, 0, 3),
            hidden_size=1,
        ),
        "run",
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_large(name, tmp_path):
    """Done or refused within the limits."""
    make, verb = LARGE[name]
    path = tmp_path / f"{name}.onnx"
    path.write_bytes(make())
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = program(*verb.split(), path, *(["--random"] if verb == "run" else []))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"\n{name}: {'done' if result.returncode == 0 else result.stderr.decode().strip()} in {seconds:.2f} s",
        file=sys.stderr,
    )
    if result.returncode != 0:
        assert result.returncode == 2, result.stderr[-300:]
        assert complaint(result, path) is None
        assert b"node '" in result.stderr or b"node of '" in result.stderr
