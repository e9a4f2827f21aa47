#!/usr/bin/env python3
"""Checks that each folder of src/ includes only folders that stand left of it (docs/pipeline.md), that intrinsics stand only in
kernel files named for their instruction set, and that ONNX's generated classes are known only to src/onnx.

usage: tools/check_layers.py [ROOT]
"""

import pathlib
import re
import sys

# folder -> the folders that it may include, besides itself
ORDER = [
    "base",
    "numerics",
    "ir",
    "ops",
    "onnx",
    "passes",
    "kernels",
    "engine",
    "data",
    "calib",
    "train",
    "quant",
    "analyze",
    "pipeline",
    "export",
    "report",
]
BELOW = {folder: set(ORDER[:i]) for i, folder in enumerate(ORDER)}
BELOW["kernels"] = {"base", "numerics"}
BELOW["passes"] -= {"onnx"}
BELOW["report"] -= {"export"}

# public header -> the folder that owns it
PUBLIC = {
    "error": "base",
    "cpu": "base",
    "tensor": "ir",
    "graph": "ir",
    "qparams": "ir",
    "samples": "ir",
    "passes": "passes",
    "insert_qdq": "passes",
    "bias_correction": "quant",
    "channel_scaling": "quant",
    "smooth_quant": "quant",
    "split_outliers": "quant",
    "session": "engine",
    "data": "data",
    "statistics": "calib",
    "calibrator": "calib",
    "recipe": "quant",
    "steps": "quant",
    "rounding": "quant",
    "ranges": "quant",
    "convert_floats": "quant",
    "quantize_tensor": "ir",
    "report": "analyze",
    "metric": "analyze",
    "sensitivity": "analyze",
    "inspect": "analyze",
    "quantize": "pipeline",
    "budget": "pipeline",
    "zeropoint": "report",
}

INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', re.M)
# one instruction set's source, a header for such sources, or the one vector wrapper that all of them share
ISA_FILE = re.compile(r"^((x86|arm)_[a-z0-9_]+\.(cpp|h)|vector\.h)$")


def folder_of(include: str) -> str | None:
    parts = include.split("/")
    if parts[0] == "zeropoint" and len(parts) == 2:
        return PUBLIC.get(parts[1].removesuffix(".h"), "?")
    return parts[0] if len(parts) > 1 and parts[0] in BELOW else None


def check(root: pathlib.Path) -> list[str]:
    problems = []
    files = sorted((root / "src").rglob("*.cpp")) + sorted((root / "src").rglob("*.h"))
    headers = sorted((root / "include/zeropoint").glob("*.h"))
    for path in files + headers:
        own = (
            path.relative_to(root / "src").parts[0] if path.is_relative_to(root / "src") else PUBLIC.get(path.stem, "?")
        )
        name = path.relative_to(root)
        if own == "?":
            problems.append(
                f"{name}: no folder owns this public header; add it to PUBLIC in {pathlib.Path(__file__).name}"
            )
            continue
        # Tests of the engine and above compare with the file reader; a test may use the text form of ir and its own layer.
        for include in INCLUDE.findall(path.read_text()):
            target = folder_of(include)
            if target == "?":
                problems.append(f"{name}: includes <{include}>, which no folder owns")
            elif target and target != own and target not in BELOW[own]:
                problems.append(f"{name}: {own} must not include {include} of {target}")
            if re.search(r"(immintrin|arm_neon|x86intrin)\.h$", include) and not (
                own == "kernels" and ISA_FILE.match(path.name)
            ):
                problems.append(f"{name}: intrinsics belong into src/kernels/*/x86_ISA.cpp or arm_ISA.cpp")
            if include.endswith(".pb.h") and own != "onnx":
                problems.append(f"{name}: ONNX's classes belong into src/onnx")
            if include.startswith("dnnl") and own != "kernels":
                problems.append(f"{name}: oneDNN belongs into src/kernels")
    return problems


def main() -> int:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    problems = check(root)
    print("\n".join(problems) if problems else "layers hold")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
