#!/usr/bin/env python3
"""Makes tests/data/pt2e: small networks as torchao's PT2E quantizes them, saved by torch.export.

    python tools/make_pt2e.py [--out tests/data/pt2e]

The tests need only the files. Made with torch 2.13.0 and torchao 0.18.0 (`pip install --no-deps torchao==0.18.0`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]


class Network(nn.Module):
    """Convolutions, one of them beside a residual, a pooling, and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Conv2d(1, 8, 3)
        self.inner = nn.Conv2d(8, 8, 3, padding=1)
        self.wide = nn.Linear(8, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.into(images))
        x = torch.relu(self.inner(x) + x)
        return self.head(torch.relu(self.wide(x.mean((2, 3)))))


def main() -> None:
    import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer as x86
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "tests/data/pt2e")
    args = parser.parse_args()
    args.out.mkdir(exist_ok=True)
    torch.manual_seed(0)
    network = Network().eval()
    images = [torch.randn(2, 1, 8, 8) for _ in range(8)]
    shapes = ({0: torch.export.Dim("batch")},)
    for name, options, dynamic_shapes in (
        ("static", {}, None),
        ("narrow", {"reduce_range": True}, shapes),  # activations in [0, 127]
        ("dynamic", {"is_dynamic": True}, shapes),
    ):
        quantizer = x86.X86InductorQuantizer()
        quantizer.set_global(x86.get_default_x86_inductor_quantization_config(**options))
        observed = prepare_pt2e(
            torch.export.export(network, (images[0],), dynamic_shapes=dynamic_shapes).module(), quantizer
        )
        for batch in images:
            observed(batch)
        program = torch.export.export(convert_pt2e(observed), (images[0],), dynamic_shapes=dynamic_shapes)
        torch.export.save(program, args.out / f"{name}.pt2")


if __name__ == "__main__":
    main()
