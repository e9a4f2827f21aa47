#!/usr/bin/env python3
"""Few-bit integers with training and without, on the 10,000 labelled test pictures of Fashion-MNIST.

    build/venv/bin/python bench/qat.py [--network dscnn] [--schemes w4a4,w8a8] [--epochs 2] [--threads 2] [--json FILE]

Beside the float network: what the steps of docs/recipes.md make of it without training (on 256 training pictures, the
best draw is not looked for), and what prepare_qat makes of it in a few epochs. Trained on the 60,000 training pictures;
no epoch is chosen by the test pictures: the last counts. docs/qat.md has the table.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import zeropoint as q
from zeropoint.torch import GraphModule, QATModule, convert, prepare_qat

ROOT = Path(__file__).resolve().parent.parent
CALIBRATION = 256

SCHEMES = {
    "w8a8": lambda: q.recipes.static_w8a8(),
    "w4a8": lambda: q.recipes.static_w8a8().override(weight=q.int4(q.PerChannel(axis=0), range="mse")),
    "w4a4": lambda: q.recipes.static_w8a8().override(
        activation=q.uint4(range="mse"), weight=q.int4(q.PerChannel(axis=0), range="mse")
    ),
}
# Steps of docs/recipes.md, beside the bias correction that static_w8a8 has.
WITHOUT_TRAINING: dict[str, list[tuple[str, dict[str, float]]]] = {
    "bias_correction": [],
    "empirical_bias_correction": [("empirical_bias_correction", {})],
    "cross_layer_equalization": [("cross_layer_equalization", {})],
    "adaround": [("adaround", {})],
    "gptq": [("gptq", {})],
    "gptq, correct_inputs": [("gptq", {"correct_inputs": 1, "damping": 0.1})],
    "gptq, correct_inputs, adaround": [("gptq", {"correct_inputs": 1, "damping": 0.1}), ("adaround", {})],
}


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(logits.argmax(1) == labels) * 100)


def run_file(model: q.Model, images: np.ndarray, threads: int) -> np.ndarray:
    session = q.Session(model, threads=threads)
    return np.concatenate([session.run(None, {"images": part})[0] for part in np.split(images, len(images) // 500)])


def run_module(module: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    module.eval()
    with torch.no_grad():
        parts = [module(torch.from_numpy(part)) for part in np.split(images, len(images) // 500)]
    return torch.cat(parts).numpy()


def batches(count: int, size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    order = generator.permutation(count)
    yield from (order[i : i + size] for i in range(0, count - size + 1, size))


def train(
    module: QATModule,
    images: np.ndarray,
    labels: np.ndarray,
    teacher: np.ndarray,
    *,
    epochs: float,
    batch: int,
    rate: float,
    frozen_after: float,
    seed: int,
) -> None:
    """Adam, the rate rising over 5 % of the steps, then falling to 0 by a cosine; BatchNorm frozen after a share.

    The loss is half of the labels', half of the float network's answers at temperature 2 (Hinton et al. 2015).
    """
    generator = np.random.default_rng(seed)
    steps = int(epochs * (len(images) // batch))
    optimizer = torch.optim.Adam(
        [
            {"params": list(module.weight_parameters()), "lr": rate},
            {"params": list(module.scale_parameters()), "lr": rate},
        ]
    )
    warm = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / warm, 0.5 * (1 + math.cos(math.pi * i / steps)))
    )
    module.train()
    done, started = 0, time.perf_counter()
    while done < steps:
        for chosen in batches(len(images), batch, generator):
            if done == steps:
                break
            if done == int(frozen_after * steps):
                module.freeze_batch_norm()
            picked = images[chosen]
            flipped = generator.random(batch) < 0.5
            picked[flipped] = picked[flipped, ..., ::-1]
            logits = module(torch.from_numpy(picked))
            target = torch.from_numpy(np.where(flipped[:, None], teacher[1][chosen], teacher[0][chosen]))
            soft = F.kl_div(F.log_softmax(logits / 2, 1), F.softmax(target / 2, 1), reduction="batchmean") * 4
            loss = 0.5 * soft + 0.5 * F.cross_entropy(logits, torch.from_numpy(labels[chosen]))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            done += 1
            if done % 100 == 0:
                seconds = time.perf_counter() - started
                print(f"  step {done} of {steps}: loss {loss.item():.3f}, {seconds:.0f} s", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", default="dscnn", help="dscnn, resnet8, vit or lstm")
    parser.add_argument("--schemes", default="w4a4,w8a8", help=f"of {','.join(SCHEMES)}")
    parser.add_argument("--epochs", type=float, default=2, help="0: only the rows without training")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, help="Adam's largest (default 0.002; 0.001 with 8-bit weights)")
    parser.add_argument(
        "--frozen-after", type=float, default=0.5, help="share of the steps with BatchNorm's own statistics"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only-train", action="store_true", help="leave out the rows without training")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)

    data = ROOT / "build" / "data" / "fashion_mnist"
    with np.load(data / "train.npz") as arrays:
        images, labels = arrays["images"], arrays["labels"].astype(np.int64)
    with np.load(data / "test.npz") as arrays:
        test_images, test_labels = arrays["images"], arrays["labels"]
    model = q.load(ROOT / "tests" / "data" / f"fmnist_{args.network}.onnx")
    chosen = np.random.default_rng(args.seed).choice(len(images), CALIBRATION, replace=False)
    samples = [{"images": images[i][None]} for i in chosen]

    rows = []

    def add(scheme: str, method: str, file: float, module: float | None, seconds: float) -> None:
        rows.append({"scheme": scheme, "method": method, "file": file, "module": module, "seconds": seconds})
        of_module = "     -" if module is None else f"{module:6.2f}"
        print(f"{scheme:6}  {method:32}  {file:6.2f}  {of_module}  {seconds:7.0f}", flush=True)
        if args.json:
            args.json.write_text(
                json.dumps({"arguments": vars(args) | {"json": str(args.json)}, "rows": rows}, indent=2) + "\n"
            )

    print(f"fmnist_{args.network}, top-1 accuracy in %")
    print(f"{'scheme':6}  {'method':32}  {'file':>6}  {'module':>6}  {'seconds':>7}")
    teacher = np.stack([run_file(model, part, args.threads) for part in (images, images[..., ::-1].copy())])
    float_module = run_module(GraphModule(model), test_images)
    add(
        "float",
        "-",
        accuracy(run_file(model, test_images, args.threads), test_labels),
        accuracy(float_module, test_labels),
        0,
    )
    for scheme in args.schemes.split(","):
        recipe = SCHEMES[scheme]()
        for method, steps in ({} if args.only_train else WITHOUT_TRAINING).items():
            started, chosen_recipe = time.perf_counter(), recipe
            for step, parameters in steps:
                chosen_recipe = chosen_recipe.with_step(step, **parameters)
            made = q.quantize(model, samples, chosen_recipe, threads=args.threads, verify=False).model
            seconds = time.perf_counter() - started
            add(scheme, method, accuracy(run_file(made, test_images, args.threads), test_labels), None, seconds)
        if args.epochs == 0:
            continue
        started = time.perf_counter()
        torch.manual_seed(args.seed)
        rate = args.rate or (1e-3 if scheme.startswith("w8") else 2e-3)
        module = prepare_qat(model, recipe, samples=samples, threads=args.threads)
        train(
            module,
            images,
            labels,
            teacher,
            epochs=args.epochs,
            batch=args.batch,
            rate=rate,
            frozen_after=args.frozen_after,
            seed=args.seed,
        )
        seconds = time.perf_counter() - started
        ours, deployed = run_module(module, test_images), run_file(convert(module), test_images, args.threads)
        if not np.array_equal(ours, deployed):
            raise AssertionError("the module and its file differ")
        add(
            scheme,
            f"trained, {args.epochs:g} epochs",
            accuracy(deployed, test_labels),
            accuracy(ours, test_labels),
            seconds,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
