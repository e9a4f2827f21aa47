#!/usr/bin/env python3
"""Quantizes a float model to int8 with zeropoint and with the quantizers it is compared with, on the same samples.

    build/venv/bin/python bench/quantizers.py MODEL.onnx --data IMAGES.npz [--count 64] [--seed 0] [--out build/bench]

writes OUT/MODEL.zeropoint.onnx, OUT/MODEL.onnxruntime.onnx and OUT/MODEL.nncf.xml; --by names others too.
"""

import argparse
import contextlib
import functools
import logging
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from runtimes import available, inputs

Samples = Sequence[Mapping[str, np.ndarray]]  # each with its batch axis


def by_zeropoint(model: Path, samples: Samples, out: Path, verify: bool = True, target: str = "onnxruntime") -> None:
    """static_w8a8 as it comes; without `verify` nothing is repaired."""
    import zeropoint

    recipe = zeropoint.recipes.static_w8a8()
    zeropoint.quantize(zeropoint.load(model), list(samples), recipe, target=target, verify=verify).model.save(out)


def by_zeropoint_dynamic(model: Path, samples: Samples, out: Path, verify: bool = True) -> None:
    """dynamic_w8a8 for our own engine; looks at no samples."""
    import zeropoint

    recipe = zeropoint.recipes.dynamic_w8a8()
    zeropoint.quantize(model, recipe=recipe, target="zeropoint", verify=verify).model.save(out)


def by_onnxruntime(model: Path, samples: Samples, out: Path, ranges: str = "MinMax") -> None:
    """Q/DQ, u8 activations, s8 weights per channel, on the model as its own preprocessing leaves it."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.samples = iter(samples)

        def get_next(self):
            return next(self.samples, None)

    logging.getLogger().setLevel(logging.ERROR)
    model, out = model.resolve(), out.resolve()
    # Its shape inference leaves files in the working directory where it fails, as on transformers of free length.
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        prepared = Path(folder) / "prepared.onnx"
        try:
            quant_pre_process(model, prepared)
        except Exception as error:  # it raises nothing more particular
            if "symbolic shape inference" not in str(error) and not isinstance(error, AssertionError):
                raise
            quant_pre_process(model, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            out,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod[ranges],
        )


def by_onnxruntime_dynamic(model: Path, samples: Samples, out: Path) -> None:
    """Its dynamic quantization as it comes, but s8 weights, for which its kernels are made; looks at no samples."""
    from onnxruntime import quantization

    logging.getLogger().setLevel(logging.ERROR)
    quantization.quantize_dynamic(model, out, weight_type=quantization.QuantType.QInt8)


def by_nncf(model: Path, samples: Samples, out: Path, transformer: bool = False, accurate: bool = False) -> None:
    """NNCF's post-training quantization as it comes, saved as OpenVINO's own format, or as ONNX where `out` ends so.
    accurate: with the bias correction that runs the network again after each layer."""
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    kind = nncf.ModelType.TRANSFORMER if transformer else None
    dataset = nncf.Dataset([dict(sample) for sample in samples])
    is_onnx = out.suffix == ".onnx"
    source = onnx.load(model) if is_onnx else openvino.convert_model(model)
    quantized = nncf.quantize(
        source, dataset, model_type=kind, subset_size=len(samples), fast_bias_correction=not accurate
    )
    if is_onnx:
        onnx.save(quantized, out)
    else:
        openvino.save_model(quantized, out, compress_to_fp16=False)


QUANTIZERS = {
    "zeropoint": (by_zeropoint, ".onnx"),
    "zeropoint_engine": (functools.partial(by_zeropoint, target="zeropoint"), ".onnx"),
    "zeropoint_dynamic": (by_zeropoint_dynamic, ".onnx"),
    "onnxruntime": (by_onnxruntime, ".onnx"),
    "onnxruntime_dynamic": (by_onnxruntime_dynamic, ".onnx"),
    "onnxruntime_percentile": (functools.partial(by_onnxruntime, ranges="Percentile"), ".onnx"),
    "onnxruntime_entropy": (functools.partial(by_onnxruntime, ranges="Entropy"), ".onnx"),
    "nncf": (by_nncf, ".xml"),
    "nncf_transformer": (functools.partial(by_nncf, transformer=True), ".xml"),
    "nncf_accurate": (functools.partial(by_nncf, accurate=True), ".xml"),
    "nncf_onnx": (by_nncf, ".onnx"),
    "nncf_transformer_onnx": (functools.partial(by_nncf, transformer=True), ".onnx"),
    "nncf_transformer_accurate": (functools.partial(by_nncf, transformer=True, accurate=True), ".xml"),
}
BY_DEFAULT = ("zeropoint", "onnxruntime", "nncf")


def write(quantizer: str, model: Path, samples: Samples, folder: Path, verify: bool = True) -> Path:
    """Quantizes `model` into `folder`, says what that took, and returns the file.

    `verify`: whether zeropoint checks and repairs its result, as it does by default.
    """
    quantize, suffix = QUANTIZERS[quantizer]
    out = folder / f"{model.stem}.{quantizer}{suffix}"
    start = time.monotonic()
    quantize(model, samples, out, **({} if verify or not quantizer.startswith("zeropoint") else {"verify": False}))
    size = sum(path.stat().st_size for path in {out, out.with_suffix(".bin")} if path.exists())
    print(f"{out}: {size / 1e6:.2f} MB, {time.monotonic() - start:.1f} s", file=sys.stderr)
    return out


def draw(count: int, total: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` of `total` indices drawn by `seed`, and all the others; both in order."""
    chosen = np.random.RandomState(seed).permutation(total)[:count]
    return np.sort(chosen), np.setdiff1d(np.arange(total), chosen)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, help="float ONNX file with one input")
    parser.add_argument("--data", type=Path, required=True, help=".npz with an array `images` [N,...]")
    parser.add_argument("--count", type=int, default=64, help="samples to calibrate on")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--by", default=",".join(BY_DEFAULT), help=f"of {','.join(QUANTIZERS)} (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    args = parser.parse_args(argv)

    (name,) = inputs(args.model)
    images = np.load(args.data)["images"]
    samples = [{name: images[i : i + 1]} for i in draw(args.count, len(images), args.seed)[0]]
    args.out.mkdir(parents=True, exist_ok=True)
    wanted = args.by.split(",")
    if unknown := set(wanted) - set(QUANTIZERS):
        parser.error(f"no quantizer {sorted(unknown)[0]!r}; there are {', '.join(QUANTIZERS)}")
    for quantizer in available(wanted):
        write(quantizer, args.model, samples, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
