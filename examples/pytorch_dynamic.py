#!/usr/bin/env python3
"""Dynamic quantization of BERT: the weights of its Linear layers as int8, activations over their range at run time.

usage: examples/pytorch_dynamic.py [--quick] [--layers 6] [--width 384] [--tokens 64] [--pretrained NAME_OR_FOLDER]

Without --pretrained the encoder has random weights; with it, transformers loads it (as
sentence-transformers/all-MiniLM-L6-v2). No samples are needed. Prints error, size and time before and after.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import nn

import zeropoint.torch as qt

WORDS = 30522


class Layer(nn.Module):
    """One of BERT's: attention and two Linear layers, each added to its input and normalized."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, 1e-12)
        self.intermediate = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.last_norm = nn.LayerNorm(width, 1e-12)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        query, key, value = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5 + bias
        context = (torch.softmax(scores, -1) @ value).transpose(1, 2).flatten(2)
        x = self.norm(x + self.output(context))
        return self.last_norm(x + self.narrow(nn.functional.gelu(self.intermediate(x))))


class Bert(nn.Module):
    def __init__(self, layers: int, width: int, longest: int) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, width), nn.Embedding(longest, width)
        self.norm = nn.LayerNorm(width, 1e-12)
        self.layers = nn.ModuleList([Layer(width, max(1, width // 32)) for _ in range(layers)])
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, 0, 0.05)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.words(input_ids) + self.places.weight[: input_ids.shape[1]])
        bias = (1 - attention_mask.float())[:, None, None, :] * -1e4
        for layer in self.layers:
            x = layer(x, bias)
        return x


class Pretrained(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        from transformers import AutoModel

        self.bert = AutoModel.from_pretrained(name, attn_implementation="eager")

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return hidden


def milliseconds(work: Callable[[], object], seconds: float) -> float:
    """Of the fastest call."""
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2, help="how long to time each")
    parser.add_argument("--pretrained", help="a model of transformers, by name or folder")
    parser.add_argument("--quick", action="store_true", help="two narrow layers, little time")
    args = parser.parse_args()
    if args.quick:
        args.layers, args.width, args.tokens, args.seconds = 2, 128, 16, 0.1
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    network = Pretrained(args.pretrained) if args.pretrained else Bert(args.layers, args.width, 512)
    network.eval()
    ids = torch.randint(1000, 30000, (2, args.tokens))
    mask = torch.ones_like(ids)
    mask[1, args.tokens // 2 :] = 0

    quantized = qt.quantize(
        network, recipe="dynamic_w8a8", example_inputs={"input_ids": ids, "attention_mask": mask}, threads=args.threads
    )
    linear = [part for part in network.modules() if isinstance(part, nn.Linear)]
    share = sum(part.weight.numel() for part in linear) / sum(part.numel() for part in network.parameters())
    print(f"{len(linear)} Linear layers hold {100 * share:.1f} % of the parameters")
    assert quantized.report is not None
    print(f"in integers: {100 * quantized.session.integer_coverage:.1f} % of the multiply-accumulates")
    with torch.inference_mode():
        expected = network(ids, mask)
        actual = quantized(ids, mask)
        own = mask.bool()  # what stands behind the end of a sentence means nothing
        error = (expected - actual)[own]
        sqnr = 10 * float(torch.log10(expected[own].square().sum() / error.square().sum()))
        print(f"SQNR of the hidden states  {sqnr:.2f} dB")
        cosine = nn.functional.cosine_similarity(expected[own], actual[own])
        print(f"cosine of a token's state  {float(cosine.mean()):.5f}, at worst {float(cosine.min()):.5f}")
        before, after = (size / 1e6 for size in (quantized.report.float_bytes, quantized.report.quantized_bytes))
        print(f"size of the constants      {before:.2f} MB -> {after:.2f} MB, ratio {after / before:.3f}")
        one = (ids[:1], mask[:1])
        before = milliseconds(lambda: network(*one), args.seconds)
        after = milliseconds(lambda: quantized(*one), args.seconds)
        ratio = before / after
        print(f"time of {args.tokens} tokens in torch   {before:.2f} ms, quantized {after:.2f} ms, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
