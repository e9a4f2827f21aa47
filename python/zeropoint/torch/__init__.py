"""PyTorch modules in, quantized models out.

>>> import zeropoint.torch as qt
>>> quantized = qt.quantize(module, loader)                  # a module to call with tensors
>>> quantized.save("model.int8.onnx")                        # standard ONNX
>>> model = qt.to_model(module, images)                      # or the float model, for zeropoint's own functions
>>> prepared = qt.prepare_qat(module, example_inputs=images) # or a module to train on

``docs/pytorch.md`` is a tour. Needs ``pip install zeropoint[torch]``; ``import zeropoint`` alone never imports torch.
"""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError("zeropoint.torch needs PyTorch: pip install zeropoint[torch]") from error

from .export import to_model
from .graph_module import GraphModule
from .pt2e import from_pt2e
from .qat import QATModule, convert, prepare_qat
from .quantized import QuantizedModule, load, quantize

__all__ = [
    "GraphModule",
    "QATModule",
    "QuantizedModule",
    "convert",
    "from_pt2e",
    "load",
    "prepare_qat",
    "quantize",
    "to_model",
]
