"""The recipes to start from. Each call gives a fresh value; its methods return changed copies."""

from __future__ import annotations

from ._core import Recipe, named_recipe, recipe_names

__all__ = ["named", "names", "static_w8a8"]


def names() -> list[str]:
    """Names of the built-in recipes."""
    return recipe_names()


def named(name: str) -> Recipe:
    """The built-in recipe of that name. Raises Error listing them when there is none."""
    return named_recipe(name)


def static_w8a8() -> Recipe:
    """Weights int8 per output channel, activations uint8 per tensor, both with ranges fixed by calibration."""
    return named("static_w8a8")
