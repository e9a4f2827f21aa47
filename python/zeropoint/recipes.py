"""The recipes to start from. Each call gives a fresh value; its methods return changed copies."""

from __future__ import annotations

from ._core import Recipe, named_recipe, recipe_names

__all__ = ["dynamic_w8a8", "named", "names", "static_w8a8", "weight_only_w4", "weight_only_w8"]


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


def weight_only_w8() -> Recipe:
    """Weights int8 per output channel, arithmetic in float. Needs no samples."""
    return named("weight_only_w8")


def weight_only_w4(group: int = 32) -> Recipe:
    """Weights of matrix products in groups of 32 or 128 4-bit integers, other weights int8. Needs no samples."""
    return named(f"weight_only_w4_g{group}")
