"""The real networks that tests and benches run, and the samples that belong to each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
MODELS, DATA, SMALL = ROOT / "build" / "models", ROOT / "build" / "data", ROOT / "tests" / "data"


@dataclass(frozen=True)
class Fixture:
    name: str
    model: Path
    data: Path  # .npz with a leading sample axis, or a folder with one .npz a sample
    input: str | None = None  # the array of `data` that is fed, where it has others too
    by_default: bool = True  # made by tools/setup.sh
    recipe: str | None = None  # where the default one is refused by its own check

    @property
    def missing(self) -> Path | None:
        return next((path for path in (self.model, self.data) if not path.exists()), None)

    def samples(self, count: int) -> Iterator[Mapping[str, np.ndarray]]:
        """`count` samples (all, where there are fewer) spread over the data, each with its batch axis."""
        if self.data.is_dir():
            paths = sorted(self.data.glob("*.npz"))
            for path in paths[:: max(1, len(paths) // count)][:count]:
                with np.load(path) as arrays:
                    yield dict(arrays)
            return
        with np.load(self.data) as arrays:
            values = arrays[self.input]
        for value in values[:: max(1, len(values) // count)][:count]:
            yield {self.input: value[None]}


def _fashion_mnist(name: str) -> Fixture:
    return Fixture(f"fmnist_{name}", SMALL / f"fmnist_{name}.onnx", DATA / "fashion_mnist" / "train.npz", "images")


def _photos(name: str) -> Fixture:
    return Fixture(name, MODELS / f"{name}.onnx", DATA / "photos.npz", "images")


FIXTURES = [
    _fashion_mnist("dscnn"),
    _fashion_mnist("resnet8"),
    _fashion_mnist("vit"),
    _fashion_mnist("lstm"),
    _photos("efficientnet_lite0_raw"),
    _photos("efficientnet_lite0_bn"),
    _photos("efficientnet_lite0_dynamo"),
    Fixture("ppocr_v2_cls", MODELS / "ppocr_v2_cls.onnx", DATA / "printed_lines"),
    Fixture("silero_vad_16k_op15", MODELS / "silero_vad_16k_op15.onnx", DATA / "speech"),
    Fixture("silero_vad_16k_sequence", MODELS / "silero_vad_16k_sequence.onnx", DATA / "speech_sequence"),
    Fixture("minilm_l6_v2", MODELS / "minilm_l6_v2.onnx", DATA / "sentences"),
    Fixture("smollm2_135m", MODELS / "smollm2_135m.onnx", DATA / "prompts", by_default=False, recipe="dynamic_w8a8"),
]
