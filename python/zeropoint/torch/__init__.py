"""PyTorch modules in, quantized models out.

>>> import zeropoint.torch as qt
>>> model = qt.to_model(module, images)                      # a zeropoint.Model

Needs ``pip install zeropoint[torch]``; ``import zeropoint`` alone never imports torch.
"""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError("zeropoint.torch needs PyTorch: pip install zeropoint[torch]") from error

from .export import to_model
from .graph_module import GraphModule
from .qat import QATModule, convert, prepare_qat

__all__ = ["GraphModule", "QATModule", "convert", "prepare_qat", "to_model"]
