"""The recipes to start from. Each call gives a fresh value; its methods return changed copies."""

from __future__ import annotations

from ._core import Recipe, named_recipe, recipe_names

__all__ = [
    "bf16",
    "dynamic_w8a8",
    "fp16",
    "named",
    "names",
    "static_w4a8",
    "static_w8a8",
    "static_w8a16",
    "weight_only_w4",
    "weight_only_w8",
]


def names() -> list[str]:
    """Names of the built-in recipes."""
    return recipe_names()


def named(name: str) -> Recipe:
    """The built-in recipe of that name. Raises Error listing them when there is none."""
    return named_recipe(name)


def static_w8a8() -> Recipe:
    """Weights int8 per output channel, activations uint8 per tensor, both with ranges fixed by calibration."""
    return named("static_w8a8")


def dynamic_w8a8() -> Recipe:
    """Weights int8 per output channel, activations uint8 over their range at run time. Needs no samples."""
    return named("dynamic_w8a8")


def static_w8a16() -> Recipe:
    """Weights int8 per output channel, activations uint16: for networks whose activations 8 bits are too few for."""
    return named("static_w8a16")


def static_w4a8() -> Recipe:
    """Weights int4 per output channel, rounded by the step gptq, activations uint8. Statistics alone do not do."""
    return named("static_w4a8")


def weight_only_w8() -> Recipe:
    """Weights int8 per output channel, arithmetic in float. Needs no samples."""
    return named("weight_only_w8")


def weight_only_w4(group: int = 32) -> Recipe:
    """Weights of matrix products in groups of 32 or 128 4-bit integers, other weights int8. Needs no samples."""
    return named(f"weight_only_w4_g{group}")


def fp16() -> Recipe:
    """Arithmetic and weights in float16, inputs and outputs float32. Samples, if given, show values beyond 65504."""
    return named("fp16")


def bf16() -> Recipe:
    """Arithmetic and weights in bfloat16; for ONNX Runtime, which has no such kernels on CPUs, weights alone."""
    return named("bf16")
