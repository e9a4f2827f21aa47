#!/usr/bin/env python3
"""Best practice as a workflow: one step at a time, each validated on labelled pictures, within a budget of accuracy.

fp32 -> fp16 -> int8 -> 4-bit weights; the layers that lose most are found and kept in 8 bits; `quantize_within` does
the search by itself; what the machine runs fastest is chosen. Calibration, choices and the last word have pictures of
their own each: train, train kept aside, test.

needs: nothing but zeropoint, and Fashion-MNIST in build/data (tools/setup.sh models)
usage: examples/workflow.py [--model fmnist_resnet8|fmnist_dscnn|FILE.onnx] [--max-drop 0.5] [--data FOLDER] [--quick]
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import zeropoint as q

ROOT = Path(__file__).resolve().parent.parent
MULTIPLIES = {  # what the widest instruction set does with bytes
    "amxint8": "tiles of 16 x 64 bytes: int8 weights and activations are several times as fast as fp32",
    "avx512vnni": "64 products of bytes at once: int8 weights and activations",
    "avx2vnni": "32 products of bytes at once: int8 weights and activations",
    "avx2": "bytes widened to 16 bits: int8 gains less, still exact; measure whether it gains",
    "neoni8mm": "blocks of bytes: int8 weights and activations",
    "neondot": "16 products of bytes at once: int8 weights and activations",
    "neon": "bytes widened to 16 bits: int8 gains less",
}


@dataclass
class Step:
    """One model on the way."""

    label: str
    model: q.Model
    kilobytes: float
    percent: float
    milliseconds: float = 0.0


class Pictures:
    """Labelled samples {input: [1, 1, 28, 28]}."""

    def __init__(self, path: Path, first: int, count: int, name: str) -> None:
        with np.load(path) as arrays:
            self.samples = [{name: picture[None]} for picture in arrays["images"][first : first + count]]
            self.labels = [int(label) for label in arrays["labels"][first : first + count].ravel()]

    def percent(self, model: q.Model) -> float:
        return 100 * q.evaluate(model, self.samples, labels=self.labels).top1


class Workflow:
    def __init__(self, model: q.Model, calibration: Pictures, aside: Pictures, max_drop: float) -> None:
        self.model, self.calibration, self.aside, self.max_drop = model, calibration, aside, max_drop
        self.steps: list[Step] = []

    def validate(self, label: str, model: q.Model, size: int) -> bool:
        """Adds a step; whether it lies within the budget."""
        self.steps.append(Step(label, model, size / 1e3, self.aside.percent(model)))
        drop = self.steps[0].percent - self.steps[-1].percent
        text = f"   {label:32} {size / 1e3:7.1f} kB  {self.steps[-1].percent:6.2f} %"
        if len(self.steps) > 1:
            error = q.compare(self.model, model, self.aside.samples[:200]).outputs[0].error
            text += f"  {0 - drop:+.2f} points  SQNR {error.sqnr_db:5.1f} dB  "
            text += "within the budget" if drop <= self.max_drop else "beyond the budget"
        print(text)
        return drop <= self.max_drop

    def progressive(self) -> q.Recipe:
        print("\n1. From fp32 down, one step at a time")
        half = q.quantize(self.model, self.calibration.samples, "fp16")
        self.validate("fp32", self.model, half.report.float_bytes)
        self.validate("fp16", half.model, half.report.quantized_bytes)
        int8 = q.quantize(self.model, self.calibration.samples, "static_w8a8", target="zeropoint")
        self.validate("int8", int8.model, int8.report.quantized_bytes)
        of_input = int8.qparams[self.model.inputs[0].name]
        print(
            f"   input: scale {of_input.scale.item():.6f}, zero point {of_input.zero_point.item()} ({of_input.dtype})"
        )
        four_bits = q.recipes.static_w8a8().with_target("zeropoint").override(weight=q.int4(q.PerChannel(0)))
        result = q.quantize(self.model, self.calibration.samples, four_bits)
        self.validate("4-bit weights", result.model, result.report.quantized_bytes)
        return four_bits

    def mixed(self, recipe: q.Recipe) -> None:
        print("\n2. Layers that lose most with 4-bit weights, and their weights in 8 bits until the budget is met")
        found = q.sensitivity(self.model, self.calibration.samples, recipe, restored=0)
        print("   SQNR alone   share of all noise   layer")
        for node in found.nodes[:4]:
            print(f"   {node.alone_db:7.1f} dB   {node.share:18.0%}   {node.node} ({node.op_type}): {node.cause}")
        for count, node in enumerate(found.nodes[:8], 1):
            recipe = recipe.override(re.escape(node.node), weight=q.int8(q.PerChannel(0)))
            result = q.quantize(self.model, self.calibration.samples, recipe)
            label = f"4-bit weights, {count} layer{'s' * (count > 1)} in 8"
            if self.validate(label, result.model, result.report.quantized_bytes):
                break

    def searched(self) -> None:
        print("\n3. The same by itself: the fastest within the budget")
        result = q.quantize_within(
            self.model,
            self.calibration.samples,
            judged_on=self.aside.samples,
            labels=self.aside.labels,
            max_drop=self.max_drop,
            target="zeropoint",
            threads=1,
        )
        budget = result.report.budget
        assert budget is not None
        for tried in budget.tried:
            mark = "chosen" if tried.chosen else ("within" if tried.within else "beyond")
            speed = tried.float_seconds / tried.seconds
            print(
                f"   {tried.label:32} {tried.bytes / 1e3:7.1f} kB  {tried.value:6.2f} %  {speed:5.2f}x as fast  {mark}"
            )

    def for_this_machine(self) -> Step:
        isa = q.instruction_sets()[-1]
        print(f"\n4. What this machine runs fastest ({isa}: {MULTIPLIES.get(isa, 'no integer instructions used')})")
        sessions = [(step, q.Session(step.model, threads=1)) for step in self.steps]
        for step in self.steps:
            step.milliseconds = float("inf")
        for _ in range(200):  # by turns, so that what else the machine does falls on all alike
            for step, session in sessions:
                start = time.perf_counter()
                session.run(None, self.aside.samples[0])
                step.milliseconds = min(step.milliseconds, 1e3 * (time.perf_counter() - start))
        fp32 = self.steps[0]
        for step in self.steps:
            print(
                f"   {step.label:32} {fp32.kilobytes / step.kilobytes:5.2f}x smaller"
                f"  {fp32.milliseconds / step.milliseconds:5.2f}x as fast  {step.milliseconds:.3f} ms"
            )
        within = [step for step in self.steps if fp32.percent - step.percent <= self.max_drop]
        smallest = min(within, key=lambda step: step.kilobytes)
        print(f"   smallest within the budget: {smallest.label}, {smallest.kilobytes:.1f} kB")
        fastest = min(step.milliseconds for step in within)
        # Of those as fast as the fastest but for noise, the most accurate.
        return max((step for step in within if step.milliseconds < 1.1 * fastest), key=lambda step: step.percent)


def main() -> None:
    parser = argparse.ArgumentParser(description="progressive quantization within a budget of accuracy")
    parser.add_argument("--model", default="fmnist_resnet8", help="a name in tests/data, or an .onnx file")
    parser.add_argument("--max-drop", type=float, default=0.5, help="points of accuracy that may be lost")
    parser.add_argument("--data", type=Path, default=ROOT / "build/data/fashion_mnist", help="train.npz and test.npz")
    parser.add_argument("--quick", action="store_true", help="1,000 pictures in place of 4,000")
    arguments = parser.parse_args()
    if not (arguments.data / "test.npz").exists():
        sys.exit(f"{arguments.data}/test.npz is missing; run: tools/setup.sh models, or give --data")
    named = ROOT / f"tests/data/{arguments.model}.onnx"
    model = q.load(named if named.exists() else arguments.model)
    count, name = (1000 if arguments.quick else 4000), model.inputs[0].name
    calibration = Pictures(arguments.data / "train.npz", 0, 64, name)
    aside = Pictures(arguments.data / "train.npz", 1000, count, name)
    test = Pictures(arguments.data / "test.npz", 0, count, name)
    print(f"{arguments.model}: at most {arguments.max_drop} points below fp32 on {count} pictures kept aside")

    workflow = Workflow(model, calibration, aside, arguments.max_drop)
    recipe = workflow.progressive()
    workflow.mixed(recipe)
    workflow.searched()
    chosen = workflow.for_this_machine()
    print(
        f"\nchosen: {chosen.label}; test pictures {test.percent(chosen.model):.2f} %, fp32 {test.percent(model):.2f} %"
    )


if __name__ == "__main__":
    main()
