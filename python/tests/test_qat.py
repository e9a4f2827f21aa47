"""Training with quantizers, and the integers that come of it."""

from __future__ import annotations

import copy
import io
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zeropoint as q
from zeropoint.torch import GraphModule, QATModule, convert, prepare_qat, to_model
from zeropoint.torch.fake_quantize import FakeQuantize, limits_of
from zeropoint.torch.integer_graph import IntegerGraph
from zeropoint.torch.onnx_graph import OnnxNode
from zeropoint.torch.operators import run

DATA = Path(__file__).parents[2] / "tests" / "data"
RESNET18 = (
    Path(__file__).parents[2] / "build" / "models" / "resnet18.onnx"
)  # torchvision's, made by tools/make_models.py
NETWORKS = ["dscnn", "resnet8", "vit", "lstm"]


def four_bits() -> q.Recipe:
    return q.recipes.static_w8a8().override(
        activation=q.uint4(range="mse"), weight=q.int4(q.PerChannel(axis=0), range="mse")
    )


def clipped() -> q.Recipe:
    """Sixteen levels in bytes: Clips stand before the quantizers."""
    return q.recipes.static_w8a8().override(activation=q.uint8(bits=4), weight=q.int8(q.PerChannel(axis=0), bits=5))


RECIPES = {
    "w8a8": q.recipes.static_w8a8,
    "w4a4": four_bits,
    "w8a16": q.recipes.static_w8a16,
    "clipped": clipped,
    "zeropoint": lambda: q.recipes.static_w8a8().with_target("zeropoint").with_all_integers(),
    "openvino": lambda: q.recipes.static_w8a8().with_target("openvino"),
}


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Blobs and noise of the networks' input shape."""
    generator = np.random.default_rng(3)
    row, column = np.mgrid[0:28, 0:28].astype(np.float32)
    images = []
    for _ in range(24):
        y, x, size = generator.uniform([8, 8, 4], [20, 20, 10])
        images.append(np.exp(-((row - y) ** 2 + (column - x) ** 2) / size**2) * 2.5 - 0.8)
    return (np.stack(images)[:, None] + generator.normal(0, 0.05, (24, 1, 28, 28))).astype(np.float32)


def samples(pictures: np.ndarray) -> list[dict[str, np.ndarray]]:
    return [{"images": picture[None]} for picture in pictures[:12]]


def engine(model: q.Model, feeds: dict[str, np.ndarray]) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Outputs, and the integers of every QuantizeLinear, by zeropoint's engine.

    What is asked for beside the outputs is behind DequantizeLinear: 4-bit integers that anything else reads take
    another way through the engine.
    """
    proto = onnx.load_model_from_string(model.to_bytes())
    made = {node.output[0] for node in proto.graph.node if node.op_type == "QuantizeLinear"}
    nodes = [node for node in proto.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in made]
    outputs = [value.name for value in proto.graph.output]
    names = [node.output[0] for node in nodes]
    proto.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names if name not in outputs
    )
    reals = q.Session(q.load(proto.SerializeToString())).run(names, feeds)
    integers = {}
    for node, real in zip(nodes, reals, strict=True):
        scale, zero = (model.constant(name) for name in node.input[1:])
        integers[node.input[0]] = np.rint(real.astype(np.float64) / scale).astype(np.int64) + int(zero)
    return q.Session(model).run(None, feeds), integers


def check_equals_engine(module: QATModule, feeds: dict[str, np.ndarray]) -> None:
    module.eval()
    tensors = {name: torch.from_numpy(value) for name, value in feeds.items()}
    outputs = module(**tensors)
    ours = module.integers(**tensors)
    deployed, integers = engine(convert(module), feeds)
    assert len(integers) >= 3 and set(ours) == {name.removesuffix("_quantized") for name in integers}
    for name, value in integers.items():
        got = ours[name.removesuffix("_quantized")].numpy()
        np.testing.assert_array_equal(got, value, err_msg=name)
    for mine, theirs in zip(outputs if isinstance(outputs, tuple) else (outputs,), deployed, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs)


def train(module: QATModule, images: np.ndarray, steps: int = 2, rate: float = 1e-3) -> list[float]:
    """A few steps, BatchNorm frozen before the last."""
    module.train()
    optimizer = torch.optim.Adam(module.parameters(), rate)
    labels = torch.arange(len(images)) % 10
    losses = []
    for step in range(steps):
        if step == steps - 1:
            module.freeze_batch_norm()
        loss = F.cross_entropy(module(torch.from_numpy(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# ---- the float graph in torch


@pytest.mark.parametrize("network", NETWORKS)
def test_float_module_equals_session(network: str, pictures: np.ndarray) -> None:
    path = DATA / f"fmnist_{network}.onnx"
    module = GraphModule(path).eval()
    with torch.no_grad():
        ours = module(torch.from_numpy(pictures)).numpy()
    (theirs,) = q.Session(q.load(path)).run(None, {"images": pictures})
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6 * np.abs(theirs).max())


def test_batch_norm_trains_as_in_torch() -> None:
    torch.manual_seed(0)
    original = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3)
    )
    x = torch.randn(8, 2, 4, 4)
    module = GraphModule(to_model(original, x, training=True))
    assert {k for k in original.state_dict() if "tracked" not in k} <= set(module.state_dict())
    original.train()
    module.train()
    theirs, ours = original(x), module(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    theirs.square().sum().backward()
    ours.square().sum().backward()
    gradients = dict(module.named_parameters())
    for name, parameter in original.named_parameters():
        torch.testing.assert_close(gradients[name].grad, parameter.grad, rtol=1e-4, atol=1e-4)
    buffers = module.state_dict()
    torch.testing.assert_close(buffers["1.running_mean"], original[1].running_mean)
    torch.testing.assert_close(buffers["1.running_var"], original[1].running_var)
    module.freeze_batch_norm()
    before = buffers["1.running_mean"].clone()
    module(x)
    torch.testing.assert_close(module.state_dict()["1.running_mean"], before, rtol=0, atol=0)
    torch.testing.assert_close(module(x), original.eval()(x), rtol=1e-5, atol=1e-5)


def test_what_does_not_run_is_named() -> None:
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("NonZero", ["x"], ["places"], "find")
    graph = onnx.helper.make_graph([node], "g", [value("x", 1, [4])], [value("places", 7, [1, "N"])])
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(q.Error, match=r"node 'find' \(NonZero\)") as caught:
        GraphModule(proto.SerializeToString())
    assert caught.value.code == "unsupported"


# ---- fake quantization


def test_levels_and_straight_through() -> None:
    quantizer = FakeQuantize(q.QParams("uint8", 0.5, 3, bits=3), learned=False)
    assert quantizer.limits == (0, 7)
    x = torch.tensor([-2.0, -1.5, -1.0, 0.2, 0.25, 0.75, 1.9, 2.1, 5.0], requires_grad=True)
    y = quantizer(x)
    # Ties go to even levels; levels are (0 ... 7) - 3.
    assert y.tolist() == [-1.5, -1.5, -1.0, 0.0, 0.0, 1.0, 2.0, 2.0, 2.0]
    y.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0, 1, 1, 1, 1, 1, 1, 0, 0]
    assert not quantizer.log_ratio.requires_grad


@pytest.mark.parametrize(
    ("dtype", "weight", "limits"),
    [("int8", True, (-127, 127)), ("int8", False, (-128, 127)), ("uint4", False, (0, 15)), ("int4", True, (-7, 7))],
)
def test_limits(dtype: str, weight: bool, limits: tuple[int, int]) -> None:
    assert limits_of(q.QParams(dtype, 1.0, 0), weight=weight) == limits


@pytest.mark.parametrize("per_channel", [False, True])
def test_gradient_of_the_step_size(per_channel: bool) -> None:
    """Esser et al. 2020, equation 3, by sums in a loop."""
    generator = np.random.default_rng(5)
    w = generator.normal(0, 1, (4, 6)).astype(np.float32)
    scales = np.float32([0.2, 0.11, 0.3, 0.07]) if per_channel else np.float32(0.15)
    granularity = q.PerChannel(axis=0) if per_channel else None
    quantizer = FakeQuantize(q.QParams("int4", scales, 0, granularity), weight=True, shape=w.shape)
    x = torch.from_numpy(w).requires_grad_()
    upstream = generator.normal(0, 0.01, w.shape).astype(np.float32)
    quantizer(x).backward(torch.from_numpy(upstream))

    each = np.zeros_like(w, np.float64)
    for i in range(4):
        s = float(scales[i] if per_channel else scales)
        for j in range(6):
            v = w[i, j] / s
            each[i, j] = (round(v) - v if -7 <= v <= 7 else math.copysign(7, v)) * upstream[i, j]
    count = 6 if per_channel else 24
    wanted = (each.sum(1) if per_channel else each.sum()) / math.sqrt(count * 7) / scales
    assert np.abs(wanted).max() < 1, "the bound would hide the gradient"
    assert quantizer.log_ratio.grad is not None
    np.testing.assert_allclose(quantizer.log_ratio.grad.numpy(), wanted, rtol=1e-3, atol=1e-6)
    # A step of SGD moves the scale by what the published form does, to first order.
    rate = 1e-3
    with torch.no_grad():
        quantizer.log_ratio -= rate * quantizer.log_ratio.grad
    np.testing.assert_allclose(quantizer.scale.numpy() - scales, -rate * wanted * scales, rtol=2e-2, atol=1e-9)


def test_gradient_of_asymmetric_step_sizes() -> None:
    """The same equation where each channel's zero point gives it limits of its own."""
    generator = np.random.default_rng(6)
    w = generator.normal(0, 1, (4, 6)).astype(np.float32)
    scales, zeros = np.float32([0.2, 0.11, 0.3, 0.07]), np.int32([5, 0, 9, 3])
    params = q.QParams("uint4", scales, zeros, q.PerChannel(axis=0))
    quantizer = FakeQuantize(params, weight=True, shape=w.shape)
    x = torch.from_numpy(w).requires_grad_()
    upstream = generator.normal(0, 0.01, w.shape).astype(np.float32)
    y = quantizer(x)
    y.backward(torch.from_numpy(upstream))

    of_scale, of_x = np.zeros(4), np.zeros_like(w)
    for i in range(4):
        s, low, high = float(scales[i]), -int(zeros[i]), 15 - int(zeros[i])
        for j in range(6):
            v = w[i, j] / s
            inside = low <= v <= high
            level = min(max(round(v), low), high)
            assert y[i, j].item() == np.float32(level) * scales[i]
            of_scale[i] += (level - v if inside else level) * upstream[i, j]
            of_x[i, j] = upstream[i, j] if inside else 0
    wanted = of_scale / math.sqrt(6 * 15) / scales
    assert np.abs(wanted).max() < 1 and (of_x == 0).any() and (of_x != 0).any()
    assert quantizer.log_ratio.grad is not None and x.grad is not None
    np.testing.assert_allclose(quantizer.log_ratio.grad.numpy(), wanted, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(x.grad.numpy(), of_x)


def test_scales_stay_positive_and_steps_bounded() -> None:
    quantizer = FakeQuantize(q.QParams("uint8", 1e-3, 0))
    x = torch.full((1, 1000), 5.0)
    quantizer(x).backward(torch.full_like(x, 1e6))
    assert quantizer.log_ratio.grad is not None and abs(quantizer.log_ratio.grad.item()) == 1
    with torch.no_grad():
        quantizer.log_ratio.fill_(-1e9)
    assert quantizer.scale.item() > 0


def test_power_of_two_scales() -> None:
    quantizer = FakeQuantize(q.QParams("uint8", 0.25, 0), power_of_two=True)
    for ratio, scale in [(1.0, 0.25), (1.01, 0.5), (0.99, 0.25), (0.5, 0.125), (0.49, 0.125)]:
        with torch.no_grad():
            quantizer.log_ratio.fill_(math.log(ratio))
        assert quantizer.scale.item() == scale


def test_asymmetric_weights_round_to_their_levels() -> None:
    w = torch.linspace(-1, 2, 24).reshape(2, 12)
    params = q.QParams("uint4", np.float32([0.2, 0.1]), np.int32([5, 0]), q.PerChannel(axis=0))
    y = FakeQuantize(params, weight=True, shape=(2, 12))(w)
    for row, scale, zero in [(0, 0.2, 5), (1, 0.1, 0)]:
        wanted = q.dequantize_tensor(q.quantize_linear(w[row].numpy(), scale, zero, dtype="uint4"), scale, zero)
        np.testing.assert_allclose(y[row].detach().numpy(), wanted, atol=1e-6)


# ---- evaluation equals the engine


@pytest.mark.parametrize(
    ("network", "recipe"),
    [("dscnn", recipe) for recipe in RECIPES]
    + [("resnet8", recipe) for recipe in ("w8a8", "w4a4", "w8a16")]
    + [("vit", "w8a8"), ("vit", "w4a4"), ("vit", "w8a16"), ("vit", "zeropoint"), ("lstm", "w8a8"), ("lstm", "w8a16")],
)
def test_evaluation_equals_the_engine(network: str, recipe: str, pictures: np.ndarray) -> None:
    module = prepare_qat(DATA / f"fmnist_{network}.onnx", RECIPES[recipe](), samples=samples(pictures))
    train(module, pictures[:6])
    check_equals_engine(module, {"images": pictures[12:16]})


def test_straight_through_alone_equals_the_engine(pictures: np.ndarray) -> None:
    module = prepare_qat(DATA / "fmnist_resnet8.onnx", samples=samples(pictures), method="ste")
    scales = {name: quantizer.scale.clone() for name, quantizer in module.quantizers.items()}
    train(module, pictures[:6], rate=1e-2)
    check_equals_engine(module, {"images": pictures[12:16]})
    for name, quantizer in module.quantizers.items():
        moved = not torch.equal(quantizer.scale, scales[name])
        assert moved == quantizer.weight, name
    (weight,) = [
        module.folded(pair, node) for node in module.graph.nodes if (pair := module.batch_norms.get(node.outputs[0]))
    ][:1]
    first = next(quantizer for quantizer in module.quantizers.values() if quantizer.weight)
    torch.testing.assert_close(first.scale, weight[0].detach().abs().amax((1, 2, 3)) / 127)


def test_resnet18_equals_the_engine() -> None:
    """torchvision's definition, with pictures of 48 x 48 in place of 224 x 224."""
    if not RESNET18.exists():
        pytest.fail(f"{RESNET18} is missing; run: tools/setup.sh models")
    proto = onnx.load(RESNET18)
    name = proto.graph.input[0].name
    for axis in (2, 3):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 48
    del proto.graph.value_info[:]
    x = np.random.default_rng(0).standard_normal((2, 3, 48, 48), dtype=np.float32)
    module = prepare_qat(proto.SerializeToString(), samples=[{name: x[:1]}])
    assert len(module.batch_norms) == 20
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), 1e-2)
    for step in range(2):
        if step == 1:
            module.freeze_batch_norm()
        optimizer.zero_grad()
        F.cross_entropy(module(torch.from_numpy(x)), torch.tensor([1, 2])).backward()
        optimizer.step()
    check_equals_engine(module, {name: x})


def test_evaluation_is_exact_where_torch_may_round_products(pictures: np.ndarray) -> None:
    """Sums do not go through bfloat16, whatever torch may use for fp32 products."""
    module = prepare_qat(DATA / "fmnist_resnet8.onnx", samples=samples(pictures))
    parts = (torch.backends.mkldnn.conv, torch.backends.mkldnn.matmul)
    before = [part.fp32_precision for part in parts]
    try:
        for part in parts:
            part.fp32_precision = "bf16"
        check_equals_engine(module, {"images": pictures[:4]})
        assert [part.fp32_precision for part in parts] == ["bf16", "bf16"]
    finally:
        for part, precision in zip(parts, before, strict=True):
            part.fp32_precision = precision


def test_integer_graph_runs_files_of_quantize(pictures: np.ndarray) -> None:
    model = q.quantize(q.load(DATA / "fmnist_dscnn.onnx"), samples(pictures)).model
    outputs, integers = IntegerGraph(model).run({"images": torch.from_numpy(pictures[:4])})
    deployed, wanted = engine(model, {"images": pictures[:4]})
    np.testing.assert_array_equal(outputs[0].numpy(), deployed[0])
    for name, value in wanted.items():
        np.testing.assert_array_equal(integers[name].numpy(), value)


# ---- training


def test_training_lowers_the_loss_and_moves_scales(pictures: np.ndarray) -> None:
    module = prepare_qat(DATA / "fmnist_resnet8.onnx", four_bits(), samples=samples(pictures))
    scales = {name: quantizer.scale.clone() for name, quantizer in module.quantizers.items()}
    module.freeze_batch_norm()
    losses = train(module, pictures[:10], steps=12, rate=3e-3)
    assert losses[-1] < 0.7 * losses[0]
    assert sum(not torch.equal(scales[name], each.scale) for name, each in module.quantizers.items()) == len(scales)
    own = {id(p) for p in module.scale_parameters()}
    rest = {id(p) for p in module.weight_parameters()}
    assert not own & rest and own | rest == {id(p) for p in module.parameters()}


def test_training_forward_is_close_to_evaluation(pictures: np.ndarray) -> None:
    """Frozen, both compute the same quantized network: fp32 moves a value to the next level now and then."""
    module = prepare_qat(DATA / "fmnist_dscnn.onnx", samples=samples(pictures))
    module.train()
    module.freeze_batch_norm()
    x = torch.from_numpy(pictures)
    with torch.no_grad():
        trained = module(x)
        module.eval()
        exact = module(x)
        float_ = GraphModule(DATA / "fmnist_dscnn.onnx").eval()(x)
    assert (trained - exact).abs().mean() < 0.1 * (exact - float_).abs().mean()


def test_evaluation_follows_the_parameters(pictures: np.ndarray) -> None:
    module = prepare_qat(DATA / "fmnist_resnet8.onnx", samples=samples(pictures)).eval()
    x = torch.from_numpy(pictures[:2])
    before = module(x)
    assert torch.equal(module(x), before)
    state = copy.deepcopy(module.state_dict())
    with torch.no_grad():
        next(module.weight_parameters()).mul_(-1)
    assert not torch.equal(module(x), before)
    module.load_state_dict(state)
    assert torch.equal(module(x), before)
    again = pickle.loads(pickle.dumps(module))
    assert torch.equal(again(x), before) and torch.equal(copy.deepcopy(module)(x), before)
    assert not before.requires_grad


def test_evaluation_follows_writes_past_autograd(pictures: np.ndarray) -> None:
    module = prepare_qat(DATA / "fmnist_dscnn.onnx", samples=samples(pictures)).eval()
    x = torch.from_numpy(pictures[:2])
    before = module(x)
    next(module.weight_parameters()).data.mul_(-1)  # leaves the tensor's version as it was
    after = module(x)
    assert not torch.equal(after, before)
    np.testing.assert_array_equal(after.numpy(), q.Session(convert(module)).run(None, {"images": pictures[:2]})[0])


def test_training_resumes_from_a_checkpoint() -> None:
    """Into a module that has seen no sample: it must not calibrate again, nor let statistics run."""
    torch.manual_seed(0)
    original = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    x = torch.randn(8, 1, 8, 8)
    source = to_model(original, x, training=True)
    first, second = prepare_qat(source), prepare_qat(source)
    first.train()
    optimizer = torch.optim.Adam(first.parameters(), 1e-2)
    for step in range(3):
        if step == 2:
            first.freeze_batch_norm()
        optimizer.zero_grad()
        first(x).square().sum().backward()
        optimizer.step()
    checkpoint = io.BytesIO()
    torch.save(first.state_dict(), checkpoint)
    checkpoint.seek(0)
    second.load_state_dict(torch.load(checkpoint, weights_only=True))
    assert torch.equal(second.eval()(x), first.eval()(x))

    state = {name: value.clone() for name, value in second.state_dict().items() if isinstance(value, torch.Tensor)}
    assert any(value.abs().max() > 0 for name, value in state.items() if name.endswith("log_ratio"))
    second.train()
    second(3 * x + 1)
    assert second.batch_norm_frozen
    now = second.state_dict()
    for name, value in state.items():
        assert torch.equal(now[name], value), name


def test_module_and_first_batch() -> None:
    """A torch module, calibrated on the first batch that is trained on."""
    torch.manual_seed(0)
    original = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 4)
    )
    x = torch.randn(16, 1, 8, 8)
    module = prepare_qat(original, example_inputs=x[:2])
    module.eval()
    with pytest.raises(q.Error, match="no scale is known yet"):
        module(x)
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.02, momentum=0.5)
    labels = (x.mean((1, 2, 3)) > 0).long()
    losses = []
    for step in range(12):
        if step == 8:
            module.freeze_batch_norm()
        loss = F.cross_entropy(module(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    check_equals_engine(module, {module.graph.inputs[0]: x.numpy()})
    # MaxPool and Flatten move the integers of their input: one quantizer serves all three.
    values = [name for name, key in module._quantizer_of.items() if name not in module.graph.constants]
    assert len({module._quantizer_of[name] for name in values}) < len(values)
    # The weights go back into the module they came from.
    missing, _ = original.load_state_dict(module.state_dict(), strict=False)
    assert all("num_batches_tracked" in name for name in missing)
    close = original.eval()(x)
    assert F.cosine_similarity(close.flatten(), module(x).flatten(), dim=0) > 0.99


def test_dead_channels_come_back() -> None:
    """A BatchNorm that starts at 0, as the last of a residual block may."""
    torch.manual_seed(0)
    original = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
    nn.init.zeros_(original[1].weight)
    x = torch.randn(8, 1, 8, 8)
    module = prepare_qat(original, example_inputs=x[:2])
    module.train()
    module(x).square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
    assert torch.isfinite(gradients["1.weight"]).all() and gradients["1.weight"].abs().max() > 0


def test_the_file_is_the_same_as_quantize_writes(pictures: np.ndarray) -> None:
    """Before any step, what is deployed is what quantize() makes without corrections of biases."""
    parts = json.loads(q.recipes.static_w8a8().to_json())
    parts["steps"] = []
    plain = q.Recipe.from_json(json.dumps(parts))
    made = q.quantize(q.load(DATA / "fmnist_dscnn.onnx"), samples(pictures), plain, verify=False).model
    module = prepare_qat(DATA / "fmnist_dscnn.onnx", plain, samples=samples(pictures))
    mine, theirs = ({name: model.constant(name) for name in model.constants} for model in (convert(module), made))
    assert list(mine) == list(theirs)
    for name in mine:
        if name.endswith("_bias_quantized"):  # folded weights may differ in the last place
            assert np.abs(mine[name].astype(np.int64) - theirs[name]).max() <= 1
        else:
            np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)


def test_export_runs_in_onnxruntime(pictures: np.ndarray, tmp_path: Path) -> None:
    import onnxruntime

    module = prepare_qat(DATA / "fmnist_resnet8.onnx", samples=samples(pictures))
    train(module, pictures[:6])
    module.eval()
    model = convert(module)
    model.save(tmp_path / "trained.onnx")
    assert q.Recipe.from_json(model.metadata["zeropoint.qat_recipe"]) == q.recipes.static_w8a8()
    session = onnxruntime.InferenceSession(tmp_path / "trained.onnx", providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {"images": pictures[:4]})
    ours = module(torch.from_numpy(pictures[:4])).numpy()
    np.testing.assert_allclose(theirs, ours, atol=0.05 * np.abs(ours).max())


# ---- errors


@pytest.mark.parametrize("recipe", ["dynamic_w8a8", "weight_only_w8", "fp16"])
def test_recipes_without_fixed_integers_are_refused(recipe: str) -> None:
    with pytest.raises(q.Error, match="QAT") as caught:
        prepare_qat(DATA / "fmnist_dscnn.onnx", recipe)
    assert caught.value.code == "unsupported" and caught.value.where == "/rules/0"


@pytest.mark.parametrize(
    ("step", "parameters"),
    [
        ("smooth_quant", {}),
        ("equalize_activations", {}),
        ("split_outliers", {}),
        ("cross_layer_equalization", {"clip_margin": 2}),
    ],
)
def test_steps_by_samples_are_refused(step: str, parameters: dict[str, float], pictures: np.ndarray) -> None:
    recipe = q.recipes.static_w8a8().with_step(step, **parameters)
    with pytest.raises(
        q.Error, match=f"QAT does not apply the step '{step}'.*(leave it out|take it without)"
    ) as caught:
        prepare_qat(DATA / "fmnist_dscnn.onnx", recipe, samples=samples(pictures))
    assert caught.value.code == "unsupported" and caught.value.where == "/steps"


def test_cross_layer_equalization_is_applied(pictures: np.ndarray) -> None:
    recipe = q.recipes.static_w8a8().with_step("cross_layer_equalization")
    module = prepare_qat(DATA / "fmnist_dscnn.onnx", recipe, samples=samples(pictures))
    plain = prepare_qat(DATA / "fmnist_dscnn.onnx", samples=samples(pictures))
    pairs = list(zip(module.weight_parameters(), plain.weight_parameters(), strict=False))
    assert any(a.shape != b.shape or not torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("op_type", "attributes", "what"),
    [
        ("ArgMax", {"select_last_index": 1}, "select_last_index"),
        ("Resize", {"antialias": 1}, "antialias"),
        ("Resize", {"axes": [2, 3]}, "axes"),
        ("Resize", {"exclude_outside": 1}, "exclude_outside"),
        ("Resize", {"keep_aspect_ratio_policy": "not_larger"}, "keep_aspect_ratio_policy"),
    ],
)
def test_attributes_that_do_not_run_are_named(op_type: str, attributes: dict[str, Any], what: str) -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    inputs = [x] if op_type == "ArgMax" else [x, None, None, torch.tensor([1, 1, 2, 2])]
    usual = {} if op_type == "ArgMax" else {"mode": "linear"}
    run(OnnxNode(op_type, "n", "", ("x",), ("y",), usual), 18, inputs)
    with pytest.raises(q.Error, match=what) as caught:
        run(OnnxNode(op_type, "n", "", ("x",), ("y",), usual | attributes), 18, inputs)
    assert caught.value.code == "unsupported" and caught.value.where == f"node 'n' ({op_type})"


def test_arguments(pictures: np.ndarray) -> None:
    with pytest.raises(TypeError, match="example_inputs"):
        prepare_qat(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="'lsq' and 'ste'"):
        prepare_qat(DATA / "fmnist_dscnn.onnx", method="other")  # type: ignore[arg-type]
    module = prepare_qat(DATA / "fmnist_dscnn.onnx", samples=samples(pictures))
    with pytest.raises(TypeError, match="'images' is missing"):
        module()
    with pytest.raises(q.Error, match="finds nothing"):
        prepare_qat(DATA / "fmnist_dscnn.onnx", q.recipes.static_w8a8().keep_float(), samples=samples(pictures))
