"""PyTorch modules as zeropoint models, by way of ONNX in memory."""

from __future__ import annotations

import ast
import contextlib
import inspect
import logging
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch.utils import _pytree as pytree

import zeropoint as q

# Positional arguments of forward(): one tensor, or several in a tuple or list. A mapping holds keyword arguments.
Inputs: TypeAlias = torch.Tensor | Sequence[Any] | Mapping[str, Any]
Translations: TypeAlias = Mapping[Callable[..., Any], Callable[..., Any]]

_LARGE = 1 << 30  # bytes of weights from which on ONNX goes over the disk: a message must stay below 2 GiB
_WITH_WEIGHTS = set("Conv ConvTranspose Gemm MatMul MatMulInteger LSTM GRU RNN BatchNormalization".split())


@dataclass(frozen=True)
class Exported:
    """A model and the program of torch.export that it was made from."""

    model: q.Model
    program: torch.export.ExportedProgram


def to_model(
    module: torch.nn.Module | torch.export.ExportedProgram,
    example_inputs: Inputs,
    *,
    training: bool = False,
    dynamic_batch: bool = True,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    opset: int | None = None,
) -> q.Model:
    """What a module computes in evaluation mode, as a float model.

    example_inputs: a tensor, a tuple of positional arguments, or a dict of keyword arguments of ``forward``. Inputs
    of the model are called as those arguments are, unless ``input_names`` says otherwise.
    training: keep what training needs: BatchNorm stands unfolded, initializers are called as in ``state_dict()``.
    dynamic_batch: leave the first axis open of every input that is as long there as the first one. False: all shapes
    are fixed.
    opset: version of ONNX's operators; None: what torch's exporter prefers.

    Operators are called as the modules they come from, so that recipes can name those: "layer1.0.conv1" the convolution
    of that module, "attention/MatMul_1" the second product of one with several.

    Raises Error ``unsupported`` where torch cannot export the module, with torch's reason.
    """
    return export(
        module,
        example_inputs,
        training=training,
        dynamic_batch=dynamic_batch,
        input_names=input_names,
        output_names=output_names,
        opset=opset,
    ).model


def split_inputs(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments."""
    if isinstance(inputs, torch.Tensor):
        return (inputs,), {}
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return tuple(inputs), {}


def export(
    module: torch.nn.Module | torch.export.ExportedProgram,
    example_inputs: Inputs,
    *,
    training: bool = False,
    dynamic_batch: bool = True,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    opset: int | None = None,
    translations: Translations | None = None,
) -> Exported:
    """As ``to_model``. translations: ONNX Script functions for operators that torch's exporter has none for."""
    try:
        import onnxscript.optimizer as optimizer
    except ImportError as error:
        raise ImportError("torch's ONNX exporter needs onnxscript: pip install zeropoint[torch]") from error
    try:
        with _quiet(), torch.no_grad():
            if isinstance(module, torch.export.ExportedProgram):
                exported = module
            else:
                args, kwargs = split_inputs(example_inputs)
                order = [name for name in inspect.signature(module.forward).parameters if name in kwargs]
                kwargs = {name: kwargs[name] for name in (*order, *(kwargs.keys() - set(order)))}
                with _evaluation(module):
                    exported = _trace(module, args, kwargs, dynamic_batch)
            program = torch.onnx.export(
                exported,
                input_names=input_names,
                output_names=output_names,
                opset_version=opset,
                custom_translation_table=dict(translations) if translations else None,
                optimize=not training,
                verbose=False,
                dynamo=True,
            )
            assert program is not None  # nothing was written to a file
            if training:  # what `optimize` does, without its rules that fold BatchNorm
                optimizer.inline(program.model)
                optimizer.fold_constants(program.model)
                optimizer.remove_unused_nodes(program.model)
            _name_nodes(program.model)
            _name_batch(program.model)
            return Exported(_load(program), exported)
    except (RuntimeError, NotImplementedError, torch.onnx.OnnxExporterError) as error:
        raise _unsupported(error, dynamic_batch) from error


def _trace(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic_batch: bool
) -> torch.export.ExportedProgram:
    leaves, structure = pytree.tree_flatten((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.ndim > 0]
    if not dynamic_batch or not tensors:
        return torch.export.export(module, args, kwargs, strict=False)
    length = tensors[0].shape[0]
    shapes = torch.export.ShapesCollection()
    batch = torch.export.Dim("batch")
    for i, leaf in enumerate(leaves):
        if not isinstance(leaf, torch.Tensor) or leaf.ndim == 0 or leaf.shape[0] != length:
            continue
        if length == 1:  # which torch.export takes for a constant
            leaves[i] = torch.cat([leaf, leaf])
        shapes[leaves[i]] = {0: batch}
    args, kwargs = pytree.tree_unflatten(leaves, structure)
    dynamic_shapes = shapes.dynamic_shapes(module, args, kwargs)
    return torch.export.export(module, args, kwargs, dynamic_shapes=dynamic_shapes, strict=False)


@contextlib.contextmanager
def _evaluation(module: torch.nn.Module) -> Iterator[None]:
    """In evaluation mode; afterwards every submodule in its own again."""
    modes = [(part, part.training) for part in module.modules()]
    with contextlib.suppress(NotImplementedError):  # what torchao's converted modules answer; they have but one mode
        module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages that are not there and on its own insides."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _unsupported(error: Exception, dynamic_batch: bool) -> q.Error:
    reason = str(error).strip()
    for cause in (error.__cause__, error.__context__):
        if cause is not None and str(cause).strip() and str(cause).strip() not in reason:
            reason += "\n" + str(cause).strip()
    message = f"torch cannot export the module: {reason}"
    if dynamic_batch:
        message += "\nIf the module works at one batch size only, pass dynamic_batch=False."
    return q.Error("unsupported", "module", message)


def _name_nodes(model: Any) -> None:
    """Names nodes by the modules they come from. model: of onnx_ir."""
    nodes = list(model.graph)
    scopes = [_scope(node) for node in nodes]
    with_weights = Counter(scope for node, scope in zip(nodes, scopes, strict=True) if node.op_type in _WITH_WEIGHTS)
    of_scope = Counter(scopes)
    taken: Counter[str] = Counter()
    for node, scope in zip(nodes, scopes, strict=True):
        if not scope:
            continue
        only = of_scope[scope] == 1 or (with_weights[scope] == 1 and node.op_type in _WITH_WEIGHTS)
        name = scope if only else f"{scope}/{node.op_type}"
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name] - 1}"


def _name_batch(model: Any) -> None:
    """Calls the first input's open first axis "batch", which the exporter gives a number ("s77")."""
    graph = model.graph
    shape = graph.inputs[0].shape if graph.inputs else None
    if not shape or isinstance(shape[0], int) or not shape[0].value:
        return
    number = re.compile(rf"\b{re.escape(shape[0].value)}\b")
    for value in (*graph.inputs, *graph.initializers.values(), *(output for node in graph for output in node.outputs)):
        for axis, size in enumerate(value.shape or ()):
            if not isinstance(size, int) and size.value:
                value.shape[axis] = number.sub("batch", size.value)


def _scope(node: Any) -> str:
    """The path of the module that called the operator: "layer1.0.conv1"; "" for the outermost or none."""
    scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes")
    if not scopes:
        return ""
    if node.op_type in (
        "Conv",
        "ConvTranspose",
    ):  # into which a BatchNorm may be folded: then only weights keep the name
        path, _, name = (node.inputs[1].name or "").rpartition(".")
        if path and name == "weight" and node.inputs[1].is_initializer():
            return str(path)
    path = ast.literal_eval(scopes)
    return str(path[-2]) if len(path) > 1 else ""


def _load(program: torch.onnx.ONNXProgram) -> q.Model:
    sizes = (value.const_value.nbytes for value in program.model.graph.initializers.values() if value.const_value)
    if sum(sizes) < _LARGE:
        return q.load(program.model_proto.SerializeToString())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        program.save(path, external_data=True)
        return q.load(path)
