"""quantize(): a module and a loader to a quantized module that is called with tensors."""

from __future__ import annotations

import inspect
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.export.graph_signature import OutputKind, TensorArgument
from torch.utils import _pytree as pytree

import zeropoint as q
from zeropoint._types import Progress

from .export import Exported, Inputs, export, split_inputs

_EMPTY = inspect.Parameter.empty


def quantize(
    module: torch.nn.Module,
    loader: Iterable[Any] | None = None,
    recipe: q.Recipe | str | None = None,
    *,
    example_inputs: Inputs | None = None,
    inputs: Callable[[Any], Inputs] | None = None,
    max_samples: int | None = 512,
    dynamic_batch: bool = True,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    target: str | None = None,
    threads: int = 0,
    max_memory: int | None = None,
    allow_non_finite: bool = False,
    verify: bool = True,
    progress: Progress | None = None,
) -> QuantizedModule:
    """Exports a module, calibrates it on a loader's batches and quantizes it.

    loader: any iterable of batches: tensors, tuples or lists (x, y) of which the first are what ``forward`` requires,
    or dicts of ``forward``'s arguments ("labels" and keys that it does not take are left out). inputs: a function from
    a batch to a tensor, a tuple of arguments or a dict of them, where that rule does not do.
    example_inputs: what to trace the module with; None: the first batch. Recipes that need no samples do with it alone.
    max_samples: read no more from the loader than this many (a batch of 32 counts 32); None: all. They are held in
    memory.
    recipe, target, threads, max_memory, allow_non_finite, verify, progress: as ``zeropoint.quantize`` takes them.
    dynamic_batch, input_names, output_names: as ``to_model`` takes them.

    The module is evaluated in evaluation mode and left as it was. Its parameters may be on any device.
    Raises Error ``unsupported`` where torch cannot export the module, and what ``zeropoint.quantize`` raises.
    """
    if loader is None and example_inputs is None:
        raise TypeError("give a loader of batches, or example_inputs for recipes that need no samples")
    batches: Iterable[Inputs] = (
        (inputs(batch) if inputs else batch_inputs(module, batch) for batch in loader) if loader is not None else ()
    )
    first: list[Inputs] = []
    if example_inputs is None:
        batches = iter(batches)
        first = list(itertools.islice(batches, 1))
        if not first:
            raise ValueError("the loader is empty")
        example_inputs = first[0]
    exported = export(
        module,
        example_inputs,
        dynamic_batch=dynamic_batch,
        input_names=input_names,
        output_names=output_names,
    )
    calling = Calling.of(exported, module, example_inputs)
    samples: list[dict[str, torch.Tensor]] | None = None
    if loader is not None:
        samples = _take(first, batches, calling, max_samples)
    quantized = q.quantize(
        exported.model,
        samples,
        recipe,
        target=target,
        threads=threads,
        max_memory=max_memory,
        allow_non_finite=allow_non_finite,
        verify=verify,
        progress=progress,
    )
    return QuantizedModule(quantized.model, report=quantized.report, calling=calling, threads=threads)


def load(path: str | os.PathLike[str], *, threads: int = 0) -> QuantizedModule:
    """A model on disk, quantized or not, as a module. Its arguments are the model's inputs, in order or by name."""
    return QuantizedModule(q.load(path), threads=threads)


class QuantizedModule(torch.nn.Module):
    """A model that runs in zeropoint's engine and is called with tensors, as the module it was made from was.

    Tensors go in and come out without copies where they are contiguous and in the CPU's memory. No gradients pass, and
    there are no parameters: ``model`` holds the weights. Pickles.
    """

    model: q.Model
    report: q.Report | None  # of quantize()

    def __init__(
        self,
        model: q.Model,
        *,
        report: q.Report | None = None,
        calling: Calling | None = None,
        threads: int = 0,
    ) -> None:
        """calling: how arguments become inputs; None: by the model's own names. threads: 0: the physical cores."""
        super().__init__()
        self.model = model
        self.report = report
        self.threads = threads
        self._calling = calling or Calling(tuple(value.name for value in model.inputs))
        self._session: q.Session | None = None
        self._making = threading.Lock()

    @property
    def session(self) -> q.Session:
        """The compiled model, made when it is first wanted."""
        if self._session is None:
            with self._making:
                if self._session is None:
                    self._session = q.Session(self.model, threads=self.threads)
        return self._session

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Tensors in, tensors out, in the structure in which the original module returned them."""
        results = self.session.run_dlpack(None, self._calling.feeds(args, kwargs))
        return self._calling.returned([torch.from_dlpack(result) for result in results])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model as standard ONNX."""
        self.model.save(path)

    def extra_repr(self) -> str:
        return f"{self.model!r}, {self.report!r}" if self.report else repr(self.model)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.update(_session=None, _making=None, report=None)  # a report holds native values
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._making = threading.Lock()


@dataclass(frozen=True)
class Calling:
    """How arguments of a module become inputs of its model, and outputs what it returned."""

    names: tuple[str, ...]  # of the model's inputs, in the order of the tensors among the arguments
    signature: inspect.Signature | None = None  # of forward(); None: arguments are the inputs, in order or by name
    arguments: pytree.TreeSpec | None = None
    fixed: tuple[Any, ...] = ()  # arguments that are no tensors: the model was made for these values
    results: pytree.TreeSpec | None = None
    constants: tuple[Any, ...] = ()  # a leaf of the results each: _EMPTY for the model's outputs, else the value

    @classmethod
    def of(cls, exported: Exported, module: torch.nn.Module, example_inputs: Inputs) -> Calling:
        """Of a module that was called with these inputs when it was exported."""
        program, model = exported.program, exported.model
        names = tuple(value.name for value in model.inputs)
        signature = _plain(inspect.signature(module.forward))
        leaves, arguments = pytree.tree_flatten(_bind(signature, *split_inputs(example_inputs)))
        fixed = tuple(leaf for leaf in leaves if not isinstance(leaf, torch.Tensor))
        if len(leaves) - len(fixed) != len(names):  # an argument that is not used
            return cls(names)
        return cls(names, signature, arguments, fixed, *_results(program, model))

    @classmethod
    def of_program(cls, exported: Exported) -> Calling:
        """Of a program, whose arguments are known by its inputs' names alone."""
        names = tuple(value.name for value in exported.model.inputs)
        results, constants = _results(exported.program, exported.model)
        return cls(names, results=results, constants=constants)

    def feeds(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """The model's inputs. Raises TypeError when the arguments are not those that the module was exported with."""
        if self.signature is None or self.arguments is None:
            if len(args) > len(self.names) or not set(kwargs) <= set(self.names[len(args) :]):
                raise TypeError(f"the model takes {', '.join(self.names)}")
            given = dict(zip(self.names, args, strict=False)) | dict(kwargs)
            missing = [name for name in self.names if name not in given]
            if missing:
                raise TypeError(f"missing: {', '.join(missing)}; the model takes {', '.join(self.names)}")
            return {name: _ready(given[name]) for name in self.names}
        leaves, arguments = pytree.tree_flatten(_bind(self.signature, args, kwargs))
        if arguments != self.arguments:
            raise TypeError(f"the module was exported with the arguments {self.arguments}, not {arguments}")
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        fixed = tuple(leaf for leaf in leaves if not isinstance(leaf, torch.Tensor))
        if len(tensors) != len(self.names) or fixed != self.fixed:
            raise TypeError(f"the module was exported with {len(self.names)} tensors and {self.fixed}, not {fixed}")
        return {name: _ready(tensor) for name, tensor in zip(self.names, tensors, strict=True)}

    def returned(self, outputs: list[torch.Tensor]) -> Any:
        if self.results is None:
            return outputs[0] if len(outputs) == 1 else tuple(outputs)
        rest = iter(outputs)
        leaves = [next(rest) if constant is _EMPTY else constant for constant in self.constants]
        return pytree.tree_unflatten(leaves, self.results)


def _results(program: torch.export.ExportedProgram, model: q.Model) -> tuple[pytree.TreeSpec | None, tuple[Any, ...]]:
    """The structure of what a program returns, and its leaves that are no outputs of the model."""
    constants = tuple(
        _EMPTY if isinstance(spec.arg, TensorArgument) else spec.arg.value
        for spec in program.graph_signature.output_specs
        if spec.kind is OutputKind.USER_OUTPUT
    )
    results = program.call_spec.out_spec
    return (results, constants) if results and constants.count(_EMPTY) == len(model.outputs) else (None, ())


def batch_inputs(module: torch.nn.Module, batch: Any) -> Inputs:
    """The part of a loader's batch that ``forward`` takes (see ``quantize``)."""
    if isinstance(batch, torch.Tensor):
        return batch
    parameters = inspect.signature(module.forward).parameters.values()
    if isinstance(batch, Mapping):
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return {key: value for key, value in batch.items() if key != "labels"}
        taken = {parameter.name for parameter in parameters}
        return {key: value for key, value in batch.items() if key in taken and key != "labels"}
    if isinstance(batch, (tuple, list)):
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        required = sum(p.kind in positional and p.default is _EMPTY for p in parameters)
        return tuple(batch[: max(1, required)])
    raise TypeError(f"a batch is a tensor, tuple, list or dict, not {type(batch)}; pass inputs=function of a batch")


def _take(
    first: list[Inputs], batches: Iterable[Inputs], calling: Calling, max_samples: int | None
) -> list[dict[str, torch.Tensor]]:
    """Feeds of a loader's first batches, so that they hold this many samples."""
    samples: list[dict[str, torch.Tensor]] = []
    left = max_samples

    def add(batch: Inputs) -> None:
        nonlocal left
        feeds = {name: tensor.cpu().clone() for name, tensor in calling.feeds(*split_inputs(batch)).items()}
        samples.append(feeds)
        if left is not None:
            left -= max((tensor.shape[0] if tensor.ndim else 1 for tensor in feeds.values()), default=1)

    for batch in first:
        add(batch)
    if left is None or left > 0:
        for batch in batches:
            add(batch)
            if left is not None and left <= 0:
                break
    if not samples:
        raise ValueError("the loader is empty")
    return samples


def _ready(tensor: Any) -> Any:
    return tensor.detach() if isinstance(tensor, torch.Tensor) and tensor.requires_grad else tensor


def _plain(signature: inspect.Signature) -> inspect.Signature:
    """Without annotations, which may not pickle."""
    parameters = [parameter.replace(annotation=_EMPTY) for parameter in signature.parameters.values()]
    return signature.replace(parameters=parameters, return_annotation=_EMPTY)


def _bind(signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by parameter, the same however they were passed, defaults included; None stands for no argument."""
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return {name: value for name, value in bound.arguments.items() if value is not None}
