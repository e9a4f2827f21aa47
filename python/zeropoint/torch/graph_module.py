"""An ONNX graph as a torch module: the same function, open to gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, TypeAlias

import torch
from torch import nn

import zeropoint as q

from .onnx_graph import OnnxGraph, OnnxNode, read_graph
from .operators import OPERATORS, run

Tensor: TypeAlias = torch.Tensor
ModelSource: TypeAlias = q.Model | str | PathLike[str] | bytes

# Inputs whose constants are learned: weights, biases, tables.
_LEARNED: dict[str, tuple[int, ...]] = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (1, 2),
    "MatMul": (0, 1),
    "BatchNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "LSTM": (1, 2, 3),
    "GRU": (1, 2, 3),
    "PRelu": (1,),
    "Gather": (0,),
}
_SUMMANDS = {"Add", "Sub", "Mul", "Div"}  # those of more than one element


class Scope(nn.Module):
    """Holds the parameters of one prefix of names: a name with dots is a path of scopes, as in any torch module."""


@dataclass(frozen=True)
class BatchNorm:
    """A BatchNormalization behind a product, folded into it: the names of its parameters."""

    node: str  # first output of the product in the fused graph
    weight: str
    bias: str  # of the product; '' for none
    gamma: str
    beta: str
    mean: str
    variance: str
    epsilon: float
    momentum: float  # of the new batch, as in torch


def channel_axis(node: OnnxNode) -> int:
    """Of the output channels in a product's weights."""
    if node.op_type == "Gemm":
        return 0 if node.attributes.get("transB", 0) else 1
    return 1 if node.op_type in ("ConvTranspose", "MatMul") else 0


def by_channel(node: OnnxNode, weight: Tensor, numbers: Tensor) -> Tensor:
    """One number an output channel, shaped to broadcast against the weights."""
    groups = node.attributes.get("group", 1) if node.op_type == "ConvTranspose" else 1
    if groups > 1:  # [C, O / groups, ...]: each group's channels have their own
        spread = numbers.reshape(groups, 1, -1).expand(groups, weight.shape[0] // groups, -1)
        return spread.reshape(*weight.shape[:2], *[1] * (weight.ndim - 2))
    axis = channel_axis(node)
    return numbers.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])


def without_identities(graph: OnnxGraph) -> dict[str, str]:
    """Name -> constant it stands for: exporters share equal constants by Identity."""
    origin = {name: name for name in graph.constants}
    for node in graph.nodes:
        if node.op_type == "Identity" and node.inputs[0] in origin:
            origin[node.outputs[0]] = origin[node.inputs[0]]
    return origin


def find_batch_norms(original: OnnxGraph, fused: OnnxGraph) -> tuple[list[BatchNorm], dict[str, Tensor]]:
    """The BatchNormalizations of ``original`` that stand folded in ``fused``, and the values of their parameters.

    Only those count whose folded weights are what ``fused`` holds: others were rewritten further, and train folded.
    """
    makers, fused_makers = original.makers(), fused.makers()
    origin, readers = without_identities(original), original.readers()
    found: list[BatchNorm] = []
    values: dict[str, Tensor] = {}
    for norm in original.nodes:
        if norm.op_type != "BatchNormalization" or norm.domain or any(norm.outputs[1:]):
            continue
        product, node = makers.get(norm.inputs[0]), fused_makers.get(norm.outputs[0])
        if product is None or node is None or node.op_type != product.op_type or len(readers[norm.inputs[0]]) > 1:
            continue
        if product.op_type not in ("Conv", "ConvTranspose", "Gemm") or node.input(1) not in fused.constants:
            continue
        names = [product.input(1), product.input(2), *norm.inputs[1:5]]
        if any(name and name not in origin for name in names):
            continue
        tensors = [original.constants[origin[name]] if name else None for name in names]
        weight, bias, gamma, beta, mean, variance = tensors
        assert weight is not None and gamma is not None and beta is not None
        assert mean is not None and variance is not None
        epsilon = float(norm.attributes.get("epsilon", 1e-5))
        folded, summand = fold(node, weight, bias, gamma, beta, mean, variance, epsilon)
        stored = fused.constants.get(node.input(2))
        if folded.shape != fused.constants[node.input(1)].shape or stored is None or stored.shape != summand.shape:
            continue
        same = torch.allclose(folded, fused.constants[node.input(1)], rtol=1e-5, atol=1e-12)
        if not same or not torch.allclose(summand, stored, rtol=1e-4, atol=1e-6):
            continue
        found.append(
            BatchNorm(
                node=node.outputs[0],
                weight=names[0],
                bias=names[1],
                gamma=names[2],
                beta=names[3],
                mean=names[4],
                variance=names[5],
                epsilon=epsilon,
                momentum=1 - float(norm.attributes.get("momentum", 0.9)),
            )
        )
        values |= {name: tensor for name, tensor in zip(names, tensors, strict=True) if tensor is not None}
    return found, values


def fold(
    node: OnnxNode,
    weight: Tensor,
    bias: Tensor | None,
    gamma: Tensor,
    beta: Tensor,
    mean: Tensor,
    variance: Tensor,
    epsilon: float,
) -> tuple[Tensor, Tensor]:
    """Weights and bias of the product with the normalization in it, in fp64, rounded once."""
    factor = gamma.double() / torch.sqrt(variance.double() + epsilon)
    folded = weight.double() * by_channel(node, weight, factor)
    before = -mean.double() if bias is None else bias.double() - mean.double()
    return folded.float(), (beta.double() + before * factor).float()


class GraphModule(nn.Module):
    """A float ONNX model as a torch module.

    model: a zeropoint.Model, a path, or the bytes of an ONNX file.

    ``forward`` takes the model's inputs in their order, or by name, and gives its output, or a tuple of several.
    Parameters are called as the file's initializers. BatchNormalization behind a convolution or Gemm trains as in
    torch: with the statistics of each batch while ``training``, until ``freeze_batch_norm()``. In evaluation mode, and
    once frozen, it is part of the weights.

    Raises Error ``unsupported`` naming the node of an operator that has no form in torch here.
    """

    def __init__(self, model: ModelSource) -> None:
        super().__init__()
        source = q.load(model) if not isinstance(model, q.Model) else model
        self._build(read_graph(source), q.fuse(source))

    def _build(self, original: OnnxGraph, fused: q.Model) -> None:
        self.model = fused
        self.graph = read_graph(fused)
        self.batch_norm_frozen = False
        self._where: dict[str, tuple[nn.Module, str]] = {}
        for node in self.graph.nodes:
            if node.domain or node.op_type not in OPERATORS:
                kind = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
                raise q.Error("unsupported", str(node), f"{node}: the operator {kind} does not run in torch here")
        pairs, values = find_batch_norms(original, self.graph)
        self.batch_norms = {pair.node: pair for pair in pairs}
        makers = self.graph.makers()
        replaced = {name for pair in pairs for name in makers[pair.node].inputs[1:3]}
        for node in self.graph.nodes:
            if node.outputs[0] in self.batch_norms:
                continue
            for name in self._learned(node):
                replaced.discard(name)
        for pair in pairs:
            for name in (pair.weight, pair.bias, pair.gamma, pair.beta):
                if name and name not in self._where:
                    self._store(name, nn.Parameter(values[name].clone()))
            for name in (pair.mean, pair.variance):
                if name not in self._where:
                    self._store(name, values[name].clone())
        learned = {name for node in self.graph.nodes for name in self._learned(node)}
        for name, tensor in self.graph.constants.items():
            if name in replaced or name in self._where:
                continue
            trains = name in learned and tensor.is_floating_point()
            self._store(name, nn.Parameter(tensor.clone()) if trains else tensor.clone(), persistent=trains)

    def _learned(self, node: OnnxNode) -> Iterator[str]:
        if node.outputs[0] in self.batch_norms:
            return
        places: Sequence[int] = _LEARNED.get(node.op_type, ())
        if node.op_type in _SUMMANDS:
            places = (0, 1)
        for place in places:
            constant = self.graph.constants.get(node.input(place))
            if constant is not None and (node.op_type not in _SUMMANDS or constant.numel() > 1):
                yield node.input(place)

    def _store(self, name: str, tensor: Tensor, persistent: bool = True) -> None:
        scope: nn.Module = self
        *path, last = [part or "_" for part in name.split(".")]
        for part in path:
            key = part if not hasattr(scope, part) or part in scope._modules else part + "_"
            if key not in scope._modules:
                scope.add_module(key, Scope())
            scope = scope._modules[key]  # type: ignore[assignment]
        while hasattr(scope, last):
            last += "_"
        if isinstance(tensor, nn.Parameter):
            scope.register_parameter(last, tensor)
        else:
            scope.register_buffer(last, tensor, persistent=persistent)
        self._where[name] = (scope, last)

    def tensor(self, name: str) -> Tensor:
        """The parameter or constant of that name in the ONNX file."""
        scope, attribute = self._where[name]
        value = getattr(scope, attribute)
        assert isinstance(value, Tensor)
        return value

    def freeze_batch_norm(self, frozen: bool = True) -> None:
        """From now on BatchNorm uses its running statistics while training, too, and they stay as they are."""
        self.batch_norm_frozen = frozen

    def get_extra_state(self) -> dict[str, bool]:
        """Part of ``state_dict()``: what training resumes with beside the tensors."""
        return {"batch_norm_frozen": self.batch_norm_frozen}

    def set_extra_state(self, state: Mapping[str, bool]) -> None:
        self.batch_norm_frozen = state["batch_norm_frozen"]

    def folded(self, pair: BatchNorm, node: OnnxNode) -> tuple[Tensor, Tensor]:
        """Weights and bias of a product with its BatchNorm in them; gradients pass."""
        return fold(
            node,
            self.tensor(pair.weight),
            self.tensor(pair.bias) if pair.bias else None,
            self.tensor(pair.gamma),
            self.tensor(pair.beta),
            self.tensor(pair.mean),
            self.tensor(pair.variance),
            pair.epsilon,
        )

    # ---- what a subclass changes

    def _value(self, name: str, value: Tensor) -> Tensor:
        """What readers of an activation get."""
        return value

    def _constant(self, name: str, value: Tensor) -> Tensor:
        """What readers of a constant get."""
        return value

    def _bias(self, node: OnnxNode, bias: Tensor) -> Tensor:
        return bias

    # ----

    def _normalized_product(self, pair: BatchNorm, node: OnnxNode, x: Tensor) -> Tensor:
        """With the statistics of the batch: the weights that are quantized have the running ones in them.

        As in Krishnamoorthi 2018, section 3.2.2; in place of its second convolution the quantized weights are divided
        by the running factor again. A channel whose factor is 0 is not quantized, so that it can come back.
        """
        weight, gamma, variance = self.tensor(pair.weight), self.tensor(pair.gamma), self.tensor(pair.variance)
        factor = gamma / torch.sqrt(variance + pair.epsilon)
        dead = factor == 0
        safe = torch.where(dead, torch.ones_like(factor), factor)
        folded = self._constant(node.input(1), weight * by_channel(node, weight, safe))
        unfolded = torch.where(by_channel(node, weight, dead), weight, folded / by_channel(node, weight, safe))
        (y,) = run(node, self.graph.opset, [x, unfolded, self.tensor(pair.bias) if pair.bias else None])
        mean, variance = self.tensor(pair.mean), self.tensor(pair.variance)
        return nn.functional.batch_norm(
            y, mean, variance, gamma, self.tensor(pair.beta), True, pair.momentum, pair.epsilon
        )

    def _feeds(self, args: tuple[Tensor, ...], named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        names = self.graph.inputs
        if len(args) > len(names):
            raise TypeError(f"the model has {len(names)} inputs, {len(args)} were given")
        feeds = dict(zip(names, args, strict=False)) | dict(named)
        if missing := [name for name in names if name not in feeds]:
            raise TypeError(f"the input '{missing[0]}' is missing")
        return feeds

    def forward(self, *args: Tensor, **named: Tensor) -> Any:
        return self._outputs(self._run(self._feeds(args, named)))

    def _outputs(self, values: Mapping[str, Tensor]) -> Any:
        results = tuple(values[name] for name in self.graph.outputs)
        return results[0] if len(results) == 1 else results

    def _run(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        values = {name: self._value(name, value) for name, value in feeds.items()}

        def read(name: str) -> Tensor | None:
            if not name:
                return None
            if name not in values:
                values[name] = self._constant(name, self.tensor(name))
            return values[name]

        last = self._last_readers()
        for i, node in enumerate(self.graph.nodes):
            pair = self.batch_norms.get(node.outputs[0])
            if pair is not None:
                x = read(node.inputs[0])
                assert x is not None
                if self.training and not self.batch_norm_frozen:
                    results: tuple[Tensor, ...] = (self._normalized_product(pair, node, x),)
                else:
                    weight, bias = self.folded(pair, node)
                    inputs = [x, self._constant(node.input(1), weight), self._bias(node, bias)]
                    results = run(node, self.graph.opset, inputs)
            else:
                given = [read(name) for name in node.inputs]
                if node.op_type in ("Conv", "ConvTranspose", "Gemm") and len(given) > 2 and given[2] is not None:
                    given[2] = self._bias(node, given[2])
                results = run(node, self.graph.opset, given)
            for name, value in zip(node.outputs, results, strict=False):
                if name:
                    values[name] = self._value(name, value)
            for name in last.get(i, ()):
                del values[name]  # so that evaluation takes no more memory than it needs
        for name in self.graph.outputs:
            read(name)
        return values

    def _last_readers(self) -> dict[int, list[str]]:
        """Index of a node -> values that nobody reads behind it."""
        if not hasattr(self, "_released"):
            last: dict[str, int] = {}
            made = set(self.graph.inputs)
            for i, node in enumerate(self.graph.nodes):
                last |= {name: i for name in node.inputs if name in made}
                made.update(name for name in node.outputs if name)
            released: dict[int, list[str]] = {}
            for name, i in last.items():
                if name not in self.graph.outputs:
                    released.setdefault(i, []).append(name)
            self._released = released
        return self._released
