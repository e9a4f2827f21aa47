"""The package as it is installed: what it needs, what it says about its types, what an import draws in."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import tomllib
import zlib
from pathlib import Path

import pytest

import zeropoint as q
from zeropoint import _core

ROOT = Path(__file__).parents[2]
PACKAGE = Path(q.__file__).parent


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_an_import_draws_in_numpy_alone():
    loaded = run("import sys; before = set(sys.modules); import zeropoint; print(*set(sys.modules) - before)").split()
    foreign = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"zeropoint", "numpy"}
    assert {name for name in foreign if not name.startswith("_")} == set()


def test_what_is_needed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {line.partition(">")[0].partition("=")[0] for line in project["dependencies"]}
    assert names == {"numpy", "onednn-cpu-gomp"}
    assert {"torch", "dev"} <= set(project["optional-dependencies"])


@pytest.mark.parametrize(
    ("module", "extra", "missing"), [("zeropoint.torch", "torch", "torch"), ("zeropoint.ray", "ray", "ray")]
)
def test_subpackages_say_what_they_need(module: str, extra: str, missing: str):
    code = f"import sys; sys.modules['{missing}'] = None\ntry:\n  import {module}\nexcept ImportError as e:\n  print(e)"
    assert f"pip install zeropoint[{extra}]" in run(code)


def test_every_file_is_in_the_package():
    source = ROOT / "python/zeropoint"
    files = {path.relative_to(source) for path in source.rglob("*.py")} | {Path("py.typed"), Path("_core.pyi")}
    assert {file for file in files if not (PACKAGE / file).exists()} == set()


def test_the_stub_has_every_public_name_with_a_docstring():
    tree = ast.parse((PACKAGE / "_core.pyi").read_text())
    described = {
        node.name: ast.get_docstring(node) for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)
    }
    native = [name for name in q.__all__ if hasattr(_core, name) and not inspect.ismodule(getattr(q, name))]
    assert len(native) > 40
    assert [name for name in native if not described.get(name)] == []
    for path in (ROOT / "python/zeropoint").glob("[!_]*.py"):
        module = ast.parse(path.read_text())
        public = [node for node in module.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
        undocumented = [node.name for node in public if not node.name.startswith("_") and not ast.get_docstring(node)]
        assert ast.get_docstring(module) and not undocumented, (path, undocumented)


def test_what_the_torch_package_exports_has_docstrings():
    import zeropoint.torch as exported

    assert [name for name in exported.__all__ if not vars(exported)[name].__doc__] == []


def test_options_of_functions_have_names():
    """Only the values that a call is about go by place."""
    for node in ast.walk(ast.parse((PACKAGE / "_core.pyi").read_text())):
        if isinstance(node, ast.FunctionDef) and node.name in q.__all__ and node.name != "QParams":
            assert len(node.args.args) <= 4, node.name


def test_the_module_is_small():
    binary = Path(_core.__file__).read_bytes()
    assert len(zlib.compress(binary, 6)) < 12e6  # of the wheel it is nearly all
