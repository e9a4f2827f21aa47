"""Every example runs, and prints the figures that it is there for. Times and ratios of times are not looked at."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"

# What the output of an example must contain, as regular expressions.
FIGURES: dict[str, list[str]] = {
    "tensors": [
        r"real     182 247 0 76 255 197 229 139 136 244",
        r"back     0.4620538 1.1475316 -1.4572839 -0.6558022 1.2318981 0.620241 0.957707 0.00858392 -0.0230535",
        r"integer  182 246 0 76 255 197 229 138 136 244   with zero point 138",
        r"real     79 255 16 0 155 141 231 236 129 199   mean squared error 5.47e-06",
        r"integer  79 255 16 0 154 141 231 235 128 199   mean squared error 3.65e-06",
        r"40 bytes become 10: ratio 0.25",
        r"scale 12/255 = 0.047, zero point 128",
        r"asymmetric: scale 0.34604, zero point 130, ends at 0 and 255, mean squared error 0.009\d+",
        r"symmetric : scale 0.35378, zero point 0, ends at -127 and 122, mean squared error 0.01\d+",
        r"mean \|x - back\| = 0.0\d+",
        r"memory 4 : 1",
        r"3.81 MB as fp32, 0.95 MB as int8",
        r"equal to the exact product: True",
        r"min_max .*\n.*percentile .*\n.*mse .*\n.*kl_divergence .*\n.*cross_entropy ",
        r"without any float, as gemmlowp: times \d+, shifted right by 38: 0 165 176",
        r"the engine's:  0 165 176 ",
    ],
    "wide_linear": [
        r"Linear\(1024, 1024\) on x = randn\(1000, 1024\)",
        rf"scale of x {NUMBER}, zero point \d+",
        r"int8 static .* 3.9\dx smaller .* SQNR (3[5-9]|4\d)\.\d dB",
        r"int8 dynamic .* 3.9\dx smaller .* SQNR (3[5-9]|4\d)\.\d dB",
    ],
    "onnxruntime_files": [
        rf"zeropoint static +{NUMBER} kB  \(0.3\d\)   9\d.\d\d %",
        rf"ONNX Runtime static +{NUMBER} kB  \(0.3\d\)   9\d.\d\d %",
        rf"ONNX Runtime dynamic +{NUMBER} kB  \(0.3\d\)   8\d.\d\d %",
        r"zeropoint static: input scale 0.011109, zero point 73 \(uint8\)",
        r"ONNX Runtime static: input scale 0.011109, zero point -55 \(int8\)",
        r"ONNX Runtime's file in zeropoint: class 9, label 9",
    ],
    "qat": [
        rf"step 1: loss {NUMBER}, scales {NUMBER} {NUMBER} {NUMBER}",
        r"step 5: loss ",
        r"weights as integers: \[\[-?\d, ",
        rf"loss of the file {NUMBER}, module and file equal: True",
        r"fp32 +[78]\d.\d\d % +9\d.\d kB",
        r"4 bits, gptq +[78]\d.\d\d % +2\d.\d kB",
        r"4 bits, trained +[78]\d.\d\d % +2\d.\d kB",
        r"   module and file equal: True",
        rf"4-bit training +{NUMBER}( +{NUMBER}){{10}}",
    ],
    "decoder_sizes": [
        r"6,738,415,616 parameters, of them 6,738,149,376 in matrices",
        r"fp32 +26.95 GB",
        r"fp16 +13.48 GB",
        r"int4 +3.38 GB +3.58 GB +3.79 GB +4.21 GB",
        r"weight_only_w8 +5.34 MB +5.37 MB +3.92  (29|3\d)\.\d dB",
        r"weight_only_w4_g128 +2.81 MB +3.36 MB +6.26  +(8|9|1\d)\.\d dB",
        r"weight_only_w4_g32 +3.30 MB +3.81 MB +5.53  +(9|1\d)\.\d dB",
    ],
    "pytorch_static": [
        r"mlp: quantized(?s:.*)cnn: quantized(?s:.*)resnet18: quantized",
        r"6 modules became 4 steps, 4 of them in integers",
        r"12 modules became 8 steps, 8 of them in integers",
        r"as int8 times 0\.000\d+ +\[ *-?\d+ ",
        r"SQNR of the outputs +[3-6]\d\.\d\d dB",
        r"accuracy +[78]\d\.\d\d % -> [78]\d\.\d\d %",
        r"size of the constants +0\.83 MB -> 0\.21 MB, ratio 0\.25",
        r"size of the constants +46\.7\d MB -> 11\.\d\d MB, ratio 0\.25",
    ],
    "pytorch_dynamic": [
        r"12 Linear layers hold 9\.0 % of the parameters",
        r"in integers: 9\d\.\d % of the multiply-accumulates",
        r"SQNR of the hidden states +[34]\d\.\d\d dB",
        r"cosine of a token's state  0\.999\d+",
        r"ratio 0\.258",
    ],
    "tensorrt_engine": [
        r"319.5 kB -> 10\d.\d kB \(3.\d\dx smaller\)",
        r"input: scale 0.0\d+, zero point 0 \(int8\)",
        r"weights in int8, zero point 0: +10",
        r"convolutions and products of quantized values: +10",
        r"fits TensorRT's explicit quantization",
    ],
    "workflow": [
        r"fp32 +309.7 kB +9\d.\d\d %",
        r"fp16 +154.8 kB +9\d.\d\d % .* within the budget",
        r"int8 +81.6 kB +9\d.\d\d % .* within the budget",
        r"input: scale 0.011109, zero point 73",
        r"/0/0.0/Conv \(Conv\)",
        r"static_w8a8 .* (chosen|within)",
        r"chosen: .*; test pictures 9\d.\d\d %, fp32 9\d.\d\d %",
    ],
}


def needs(example: Path) -> list[str]:
    """Packages that it imports at its head; what is imported inside functions is optional."""
    statements = ast.parse(example.read_text()).body
    statements += [inner for statement in statements if isinstance(statement, ast.Try) for inner in statement.body]
    modules = [alias.name for statement in statements if isinstance(statement, ast.Import) for alias in statement.names]
    modules += [statement.module or "" for statement in statements if isinstance(statement, ast.ImportFrom)]
    return sorted({module.split(".")[0] for module in modules} - {"", "zeropoint"} - sys.stdlib_module_names)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example(example: Path, tmp_path: Path) -> None:
    for package in needs(example):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    quick = ["--quick"] if '"--quick"' in example.read_text() else []
    command = [sys.executable, str(example), *quick]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for figure in FIGURES.get(example.stem, []):
        assert re.search(figure, result.stdout), f"{figure}\nis not in\n{result.stdout}"


def test_figures_belong_to_examples() -> None:
    assert set(FIGURES) <= {example.stem for example in EXAMPLES}


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_missing_package_is_named(package: str, tmp_path: Path) -> None:
    """As on a machine that lacks it: importing it fails."""
    (tmp_path / f"{package}.py").write_text(f"raise ImportError('no {package} here')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    for example in (path for path in EXAMPLES if path.stem in FIGURES and package in needs(path)):
        command = [sys.executable, str(example)]
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=120, env=os.environ | {"PYTHONPATH": path}
        )
        assert result.returncode != 0 and "Traceback" not in result.stderr, result.stderr
        assert f"pip install {package}" in result.stderr or f" {package}" in result.stderr.split("pip install")[-1]
