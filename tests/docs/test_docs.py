"""What the documents tell users to type does what they say: the Python and the commands of README.md and docs/ run.

Python: every block but those that NOT_RUN names. Commands: the indented lines that begin with ``zeropoint``.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import zeropoint

ROOT = Path(__file__).resolve().parents[2]
ZEROPOINT = Path(os.environ.get("ZEROPOINT", ROOT / "build/release/zeropoint"))
COUNT = 48  # samples

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(path: Path, language: str = "python") -> list[tuple[int, str]]:
    """(line, text) of each block of a language."""
    text = path.read_text()
    found = re.finditer(rf"```{language}\n(.*?)```", text, re.S)
    return [(text[: match.start(1)].count("\n"), match[1]) for match in found]


def commands(path: Path) -> list[str]:
    """Indented lines that begin with the program's name, without the remark behind."""
    return [
        re.split(r"\s+#", line)[0].strip()
        for line in path.read_text().splitlines()
        if re.match(r"    zeropoint [a-z]", line)
    ]


def write_model(path: Path, input_name: str) -> None:
    """A small network for pictures of 28 x 28, under the name that a document gives its input."""
    model = onnx.load(ROOT / "tests/data/fmnist_dscnn.onnx")
    for node in model.graph.node:
        node.input[:] = [input_name if name == "images" else name for name in node.input]
    model.graph.input[0].name = input_name
    onnx.save(model, path)


def pictures(count: int = COUNT) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((count, 1, 28, 28), dtype=np.float32)


def labels_of(model: Path, name: str) -> list[int]:
    """The float model's own classes, so that a budget of accuracy can be met."""
    session = zeropoint.Session(model, threads=1)
    return [int(session.run(None, {name: picture[None]})[0].argmax()) for picture in pictures()]


def of_readme() -> dict[str, Any]:
    write_model(Path("model.onnx"), "images")
    batches = list(pictures()[:, None])
    return {"batches": batches, "x": batches[0]}


def of_tour() -> dict[str, Any]:
    write_model(Path("resnet18.onnx"), "input")
    batches = list(pictures()[:, None])
    samples = [{"input": x} for x in batches]
    return {
        "batches": batches,
        "x": batches[0],
        "w": np.random.default_rng(4).standard_normal((64, 32), dtype=np.float32),
        "held_out": samples[:8],
        "pictures": samples,
        "labels": labels_of(Path("resnet18.onnx"), "input"),
    }


def of_training() -> dict[str, Any]:
    import torch

    write_model(Path("model.onnx"), "images")
    images = torch.from_numpy(pictures(16)).split(4)
    return {
        "samples": [{"images": picture[None]} for picture in pictures(8)],
        "loader": [(x, torch.arange(len(x))) for x in images],
    }


def of_modules() -> dict[str, Any]:
    import torch
    from torch import nn

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(30, 8)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return self.words(input_ids) * attention_mask[..., None]

    torch.manual_seed(5)
    write_model(Path("model.onnx"), "images")
    images = torch.from_numpy(pictures()).split(4)
    return {
        "torch": torch,
        "module": nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 26 * 26, 10)),
        "loader": [(x, torch.arange(len(x))) for x in images],
        "images": images[0],
        "encoder": Encoder(),
        "ids": torch.randint(0, 30, (2, 6)),
        "mask": torch.ones(2, 6),
        "session": zeropoint.Session("model.onnx", threads=1),
    }


# What a reader has before the first block.
GIVEN: dict[str, Callable[[], dict[str, Any]]] = {
    "README.md": of_readme,
    "docs/python.md": of_tour,
    "docs/pytorch.md": of_modules,
    "docs/qat.md": of_training,
}

# A word of the blocks that are not run, and why.
NOT_RUN = {
    "docs/pytorch.md": "torchao",  # not installed: python/tests/test_torch_pt2e.py has files that it wrote
    "docs/scale.md": "s3://",  # no such bucket: python/tests/test_ray.py does the same with pictures in memory
}


def is_run(name: str, text: str) -> bool:
    return name not in NOT_RUN or NOT_RUN[name] not in text


def test_python_is_run_or_named() -> None:
    """A document with Python is one of those that test_python runs; exceptions are one block each."""
    found = {str(path.relative_to(ROOT)): [text for _, text in blocks(path)] for path in DOCUMENTS}
    assert {name for name, texts in found.items() if any(is_run(name, text) for text in texts)} == set(GIVEN)
    assert {name: sum(not is_run(name, text) for text in found[name]) for name in NOT_RUN} == dict.fromkeys(NOT_RUN, 1)


@pytest.mark.parametrize("name", GIVEN)
def test_python(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace = GIVEN[name]()
    found = [(line, text) for line, text in blocks(ROOT / name) if is_run(name, text)]
    assert found
    for line, text in found:
        exec(
            compile("\n" * line + textwrap.dedent(text), name, "exec"), namespace
        )  # line numbers of the document in a traceback


@pytest.mark.parametrize(
    "document", [path for path in DOCUMENTS if commands(path)], ids=lambda path: str(path.relative_to(ROOT))
)
def test_commands(document: Path, tmp_path: Path) -> None:
    for name in ("model.onnx", "MODEL.onnx"):
        write_model(tmp_path / name, "images")
    labels = labels_of(tmp_path / "model.onnx", "images")
    for folder in ("photos", "labelled", "D"):
        (tmp_path / folder).mkdir()
        for number, (picture, label) in enumerate(zip(pictures(), labels, strict=True)):
            np.savez(tmp_path / folder / f"{number:03}.npz", images=picture, label=label)
    for command in commands(document):
        arguments = [str(ZEROPOINT), *shlex.split(command)[1:]]
        if arguments[1:3] == ["report", "q.json"]:  # the same command with another name keeps it
            quantize = commands(document)[0].replace("q.html", "q.json")
            subprocess.run([str(ZEROPOINT), *shlex.split(quantize)[1:]], cwd=tmp_path, check=True, capture_output=True)
        result = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, f"{command}\n{result.stderr}"
        for flag, path in itertools.pairwise(arguments):
            if flag in ("-o", "--report"):
                assert (tmp_path / path).stat().st_size > 0, command


def test_recipe() -> None:
    """The recipe that docs/recipes.md begins with is one, and survives being read."""
    (_, text), *_ = blocks(ROOT / "docs/recipes.md", "json")
    recipe = zeropoint.Recipe.from_json(text)
    assert (recipe.name, len(recipe.rules)) == ("mine", 3)
    assert zeropoint.Recipe.from_json(recipe.to_json()) == recipe
    images = [{"images": picture[None]} for picture in pictures(4)]
    zeropoint.quantize(ROOT / "tests/data/fmnist_dscnn.onnx", images, recipe, verify=False)


def test_links() -> None:
    """Links between documents lead somewhere."""
    lost = []
    for path in [
        *DOCUMENTS,
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *sorted((ROOT / "examples").glob("*.md")),
    ]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
            if not (path.parent / target).exists():
                lost.append(f"{path.relative_to(ROOT)}: {target}")
    assert not lost


def test_accuracy() -> None:
    """README.md shows the table of docs/accuracy.md."""
    head = "| network | measure | zeropoint, default |"
    tables = [
        (ROOT / name).read_text().partition(head)[2].partition("\n\n")[0] for name in ("README.md", "docs/accuracy.md")
    ]
    assert tables[0] == tables[1] and tables[0].count("\n") > 5
