"""Modules of PyTorch as models: the same function, open batch, names of modules."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import zeropoint as q
import zeropoint.torch as qt
from zeropoint.torch.export import Inputs


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(self.conv(x)) + x)


class Pictures(nn.Module):
    """Convolutions with BatchNorm whose statistics are not those of a fresh one, a residual, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Conv2d(1, 4, 3)
        self.blocks = nn.Sequential(Block(), Block())
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 3)
        for norm in (self.blocks[0].norm, self.blocks[1].norm):
            nn.init.uniform_(norm.running_mean, -1, 1)
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.uniform_(norm.weight, 0.5, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.blocks(self.into(images)).mean((2, 3))))


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    torch.manual_seed(3)
    return Pictures()


def assert_same(model: q.Model, module: nn.Module, **inputs: torch.Tensor) -> None:
    training = module.training
    with torch.no_grad():
        expected = module.eval()(**inputs)
    module.train(training)
    (actual,) = q.Session(model, threads=1).run(None, inputs)
    np.testing.assert_allclose(actual, expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_module_and_its_model_compute_the_same(pictures: Pictures, batch: int):
    pictures.train()
    model = qt.to_model(pictures, torch.randn(batch, 1, 8, 8))
    assert pictures.training and pictures.drop.training
    assert [(value.name, value.shape) for value in model.inputs] == [("images", ["batch", 1, 8, 8])]
    for size in (1, 5):
        assert_same(model, pictures, images=torch.randn(size, 1, 8, 8))
    fixed = qt.to_model(pictures, torch.randn(batch, 1, 8, 8), dynamic_batch=False)
    assert fixed.inputs[0].shape == [batch, 1, 8, 8]


def test_operators_are_called_as_their_modules(pictures: Pictures):
    model = qt.to_model(pictures, torch.randn(2, 1, 8, 8), input_names=["pixels"], output_names=["logits"])
    convolutions = [node.name for node in model.nodes if node.op_type == "Conv"]
    assert convolutions == ["into", "blocks.0.conv", "blocks.1.conv"]
    assert [node.name for node in model.nodes if node.op_type == "Gemm"] == ["head"]
    assert len({node.name for node in model.nodes}) == len(model.nodes)
    assert (model.inputs[0].name, model.outputs[0].name) == ("pixels", "logits")


def test_models_to_train_keep_batchnorm_and_the_names_of_parameters(pictures: Pictures):
    model = qt.to_model(pictures, torch.randn(2, 1, 8, 8), training=True)
    assert [node.op_type for node in model.nodes].count("BatchNormalization") == 2
    state = {name: value for name, value in pictures.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert set(state) <= set(model.constants)
    for name, value in state.items():
        np.testing.assert_array_equal(model.constant(name), value.numpy())
    assert_same(model, pictures, images=torch.randn(4, 1, 8, 8))


class Two(nn.Module):
    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None, *, factor: float = 1.0) -> torch.Tensor:
        result = ids.float() * factor
        return result if mask is None else result * mask


@pytest.mark.parametrize(
    "inputs",
    [
        lambda: (torch.arange(6).reshape(2, 3), torch.rand(2, 3)),
        lambda: {"mask": torch.rand(2, 3), "ids": torch.arange(6).reshape(2, 3)},
        lambda: {"ids": torch.arange(6).reshape(2, 3), "factor": 3.0},
    ],
)
def test_positional_and_keyword_arguments(inputs: Callable[[], Inputs]):
    given = inputs()
    model = qt.to_model(Two(), given)
    named = given if isinstance(given, dict) else dict(zip(("ids", "mask"), given, strict=True))
    tensors = {name: value for name, value in named.items() if isinstance(value, torch.Tensor)}
    assert {value.name for value in model.inputs} == set(tensors)
    (actual,) = q.Session(model).run(None, tensors)
    np.testing.assert_allclose(actual, Two()(**named).numpy(), rtol=1e-6)


class Branches(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class OneBatch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(2, -1).sum(1)


def test_what_torch_cannot_export_is_an_error():
    with pytest.raises(q.Error, match="torch cannot export") as caught:
        qt.to_model(Branches(), torch.randn(3, 4))
    assert caught.value.code == "unsupported"
    with pytest.raises(q.Error, match="dynamic_batch=False"):
        qt.to_model(OneBatch(), torch.randn(2, 4))
    assert qt.to_model(OneBatch(), torch.randn(2, 4), dynamic_batch=False).outputs[0].shape == [2]
