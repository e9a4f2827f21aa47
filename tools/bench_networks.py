"""Networks that only the benches need, with random weights: BERT-base and one very wide linear layer."""

from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto, checker, helper, numpy_helper, save
from torch import nn

from networks import OPSET, declare_torchvision_operators
from transformers_export import export


class TokenStates(nn.Module):
    """BERT without its pooler."""

    def __init__(self, bert: nn.Module):
        super().__init__()
        self.bert = bert

    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.bert(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state


def bert_base(folder: Path) -> None:
    """BERT-base (12 layers, 768 wide) as transformers initializes it: int64 ids and masks in, token states out."""
    declare_torchvision_operators()  # which transformers imports
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    bert = BertModel(BertConfig(attn_implementation="eager"), add_pooling_layer=False)
    ids = torch.from_numpy(np.random.RandomState(0).randint(1000, 30000, (2, 11)))
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    export(TokenStates(bert).eval(), inputs, folder / "bert_base.onnx", {"last_hidden_state": {0: "N", 1: "T"}})


def wide_linear(folder: Path, inputs: int = 1024, outputs: int = 120_000) -> None:
    """y = x * W^T + b for x float[N,1024], y float[N,120000]: the last layer of a classifier with very many classes."""
    random = np.random.default_rng(0)
    weight = random.standard_normal((outputs, inputs), dtype=np.float32) / np.float32(np.sqrt(inputs))
    bias = random.standard_normal(outputs, dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "weight", "bias"], ["y"], "linear", transB=1)],
        "wide_linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", outputs])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", OPSET)])
    checker.check_model(model)
    save(model, folder / "wide_linear.onnx")
