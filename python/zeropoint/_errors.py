"""The package's exception."""

from __future__ import annotations


class Error(Exception):
    """What zeropoint raises: a model, file, sample or argument is not as it must be.

    ``code`` is the broken rule in one word: ``io``, ``bad_file``, ``bad_model``, ``bad_attribute``, ``bad_shape``,
    ``bad_type``, ``unsupported``, ``bad_sample``, ``non_finite``, ``bad_recipe``, ``mismatch``, ``limit``,
    ``bad_argument`` or ``internal``. ``where`` names the file, node, value or sample (of a recipe: the JSON pointer).
    ``str()`` is the whole message.
    """

    def __init__(self, code: str, where: str, message: str) -> None:
        super().__init__(code, where, message)
        self.code = code
        self.where = where

    def __str__(self) -> str:
        return str(self.args[2])
