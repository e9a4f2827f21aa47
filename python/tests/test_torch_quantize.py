"""zeropoint.torch.quantize: from a module and a loader to a module in integers."""

from __future__ import annotations

import pickle
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import zeropoint as q
import zeropoint.torch as qt
from zeropoint.torch.quantized import batch_inputs


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2), nn.Flatten(), nn.Linear(128, 5)
    ).eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(6))


@pytest.fixture(scope="module")
def quantized(network: nn.Module, images: torch.Tensor) -> qt.QuantizedModule:
    return qt.quantize(network, images.split(8), verify=False, threads=1)


def sqnr(expected: torch.Tensor, actual: torch.Tensor) -> float:
    return 10 * float(torch.log10(expected.square().sum() / (expected - actual).square().sum()))


def test_the_same_as_quantize_on_the_exported_model(
    quantized: qt.QuantizedModule, network: nn.Module, images: torch.Tensor
):
    model = qt.to_model(network, images[:8])
    expected = q.quantize(model, [{"input": batch.numpy()} for batch in images.split(8)], verify=False, threads=1)
    (reference,) = q.Session(expected.model, threads=1).run(None, {"input": images.numpy()})
    result = quantized(images)
    assert isinstance(result, torch.Tensor) and result.dtype is torch.float32
    np.testing.assert_array_equal(result.numpy(), reference)
    with torch.no_grad():
        assert sqnr(network(images), result) > 25
    assert quantized.report is not None and quantized.report.integer_coverage == 1
    assert quantized.session.integer_coverage == 1


def test_a_loader_with_labels(quantized: qt.QuantizedModule, network: nn.Module, images: torch.Tensor):
    loader = DataLoader(TensorDataset(images, torch.arange(40) % 5), batch_size=8)
    assert qt.quantize(network, loader, verify=False).model.hash == quantized.model.hash


def test_what_batches_hold(network: nn.Module):
    class Two(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
            return a

    one, a, b = torch.zeros(1), torch.ones(1), torch.ones(2)
    assert batch_inputs(network, one) is one
    assert batch_inputs(network, (one, a)) == (one,) and batch_inputs(network, [one]) == (one,)
    assert batch_inputs(network, {"input": one, "labels": a, "more": b}) == {"input": one}
    assert batch_inputs(Two(), (a, b, one)) == (a, b)
    assert batch_inputs(Two(), {"c": one, "a": a, "labels": b}) == {"a": a, "c": one}
    with pytest.raises(TypeError, match="inputs=function"):
        qt.quantize(network, ["a picture"])
    with pytest.raises(ValueError, match="empty"):
        qt.quantize(network, [])
    with pytest.raises(TypeError, match="example_inputs"):
        qt.quantize(network)


def test_no_more_is_read_than_max_samples(network: nn.Module, images: torch.Tensor):
    read = []

    def loader():
        for batch in images.split(8):
            read.append(batch)
            yield {"a": (batch, 1)}

    qt.quantize(network, loader(), inputs=lambda batch: batch["a"][0], max_samples=20, verify=False)
    assert len(read) == 3


def test_recipes_without_samples(network: nn.Module, images: torch.Tensor):
    dynamic = qt.quantize(network, recipe="dynamic_w8a8", example_inputs=images[:1])
    with torch.no_grad():
        assert sqnr(network(images), dynamic(images)) > 25
    with pytest.raises(TypeError, match="samples"):
        qt.quantize(network, example_inputs=images[:1])


def test_recipes_name_modules(network: nn.Module, images: torch.Tensor):
    recipe = q.recipes.static_w8a8().keep_float("5")
    quantized = qt.quantize(network, images.split(8), recipe, verify=False)
    assert quantized.report is not None
    assert [node.node for node in quantized.report.left_in_float] == ["5"]


Pair = namedtuple("Pair", "total parts nothing")


class Structured(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, scales: dict[str, torch.Tensor], deep: bool = True, last: Any = None) -> Any:
        y = self.linear(x) * scales["up"]
        parts = {"half": y / 2, "same": y} if deep else {}
        return Pair(y.sum(1), parts, None)


def test_arguments_and_results_have_the_structure_of_the_module():
    torch.manual_seed(2)
    module = Structured()
    batches = [(torch.randn(3, 4), {"up": torch.rand(3, 4)}) for _ in range(6)]
    quantized = qt.quantize(module, batches, verify=False)
    for x, scales in batches:
        expected, actual = module(x, scales), quantized(x, scales=scales)
        assert type(actual) is Pair and actual.nothing is None and set(actual.parts) == {"half", "same"}
        torch.testing.assert_close(actual.parts["half"], expected.parts["half"], atol=0.05, rtol=0.05)
        torch.testing.assert_close(actual.total, expected.total, atol=0.1, rtol=0.05)
        torch.testing.assert_close(actual.parts["half"] * 2, actual.parts["same"])
    torch.testing.assert_close(quantized(*batches[0], deep=True, last=None), quantized(*batches[0]), rtol=0, atol=0)
    for other in (False, None):  # None is not the default here
        with pytest.raises(TypeError, match="exported"):
            quantized(*batches[0], deep=other)
    with pytest.raises(TypeError, match="exported"):
        quantized(batches[0][0], {"down": batches[0][1]["up"]})
    with pytest.raises(TypeError):
        quantized()


def test_saved_pickled_and_inside_other_modules(quantized: qt.QuantizedModule, images: torch.Tensor, tmp_path: Path):
    expected = quantized(images)
    quantized.save(tmp_path / "model.onnx")
    loaded = qt.load(tmp_path / "model.onnx")
    torch.testing.assert_close(loaded(images), expected, rtol=0, atol=0)
    torch.testing.assert_close(loaded(**{loaded.model.inputs[0].name: images}), expected, rtol=0, atol=0)
    with pytest.raises(TypeError, match="missing: input"):
        loaded()
    with pytest.raises(TypeError, match="takes input"):
        loaded(images, images)
    torch.testing.assert_close(pickle.loads(pickle.dumps(quantized))(images), expected, rtol=0, atol=0)
    whole = nn.Sequential(quantized, nn.Softmax(1))
    torch.testing.assert_close(whole(images), expected.softmax(1))
    assert not list(whole.parameters()) and "zeropoint.Model" in repr(whole)


def test_no_gradients_pass(quantized: qt.QuantizedModule, images: torch.Tensor):
    assert not quantized(images.clone().requires_grad_()).requires_grad
