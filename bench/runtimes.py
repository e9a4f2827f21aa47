"""The runtimes that are compared, behind one call: load(runtime, path, ...) -> feeds -> list of outputs.

Each is imported when it is asked for, so that one that is not installed hinders none of the others.
"""

import functools
import importlib.util
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx

ROOT = Path(__file__).resolve().parent.parent
Feeds = Mapping[str, np.ndarray]
Run = Callable[[Feeds], list[np.ndarray]]

if importlib.util.find_spec("zeropoint") is None:
    sys.path.append(str(ROOT / "build" / "release" / "python"))


def load_zeropoint(path: Path, threads: int, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Run:
    import zeropoint

    session = zeropoint.Session(path, threads=threads)
    return lambda feeds: session.run(None, feeds)


def load_onnxruntime(path: Path, threads: int, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Run:
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    for name, size in symbolic_dims(path, shapes or {}).items():
        options.add_free_dimension_override_by_name(name, size)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, feeds)


def load_openvino(path: Path, threads: int, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Run:
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    if shapes:
        model.reshape({port: list(shapes[port.any_name]) for port in model.inputs})
    compiled = core.compile_model(
        model,
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",  # its default computes float parts in bf16 where the CPU can
        },
    )
    request = compiled.create_infer_request()

    def run(feeds: Feeds) -> list[np.ndarray]:
        results = request.infer(dict(feeds), share_inputs=True, share_outputs=True)
        return list(results.values())

    return run


def load_torch(path: Path, threads: int, engine: str | None = None) -> Run:
    """A model that is one Gemm, as torch.nn.Linear, dynamically quantized by `engine`."""
    import torch
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    if [node.op_type for node in graph.node] != ["Gemm"]:
        raise ValueError("torch runs models of one Gemm alone")
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weight, bias = (torch.from_numpy(arrays[name].copy()) for name in graph.node[0].input[1:])
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    linear.weight, linear.bias = (torch.nn.Parameter(value, requires_grad=False) for value in (weight, bias))
    torch.set_num_threads(threads)
    model = torch.nn.Sequential(linear)
    if engine:
        torch.backends.quantized.engine = engine
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated in favour of a package of its own
            model = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, torch.qint8)

    def run(feeds: Feeds) -> list[np.ndarray]:
        (x,) = feeds.values()
        if engine:
            torch.backends.quantized.engine = engine
        with torch.inference_mode():
            return [model(torch.from_numpy(x)).numpy()]

    return run


RUNTIMES = {
    "zeropoint": load_zeropoint,
    "onnxruntime": load_onnxruntime,
    "openvino": load_openvino,
    "torch": lambda path, threads, shapes=None: load_torch(path, threads),
    "torch_onednn": lambda path, threads, shapes=None: load_torch(path, threads, "onednn"),
    "torch_fbgemm": lambda path, threads, shapes=None: load_torch(path, threads, "fbgemm"),
}
GENERAL = ("zeropoint", "onnxruntime", "openvino")  # those that run models of any kind


@functools.cache
def installed(package: str) -> bool:
    found = importlib.util.find_spec(package) is not None
    if not found:
        print(f"{package} is not installed: left out", file=sys.stderr)
    return found


def available(names: list[str]) -> list[str]:
    """Those of `names` (package, or package_variant) that are installed; says on stderr, once, which are not."""
    return [name for name in names if installed(name.partition("_")[0])]


def reads(runtime: str, path: Path) -> bool:
    """Whether `runtime` reads this kind of file."""
    return path.suffix == ".onnx" or runtime == "openvino"


def inputs(path: Path) -> dict[str, tuple[int, list[int | str]]]:
    """Name -> (ONNX element type, shape) of each input of an ONNX file; free dimensions by name, or "?"."""
    graph = onnx.load(path, load_external_data=False).graph
    weights = {initializer.name for initializer in graph.initializer}
    return {
        value.name: (
            value.type.tensor_type.elem_type,
            [
                dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else dim.dim_param or "?"
                for dim in value.type.tensor_type.shape.dim
            ],
        )
        for value in graph.input
        if value.name not in weights
    }


def symbolic_dims(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    return {
        dim: size
        for name, (_, declared) in inputs(path).items()
        if name in shapes
        for dim, size in zip(declared, shapes[name], strict=True)
        if isinstance(dim, str) and dim != "?"
    }


def run_in_batches(run: Run, name: str, images: np.ndarray, batch: int = 16) -> np.ndarray:
    """First output for all `images`, `batch` at a time."""
    # A copy: a runtime may hand out the same memory each time.
    return np.concatenate([np.array(run({name: images[i : i + batch]})[0]) for i in range(0, len(images), batch)])


def sqnr_db(reference: np.ndarray, output: np.ndarray) -> float:
    """Signal to quantization noise ratio: 10 log10(sum ref^2 / sum (ref - out)^2)."""
    reference, output = reference.astype(np.float64), output.astype(np.float64)
    noise = np.square(reference - output).sum()
    return float(10 * np.log10(np.square(reference).sum() / noise)) if noise else float("inf")
