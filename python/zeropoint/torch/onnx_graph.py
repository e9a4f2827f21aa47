"""ONNX graphs as Python values, read from a zeropoint.Model with the package ``onnx``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import zeropoint as q

try:
    import onnx
    from onnx import numpy_helper
except ImportError as error:
    raise ImportError("zeropoint.torch needs the package onnx: pip install zeropoint[torch]") from error

# Limits of the integer types that values and weights are quantized to, by ONNX's number.
INTEGER_LIMITS: dict[int, tuple[int, int]] = {
    onnx.TensorProto.UINT8: (0, 255),
    onnx.TensorProto.INT8: (-128, 127),
    onnx.TensorProto.UINT16: (0, 65535),
    onnx.TensorProto.INT16: (-32768, 32767),
    onnx.TensorProto.INT32: (-(1 << 31), (1 << 31) - 1),
    onnx.TensorProto.UINT4: (0, 15),
    onnx.TensorProto.INT4: (-8, 7),
    onnx.TensorProto.UINT2: (0, 3),
    onnx.TensorProto.INT2: (-2, 1),
}


@dataclass(frozen=True)
class OnnxNode:
    """One operator. Inputs that are left out are ''; text among the attributes is str."""

    op_type: str
    name: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(repr=False)

    def input(self, index: int) -> str:
        return self.inputs[index] if index < len(self.inputs) else ""

    def __str__(self) -> str:
        return f"node '{self.name or (self.outputs[0] if self.outputs else '')}' ({self.op_type})"


@dataclass(frozen=True)
class OnnxGraph:
    """inputs are those that are fed; opset is that of ONNX's own operators."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[OnnxNode, ...]
    constants: Mapping[str, torch.Tensor]
    constant_types: Mapping[str, int]  # ONNX's element types, which torch does not all have
    opset: int

    def readers(self) -> dict[str, list[OnnxNode]]:
        found: dict[str, list[OnnxNode]] = {}
        for node in self.nodes:
            for name in node.inputs:
                if name:
                    found.setdefault(name, []).append(node)
        return found

    def makers(self) -> dict[str, OnnxNode]:
        return {name: node for node in self.nodes for name in node.outputs if name}


def to_tensor(proto: onnx.TensorProto) -> torch.Tensor:
    """Values of an ONNX tensor; integers of fewer than 8 bits as int8."""
    array = numpy_helper.to_array(proto)
    if proto.data_type in (
        onnx.TensorProto.INT4,
        onnx.TensorProto.UINT4,
        onnx.TensorProto.INT2,
        onnx.TensorProto.UINT2,
    ):
        array = array.astype(np.int8)
    elif array.dtype.kind not in "fiub" or array.dtype.name == "bfloat16":
        raise q.Error("bad_type", f"initializer '{proto.name}'", f"is {array.dtype}, which torch cannot compute with")
    return torch.from_numpy(np.array(array, order="C"))


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return to_tensor(value)
    if isinstance(value, Iterable) and not isinstance(value, str | onnx.GraphProto):
        return [item.decode() if isinstance(item, bytes) else item for item in value]
    return value


def _node(proto: onnx.NodeProto) -> OnnxNode:
    return OnnxNode(
        op_type=proto.op_type,
        name=proto.name,
        domain="" if proto.domain == "ai.onnx" else proto.domain,
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes={attribute.name: _attribute(attribute) for attribute in proto.attribute},
    )


def read_graph(model: q.Model | onnx.ModelProto) -> OnnxGraph:
    proto = onnx.load_model_from_string(model.to_bytes()) if isinstance(model, q.Model) else model
    graph = proto.graph
    constants = {tensor.name: to_tensor(tensor) for tensor in graph.initializer}
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    nodes = []
    for each in graph.node:
        if each.op_type == "Constant" and each.domain in ("", "ai.onnx"):
            value = each.attribute[0]
            if value.name == "value":
                constants[each.output[0]] = to_tensor(value.t)
                types[each.output[0]] = value.t.data_type
            elif value.name in ("value_float", "value_floats", "value_int", "value_ints"):
                kind = torch.float32 if value.name.startswith("value_float") else torch.int64
                constants[each.output[0]] = torch.tensor(_attribute(value), dtype=kind)
                types[each.output[0]] = onnx.TensorProto.FLOAT if kind == torch.float32 else onnx.TensorProto.INT64
            else:
                raise q.Error("unsupported", str(_node(each)), f"constants given as {value.name} do not run in torch")
            continue
        nodes.append(_node(each))
    return OnnxGraph(
        inputs=tuple(value.name for value in graph.input if value.name not in constants),
        outputs=tuple(value.name for value in graph.output),
        nodes=tuple(nodes),
        constants=constants,
        constant_types=types,
        opset=next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 1),
    )
