"""Quantization-aware training: fake quantization while training, the deployed integers in evaluation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

import zeropoint as q

from .fake_quantize import FakeQuantize
from .graph_module import GraphModule, ModelSource
from .integer_graph import IntegerGraph
from .onnx_graph import OnnxNode, read_graph

Tensor: TypeAlias = torch.Tensor
Samples: TypeAlias = Iterable[Mapping[str, Any]]

# Behind these a value has the parameters of the one before it (docs/passes/insert_qdq.md): one quantizer serves both.
_SHARE_PARAMETERS = frozenset(
    "MaxPool Reshape Flatten Transpose Squeeze Unsqueeze Slice Identity Split Gather Expand Tile Resize DepthToSpace "
    "ReduceMax ReduceMin GlobalMaxPool GatherElements GatherND SpaceToDepth Pad Concat".split()
)

_NEED_SAMPLES = frozenset({"equalize_activations", "smooth_quant", "split_outliers"})  # before calibration


def prepare_qat(
    model: nn.Module | ModelSource,
    recipe: q.Recipe | str | None = None,
    *,
    samples: Samples | None = None,
    example_inputs: Any = None,
    method: Literal["lsq", "ste"] = "lsq",
    threads: int = 0,
) -> QATModule:
    """A module that trains with the quantizers of a recipe in it.

    model: a torch module (with ``example_inputs``), or a float ONNX model: zeropoint.Model, path or bytes. Neither is
    changed; the prepared module has parameters of its own.
    recipe: a static one (default static_w8a8). Its ranges say where scales start. cross_layer_equalization is applied;
    steps that round weights or correct biases are not: training takes their place.
    samples: what to calibrate on, a mapping from input names to arrays each (a path, for ONNX models, as for
    ``zeropoint.quantize``). Without: the first batch that is trained on.
    example_inputs: a tensor or a tuple of tensors, as ``forward`` of the module takes them.
    method: "lsq" learns all scales (Esser et al. 2020). "ste": those of activations stay as calibrated, those of
    weights follow their largest magnitudes (Jacob et al. 2018).
    threads: of calibration; 0: all cores.

    Zero points stay where calibration put them. Raises Error ``unsupported`` for a recipe that has dynamic or 16-bit
    float parts or groups of weights, or steps that change the graph by samples (smooth_quant, equalize_activations,
    split_outliers, a clip_margin), and for operators that torch has no form of here.
    """
    if isinstance(model, nn.Module):
        if example_inputs is None:
            raise TypeError("prepare_qat needs example_inputs to trace a torch module")
        from .export import to_model

        model = to_model(model, example_inputs, training=True)
    source = model if isinstance(model, q.Model) else q.load(model)
    chosen = (
        q.recipes.static_w8a8() if recipe is None else q.recipes.named(recipe) if isinstance(recipe, str) else recipe
    )
    if method not in ("lsq", "ste"):
        raise ValueError(f"method is '{method}'; known are 'lsq' and 'ste'")
    return QATModule(source, chosen, samples, learned=method == "lsq", threads=threads)


def convert(module: QATModule) -> q.Model:
    """What a prepared module computes in evaluation mode: a Q/DQ model as ``zeropoint.quantize`` writes it."""
    return module.to_model()


def _check(recipe: q.Recipe) -> None:
    for i, rule in enumerate(recipe.rules):
        where = f"/rules/{i}"
        if rule.float_type != "float32":
            raise q.Error(
                "unsupported", where, f"{where}: QAT trains integers; this rule computes in {rule.float_type}"
            )
        if rule.activation is not None and rule.activation.dynamic:
            raise q.Error("unsupported", where, f"{where}: QAT needs ranges that are fixed; take a static recipe")
        if rule.activation is None and rule.weight is not None:
            raise q.Error("unsupported", where, f"{where}: QAT needs schemes of activations, too; take a static recipe")
    for step in json.loads(recipe.to_json()).get("steps", []):
        name, margin = step["name"], step.get("parameters", {}).get("clip_margin", 0)
        if name in _NEED_SAMPLES or (name == "cross_layer_equalization" and margin):
            what = f"the step '{name}'" + (" with a clip_margin" if margin else "")
            way_out = (
                "take it without" if name == "cross_layer_equalization" else "leave it out: training learns scales"
            )
            raise q.Error(
                "unsupported",
                "/steps",
                f"/steps: QAT does not apply {what}, which changes the graph by samples; {way_out}",
            )


def _without_late_steps(recipe: q.Recipe) -> q.Recipe:
    """Rounding and corrections are what training does in their place; equalization before calibration stays."""
    parts = json.loads(recipe.to_json())
    parts["steps"] = [step for step in parts.get("steps", []) if step["name"] == "cross_layer_equalization"]
    return q.Recipe.from_json(json.dumps(parts))


def _made_up_inputs(model: q.Model) -> dict[str, np.ndarray[Any, Any]]:
    """Of the declared shapes, to see which values get quantizers: that does not depend on what they hold."""
    generator = np.random.default_rng(0)
    feeds: dict[str, np.ndarray[Any, Any]] = {}
    for info in model.inputs:
        shape = info.shape
        if shape is None or any(not isinstance(dim, int) for dim in shape[1:]):
            raise q.Error(
                "bad_argument",
                info.name,
                f"the input '{info.name}' has open dimensions {shape}: give prepare_qat samples to calibrate on",
            )
        dims = [dim if isinstance(dim, int) else 1 for dim in shape]
        if info.dtype == "float32":
            feeds[info.name] = generator.standard_normal(dims, dtype=np.float32)
        else:
            feeds[info.name] = np.zeros(dims, info.dtype)
    return feeds


class QATModule(GraphModule):
    """A float ONNX graph with fake quantization; ``prepare_qat`` makes it.

    In training mode its forward computes in fp32, with the values that the recipe quantizes rounded to their levels;
    any optimizer and loop trains it. In evaluation mode it computes, in exact integer arithmetic on the CPU, what
    ``convert`` deploys: the integers of zeropoint's engine bit for bit, and so its outputs. It has no gradients then.

    Parameters: weights as in the ONNX file (of a module: as in its ``state_dict``), ``log_ratio`` of each quantizer.
    """

    def __init__(
        self,
        source: q.Model,
        recipe: q.Recipe,
        samples: Samples | None,
        *,
        learned: bool = True,
        threads: int = 0,
    ) -> None:
        nn.Module.__init__(self)
        _check(recipe)
        self.recipe = recipe
        self._placing = _without_late_steps(recipe)
        self._threads = threads
        prepared = q.prepare(source, self._placing)
        self._build(read_graph(source), prepared)
        given: Any = [_made_up_inputs(prepared)] if samples is None else samples
        qparams = self._calibrated(prepared, given)
        if not qparams:
            raise q.Error("unsupported", "recipe", "the recipe finds nothing in the model to quantize")
        self._calibrate_first = samples is None
        power_of_two = any(
            scheme is not None and scheme.scale == "power_of_two"
            for rule in recipe.rules
            for scheme in (rule.activation, rule.weight)
        )
        self.quantizers = nn.ModuleDict()
        self._quantizer_of: dict[str, str] = {}
        for value, key in self._keys(qparams).items():
            self._quantizer_of[value] = key
            if key in self.quantizers:
                continue
            constant = self.graph.constants.get(value)
            scales = qparams[value].scale
            self.quantizers[key] = FakeQuantize(
                qparams[value],
                weight=constant is not None,
                shape=() if constant is None else tuple(constant.shape),
                learned=learned,
                power_of_two=power_of_two and bool(np.all(np.frexp(scales)[0] == 0.5)),
            )
        self._exact: tuple[bytes, IntegerGraph] | None = None

    # ---- where quantizers stand, and where they start

    def _calibrated(self, model: q.Model, samples: Any) -> dict[str, q.QParams]:
        statistics = q.calibrate(model, samples, self._placing, threads=self._threads)
        return q.choose_qparams(model, statistics, self._placing)

    def _keys(self, qparams: Mapping[str, q.QParams]) -> dict[str, str]:
        """Value -> name of its quantizer: one for all that share parameters."""
        same = {value: value for value in qparams}

        def first(value: str) -> str:
            while same[value] != value:
                value = same[value]
            return value

        for node in self.graph.nodes:
            if node.op_type not in _SHARE_PARAMETERS or node.outputs[0] not in qparams:
                continue
            values = node.inputs if node.op_type == "Concat" else node.inputs[:1]
            for value in [*values, *node.outputs[1:]]:
                if (
                    value in qparams
                    and value not in self.graph.constants
                    and qparams[value] == qparams[node.outputs[0]]
                ):
                    same[first(node.outputs[0])] = first(value)
        keys: dict[str, str] = {}
        taken: set[str] = set()
        for value in qparams:
            root = first(value)
            if root not in keys:
                key = root.replace(".", "_") or "_"
                while key in taken:
                    key += "_"
                taken.add(key)
                keys[root] = key
            keys[value] = keys[root]
        return {value: keys[first(value)] for value in qparams}

    def calibrate(self, samples: Samples) -> None:
        """Lets all scales and zero points start anew, from the present weights and these samples."""
        qparams = self._calibrated(self._with_constants(), samples)
        with torch.no_grad():
            for value in self._quantizer_of:
                quantizer, found = self.quantizer(value), qparams[value]
                assert quantizer is not None
                if found.dtype != quantizer.qparams.dtype:
                    raise q.Error("mismatch", value, f"value '{value}': the samples call for {found.dtype}")
                quantizer.start(found)
        self._calibrate_first = False

    def get_extra_state(self) -> dict[str, bool]:
        return super().get_extra_state() | {"calibrated": not self._calibrate_first}

    def set_extra_state(self, state: Mapping[str, bool]) -> None:
        super().set_extra_state(state)
        if "calibrated" in state:  # not where the state is a GraphModule's
            self._calibrate_first = not state["calibrated"]
        self._exact = None

    # ---- training

    def quantizer(self, value: str) -> FakeQuantize | None:
        """Of a value or weight by its name in the ONNX graph; None where it stays in float."""
        key = self._quantizer_of.get(value)
        found = self.quantizers[key] if key is not None else None
        assert found is None or isinstance(found, FakeQuantize)
        return found

    def scale_parameters(self) -> Iterator[nn.Parameter]:
        """What learns the scales, for an optimizer's group of their own."""
        for quantizer in self.quantizers.values():
            yield from quantizer.parameters()

    def weight_parameters(self) -> Iterator[nn.Parameter]:
        """All parameters but those."""
        scales = {id(parameter) for parameter in self.scale_parameters()}
        return (parameter for parameter in self.parameters() if id(parameter) not in scales)

    def _value(self, name: str, value: Tensor) -> Tensor:
        quantizer = self.quantizer(name)
        return value if quantizer is None else quantizer(value)

    _constant = _value

    def _bias(self, node: OnnxNode, bias: Tensor) -> Tensor:
        """Biases are integers at x_scale * w_scale; the rounding is seen, the gradient passes it by."""
        x, w = self.quantizer(node.inputs[0]), self.quantizer(node.input(1))
        if x is None or w is None or (node.op_type == "ConvTranspose" and w.axis is not None):
            return bias
        unit = x.scale * w.scale
        return bias + (torch.round(bias.detach() / unit) * unit - bias.detach())

    def forward(self, *args: Tensor, **named: Tensor) -> Any:
        """As the model; one output is a tensor, several are a tuple."""
        feeds = self._feeds(args, named)
        if self.training:
            if self._calibrate_first:
                self.calibrate([{name: value.detach().cpu().numpy() for name, value in feeds.items()}])
            return self._outputs(self._run(feeds))
        device = next(iter(feeds.values())).device
        outputs, _ = self._integer_graph().run(feeds)
        results = tuple(output.to(device) for output in outputs)
        return results[0] if len(results) == 1 else results

    # ---- evaluation and deployment

    def _constants(self) -> dict[str, Tensor]:
        """Of the fused graph, with what was trained in them."""
        makers = self.graph.makers()
        found: dict[str, Tensor] = {}
        with torch.no_grad():
            for output, pair in self.batch_norms.items():
                node = makers[output]
                found[node.input(1)], found[node.input(2)] = self.folded(pair, node)
            for name in self.graph.constants:
                if name not in found:
                    found[name] = self.tensor(name)
        return {name: tensor.detach().cpu() for name, tensor in found.items()}

    def _with_constants(self) -> q.Model:
        proto = onnx.load_model_from_string(self.model.to_bytes())
        values = self._constants()
        for tensor in proto.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                tensor.CopyFrom(numpy_helper.from_array(np.array(values[tensor.name].numpy(), order="C"), tensor.name))
        return q.load(proto.SerializeToString())

    def to_model(self) -> q.Model:
        """See ``convert``."""
        if self._calibrate_first:
            raise q.Error(
                "bad_argument",
                "module",
                "no scale is known yet: give prepare_qat samples, or train on a batch first",
            )
        values = self._constants()
        qparams = {}
        for value in self._quantizer_of:
            quantizer = self.quantizer(value)
            assert quantizer is not None
            if quantizer.weight:
                quantizer.follow(values[value])
            qparams[value] = quantizer.deployed()
        quantized = q.insert_qdq(self._with_constants(), qparams)
        proto = onnx.load_model_from_string(quantized.to_bytes())
        onnx.helper.set_model_props(proto, quantized.metadata | {"zeropoint.qat_recipe": self.recipe.to_json()})
        return q.load(proto.SerializeToString())

    def to_float_model(self) -> q.Model:
        """The float model with the weights as trained, BatchNorm folded."""
        return self._with_constants()

    def _integer_graph(self) -> IntegerGraph:
        """Made again when any parameter has changed."""
        if self._exact is None or self._exact[0] != self._content():
            graph = IntegerGraph(self.to_model())
            self._exact = (self._content(), graph)  # `follow` may have written
        return self._exact[1]

    def _content(self) -> bytes:
        """Hash of all parameters and buffers: versions of tensors miss what is written through ``.data``."""
        found = hashlib.blake2b()
        for tensor in (*self.parameters(), *self.buffers()):
            found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return found.digest()

    def train(self, mode: bool = True) -> QATModule:
        if not hasattr(self, "_exact") or mode != self.training:
            self._exact = None
        super().train(mode)
        return self

    def integers(self, *args: Tensor, **named: Tensor) -> dict[str, Tensor]:
        """The integers (int32) of every quantized value in evaluation mode, by its name in the ONNX graph."""
        _, integers = self._integer_graph().run(self._feeds(args, named))
        return {name.removesuffix("_quantized"): value for name, value in integers.items()}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_exact": None}
