#!/usr/bin/env python3
"""Static quantization of PyTorch modules: an MLP and a CNN trained on Fashion-MNIST, and ResNet-18.

usage: examples/pytorch_static.py [--quick] [--networks mlp,cnn,resnet18] [--threads N] [--data FOLDER]

Trains the two small networks, then for each network: fuse, calibrate over a loader, convert, infer. Prints weights
before and after with their scale, size, accuracy, error and time. ResNet-18 has random weights, hence no accuracy.
Needs zeropoint[torch]; the pictures are those of `tools/setup.sh models`.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import zeropoint as q
import zeropoint.torch as qt

DATA = Path(__file__).resolve().parents[1] / "build/data/fashion_mnist"


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
    )


def cnn() -> nn.Module:
    def block(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )

    return nn.Sequential(block(1, 16), block(16, 32), nn.Flatten(), nn.Linear(1568, 128), nn.ReLU(), nn.Linear(128, 10))


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def resnet18() -> nn.Module:
    """With torchvision's layers, in their order. Statistics of BatchNorm from a few noisy pictures keep values sane."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, 1))
    widths = (64, 64, 128, 256, 512)
    for stage, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        layers += [BasicBlock(inputs, outputs, 2 if stage else 1), BasicBlock(outputs, outputs, 1)]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))
    with torch.no_grad():
        for _ in range(3):
            network.train()(torch.randn(8, 3, 64, 64))
    return network


def train(network: nn.Module, loader: DataLoader[tuple[torch.Tensor, ...]], epochs: int) -> None:
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=epochs * len(loader))
    network.train()
    for _ in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
            schedule.step()


def accuracy(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Percent."""
    with torch.no_grad():
        right = sum(
            int((network(x).argmax(1) == y).sum()) for x, y in zip(images.split(500), labels.split(500), strict=True)
        )
    return 100 * right / len(labels)


def milliseconds(work: Callable[[], object], seconds: float) -> float:
    """Of the fastest call."""
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best * 1e3


def sqnr(expected: torch.Tensor, actual: torch.Tensor) -> float:
    """Decibels."""
    return 10 * float(torch.log10(expected.square().sum() / (expected - actual).square().sum()))


def show_weights(network: nn.Module, model: q.Model) -> None:
    """The first weights of the last layer, before and after."""
    name, layer = [(name, part) for name, part in network.named_modules() if isinstance(part, nn.Linear)][-1]
    product = next(node for node in model.nodes if node.name == name)
    dequantize = next(node for node in model.nodes if product.inputs[1] in node.outputs)
    integers, scale = (model.constant(constant) for constant in dequantize.inputs[:2])
    if integers.shape != tuple(layer.weight.shape):
        integers = integers.T  # MatMul takes them transposed
    print(f"  weights of {name}    {layer.weight[0, :6].detach().numpy().round(4)}")
    print(f"  as {integers.dtype} times {scale.ravel()[0]:.6f}    {integers[0, :6]}")


def compare(
    name: str,
    network: nn.Module,
    calibration: DataLoader[tuple[torch.Tensor, ...]],
    held_out: torch.Tensor,
    labels: torch.Tensor | None,
    threads: int,
    seconds: float,
) -> None:
    network.eval()
    start = time.perf_counter()
    quantized = qt.quantize(network, calibration, threads=threads)
    print(f"{name}: quantized in {time.perf_counter() - start:.1f} s")
    steps = quantized.session.steps
    modules = [part for part in network.modules() if not list(part.children())]
    integer = sum(step.integer for step in steps)
    print(f"  {len(modules)} modules became {len(steps)} steps, {integer} of them in integers")
    show_weights(network, quantized.model)

    with torch.no_grad():
        expected, actual = network(held_out), quantized(held_out)
        print(f"  SQNR of the outputs           {sqnr(expected, actual):8.2f} dB")
        agreement = (expected.argmax(1) == actual.argmax(1)).float().mean()
        print(f"  same first class              {100 * agreement:8.2f} %")
    if labels is not None:
        before, after = accuracy(network, held_out, labels), accuracy(quantized, held_out, labels)
        print(f"  accuracy                      {before:8.2f} % -> {after:.2f} %")
    assert quantized.report is not None
    before, after = (size / 1e6 for size in (quantized.report.float_bytes, quantized.report.quantized_bytes))
    print(f"  size of the constants         {before:8.2f} MB -> {after:.2f} MB, ratio {after / before:.3f}")
    one = held_out[:1]
    with torch.inference_mode():
        before = milliseconds(lambda: network(one), seconds)
    after = milliseconds(lambda: quantized(one), seconds)
    print(f"  time of one picture           {before:8.3f} ms in torch -> {after:.3f} ms, ratio {before / after:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few pictures, one epoch")
    parser.add_argument("--networks", default="mlp,cnn,resnet18")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=DATA)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    seconds = 0.1 if args.quick else 1.0

    small = {"mlp": mlp, "cnn": cnn}
    names = args.networks.split(",")
    if set(names) & set(small):
        train_set, test_set = (np.load(args.data / f"{split}.npz") for split in ("train", "test"))
        count, held_out = (3000, 1000) if args.quick else (60000, 10000)
        images, labels = (torch.from_numpy(train_set[key][:count]) for key in ("images", "labels"))
        pictures = TensorDataset(images, labels.long())
        test = [torch.from_numpy(test_set[key][:held_out]) for key in ("images", "labels")]
        calibration = DataLoader(TensorDataset(images[:512], labels[:512]), batch_size=32)
        for name in names:
            if name in small:
                network = small[name]()
                train(network, DataLoader(pictures, batch_size=64, shuffle=True), epochs=1 if args.quick else 5)
                compare(name, network, calibration, test[0], test[1].long(), args.threads, seconds)
    if "resnet18" in names:
        size = 64 if args.quick else 224
        noise = torch.randn(80, 3, size // 8, size // 8)
        pictures = nn.functional.interpolate(noise, scale_factor=8, mode="bilinear")
        calibration = DataLoader(TensorDataset(pictures[:64]), batch_size=8)
        compare("resnet18", resnet18(), calibration, pictures[64:], None, args.threads, seconds)


if __name__ == "__main__":
    main()
