#!/usr/bin/env python3
"""Quantization-aware training in PyTorch: the smallest case, a small CNN, and the shape of the minimum that it finds.

1. Linear(4, 2), five steps of SGD with 4-bit weights and activations, and the integers that are deployed.
2. A CNN trained on Fashion-MNIST in fp32; then 4-bit weights and activations, without training and with it.
3. The loss along a direction in weight space, around the weights of both trainings.
4. With --resnet18: two steps on torchvision's ResNet-18; each evaluates to the file's bits.

needs: torch, onnx, onnxscript; matplotlib for --plot; torchvision for --resnet18
usage: examples/qat.py [--pictures 20000] [--epochs 2] [--data FOLDER] [--plot FILE.png] [--resnet18] [--quick]
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from pathlib import Path

import numpy as np

import zeropoint as q

try:
    import torch
    import torch.nn.functional as F
    from torch import nn

    import zeropoint.torch as qt
except ImportError as error:
    sys.exit(f"this example trains in PyTorch: pip install torch onnx onnxscript ({error})")

ROOT = Path(__file__).resolve().parent.parent
Pictures = tuple[torch.Tensor, torch.Tensor]  # f32 [N, 1, 28, 28], s64 [N]


def four_bits() -> q.Recipe:
    return q.recipes.static_w8a8().override(
        activation=q.uint4(range="mse"), weight=q.int4(q.PerChannel(axis=0), range="mse")
    )


def scales_of(module: qt.QATModule, name: str) -> list[float]:
    scale = module.quantizers[name].scale
    assert isinstance(scale, torch.Tensor)
    return [float(value) for value in scale.reshape(-1)]


def smallest() -> None:
    print("1. Linear(4, 2), five steps of SGD")
    torch.manual_seed(0)
    x = torch.randn(32, 4)
    target = x @ torch.tensor([[1.0, -0.5], [0.3, 0.8], [-1.2, 0.1], [0.0, 0.6]])
    module = qt.prepare_qat(nn.Linear(4, 2), four_bits(), example_inputs=x)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.3)
    module.train()
    for step in range(5):
        loss = F.mse_loss(module(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found = [parameters for name in module.quantizers for parameters in scales_of(module, name)]
        scales = " ".join(f"{scale:.4f}" for scale in found)
        print(f"   step {step + 1}: loss {loss.item():.4f}, scales {scales}")
    module.eval()
    model = qt.convert(module)
    for name in model.constants:
        if name.endswith("weight_quantized"):
            print(f"   weights as integers: {model.constant(name).tolist()}")
    (deployed,) = q.Session(model).run(None, {model.inputs[0].name: x.numpy()})
    print(f"   loss of the file {F.mse_loss(torch.from_numpy(deployed), target).item():.4f},", end=" ")
    print(f"module and file equal: {np.array_equal(deployed, module(x).numpy())}")


def small_cnn() -> nn.Module:
    def block(inputs: int, outputs: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(*block(1, 16), *block(16, 32), nn.Flatten(), nn.Linear(32 * 49, 10))


def train(module: nn.Module, data: Pictures, epochs: int, rate: float) -> float:
    """Adam with a rate that falls to 0; BatchNorm is frozen half way. Seconds."""
    images, labels = data
    steps, batch = epochs * (len(images) // 128), 128
    optimizer = torch.optim.Adam(module.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(1)
    module.train()
    started = time.perf_counter()
    for step in range(steps):
        if step == steps // 2 and isinstance(module, qt.QATModule):
            module.freeze_batch_norm()
        if step % (len(images) // batch) == 0:
            order = torch.randperm(len(images), generator=generator)
        chosen = order[step * batch % (len(images) // batch * batch) :][:batch]
        loss = F.cross_entropy(module(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    module.eval()
    return time.perf_counter() - started


def accuracy(model: q.Model, data: Pictures) -> float:
    session = q.Session(model)
    name = model.inputs[0].name
    right = 0
    for images, labels in zip(data[0].split(500), data[1].split(500), strict=True):
        (logits,) = session.run(None, {name: images.numpy()})
        right += int((logits.argmax(1) == labels.numpy()).sum())
    return 100 * right / len(data[0])


def kilobytes(model: q.Model) -> float:
    return len(model.to_bytes()) / 1e3


def cnn(training: Pictures, test: Pictures, epochs: int) -> tuple[q.Model, q.Model]:
    """The float models with the weights of both trainings."""
    print("2. a CNN on Fashion-MNIST")
    torch.manual_seed(0)
    original = small_cnn()
    seconds = train(original, training, 2 * epochs, 2e-3)
    model = qt.to_model(original, training[0][:2])
    print(f"   fp32                     {accuracy(model, test):6.2f} %  {kilobytes(model):6.1f} kB  {seconds:5.1f} s")
    name = model.inputs[0].name
    samples = [{name: image[None].numpy()} for image in training[0][:128]]
    for label, recipe in (
        ("nearest", four_bits()),
        ("gptq", four_bits().with_step("gptq", correct_inputs=1, damping=0.1)),
    ):
        started = time.perf_counter()
        made = q.quantize(model, samples, recipe, verify=False).model
        seconds = time.perf_counter() - started
        print(f"   4 bits, {label:16} {accuracy(made, test):6.2f} %  {kilobytes(made):6.1f} kB  {seconds:5.1f} s")
    module = qt.prepare_qat(original, four_bits(), example_inputs=training[0][:2], samples=samples)
    seconds = train(module, training, epochs, 1e-3)
    made = qt.convert(module)
    print(f"   4 bits, trained          {accuracy(made, test):6.2f} %  {kilobytes(made):6.1f} kB  {seconds:5.1f} s")
    with torch.no_grad():
        ours = module(test[0][:500]).numpy()
    (deployed,) = q.Session(made).run(None, {name: test[0][:500].numpy()})
    print(f"   module and file equal: {np.array_equal(ours, deployed)}")
    return model, module.to_float_model()


def along_a_direction(models: dict[str, q.Model], data: Pictures, plot: str | None) -> None:
    """Filter-normalized directions, as in Li et al. 2018, "Visualizing the loss landscape of neural nets"."""
    print("3. the fp32 loss along one random direction, weights moved by t times their own norm")
    places = np.linspace(-0.5, 0.5, 11)
    print("   t             " + " ".join(f"{t:5.1f}" for t in places))
    curves = {}
    for label, model in models.items():
        module = qt.GraphModule(model).eval()
        weights = [parameter for parameter in module.parameters() if parameter.ndim > 1]
        start = [weight.detach().clone() for weight in weights]
        generator = torch.Generator().manual_seed(2)
        steps = []
        for weight in start:
            step = torch.randn(weight.shape, generator=generator)
            norms = [tensor.flatten(1).norm(dim=1).reshape(-1, *[1] * (weight.ndim - 1)) for tensor in (weight, step)]
            steps.append(step * norms[0] / norms[1])
        losses = []
        with torch.no_grad():
            for t in places:
                for weight, origin, step in zip(weights, start, steps, strict=True):
                    weight.copy_(origin + float(t) * step)
                losses.append(F.cross_entropy(module(data[0]), data[1]).item())
        curves[label] = losses
        print(f"   {label:13} " + " ".join(f"{loss:5.2f}" for loss in losses))
    if plot is None:
        return
    try:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot
    except ImportError:
        sys.exit("--plot needs matplotlib: pip install matplotlib")
    figure, axes = pyplot.subplots(constrained_layout=True)
    for label, losses in curves.items():
        axes.plot(places, losses, marker="o", label=label)
    axes.set_xlabel("t, in norms of each filter")
    axes.set_ylabel("cross entropy in fp32")
    axes.legend()
    figure.savefig(plot)
    print(f"   picture: {plot}")


def resnet18() -> None:
    print("4. ResNet-18, two steps")
    try:
        from torchvision.models import resnet18 as define
    except (ImportError, RuntimeError) as error:
        sys.exit(f"--resnet18 needs a torchvision that fits torch: pip install torchvision ({error})")
    torch.manual_seed(0)
    x, labels = torch.randn(4, 3, 64, 64), torch.arange(4)
    module = qt.prepare_qat(define(num_classes=10), example_inputs=x)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    for step in range(2):
        module.train()
        loss = F.cross_entropy(module(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        module.eval()
        model = qt.convert(module)
        (deployed,) = q.Session(model).run(None, {model.inputs[0].name: x.numpy()})
        print(f"   step {step + 1}: loss {loss.item():.4f},", end=" ")
        print(f"module and file equal: {np.array_equal(deployed, module(x).numpy())}")


def main() -> None:
    parser = argparse.ArgumentParser(description="quantization-aware training in PyTorch")
    parser.add_argument("--pictures", type=int, default=20000, help="to train on; default 20000")
    parser.add_argument(
        "--epochs", type=int, default=2, help="of the quantized training; the one in fp32 has twice as many"
    )
    parser.add_argument("--data", type=Path, default=ROOT / "build/data/fashion_mnist", help="train.npz and test.npz")
    parser.add_argument("--plot", help="draw part 3 there")
    parser.add_argument("--resnet18", action="store_true", help="part 4")
    parser.add_argument("--quick", action="store_true", help="2,000 pictures, one epoch")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.pictures, arguments.epochs = 2048, 1
    data: dict[str, Pictures] = {}
    for split, count in (("train", arguments.pictures), ("test", 1000 if arguments.quick else 10000)):
        path = arguments.data / f"{split}.npz"
        if not path.exists():
            sys.exit(f"{path} is missing; run: tools/setup.sh models")
        with np.load(path) as arrays:
            images, labels = arrays["images"][:count], arrays["labels"][:count].astype(np.int64)
        data[split] = (torch.from_numpy(copy.copy(images)), torch.from_numpy(labels))

    smallest()
    before, after = cnn(data["train"], data["test"], arguments.epochs)
    few: Pictures = (data["train"][0][:1000], data["train"][1][:1000])
    along_a_direction({"fp32 training": before, "4-bit training": after}, few, arguments.plot)
    if arguments.resnet18:
        resnet18()


if __name__ == "__main__":
    main()
