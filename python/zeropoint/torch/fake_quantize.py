"""Quantizers that training passes through: straight-through estimator and learned step size.

Source: Esser et al. 2020, "Learned step size quantization", section 2; Bengio et al. 2013 for the estimator.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

import zeropoint as q

Tensor: TypeAlias = torch.Tensor

_EDGE = 1e-3  # the weight that a scale was made for lies on the highest level, up to rounding
_LAST = torch.channels_last
_LEAST_SCALE = float(np.finfo(np.float32).tiny)
_MOST_LOG_RATIO = 8.0  # a factor of 2981 either way: whatever leaves that has diverged


def limits_of(qparams: q.QParams, *, weight: bool) -> tuple[int, int]:
    """Lowest and highest integer. Symmetric weights leave the lowest of their type out (docs/arithmetic.md, 1)."""
    signed = qparams.dtype.startswith("int")
    bits = qparams.bits or int(qparams.dtype.lstrip("uint"))
    half = 1 << (bits - 1)
    if not signed:
        return 0, 2 * half - 1
    return (-(half - 1), half - 1) if weight and not qparams.zero_point.any() else (-half, half - 1)


class _LearnedStep(torch.autograd.Function):
    """scale * clamp(round(x / scale), low, high), where scale = initial * exp(log_ratio).

    low, high: numbers, or tensors that broadcast against x as a scale a channel does.
    Gradients, with v = x / scale:
        of x       that of the output where low <= v <= high (within 0.001, which is rounding), else 0
        of scale   round(v) - v inside, low or high outside, times that of the output, summed, times `gradient_scale`
    The gradient given to log_ratio is the latter divided by scale, so that a step of SGD moves the scale by what it
    would have moved it by itself (to first order), and no step makes it negative. It is bounded by 1: no step of SGD
    changes a scale by more than a factor of exp(learning rate), where the published form lets 8-bit scales of weights
    run away.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        log_ratio: Tensor,
        low: float | Tensor,
        high: float | Tensor,
        gradient_scale: float,
    ) -> Tensor:
        # In place, and limits as numbers where they can be: that is several times as fast as with tensors.
        y = (x / scale).round_().clamp_(low, high).mul_(scale)  # type: ignore[arg-type]
        ctx.save_for_backward(x, y, scale, log_ratio)
        ctx.constants = low, high, gradient_scale
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, y, scale, log_ratio = ctx.saved_tensors
        low, high, gradient_scale = ctx.constants
        if scale.ndim == 0:
            end = float(scale)
            inside = torch.ops.aten.hardtanh_backward(gradient, x, (low - _EDGE) * end, (high + _EDGE) * end)
        else:
            v = x / scale
            inside = gradient * ((v > low - _EDGE) & (v < high + _EDGE))
        of_scale = None
        if ctx.needs_input_grad[2]:
            if scale.ndim == 0 and high - low < 256:  # the same, where fp32 has digits to spare for the difference
                of_scale = _dot(gradient, y) - _dot(inside, x)
            else:
                of_scale = _sum_to(inside * (y - x) + (gradient - inside) * y, scale)
            of_scale = (of_scale * (gradient_scale / scale.square())).clamp_(-1, 1).reshape(log_ratio.shape)
        return (inside if ctx.needs_input_grad[0] else None), None, of_scale, None, None, None


def _dot(a: Tensor, b: Tensor) -> Tensor:
    if a.stride() == b.stride() and a.dtype == b.dtype and (a.is_contiguous() or a.is_contiguous(memory_format=_LAST)):
        return torch.dot(a.as_strided((a.numel(),), (1,)), b.as_strided((b.numel(),), (1,)))
    return (a * b).sum()


def _sum_to(terms: Tensor, scale: Tensor) -> Tensor:
    if scale.ndim == 0:
        return terms.sum()
    return terms.sum([axis for axis, length in enumerate(scale.shape) if length == 1], keepdim=True)


class FakeQuantize(nn.Module):
    """Rounds to the levels of integers, in floats, and lets gradients through.

    qparams: where it starts: type, scales, zero points; these last stay as they are.
    weight: it quantizes weights (whose symmetric types leave out the lowest integer), not activations.
    shape: of the weights.
    learned: scales are learned (LSQ). Else those of activations stay, and those of weights follow the largest
    magnitude of each channel.
    power_of_two: scales are rounded up to powers of two.

    ``log_ratio`` is the parameter: the logarithm of the scale relative to where it started. Weight decay on it draws
    the scale to that start.
    """

    def __init__(
        self,
        qparams: q.QParams,
        *,
        weight: bool = False,
        shape: tuple[int, ...] = (),
        learned: bool = True,
        power_of_two: bool = False,
    ) -> None:
        super().__init__()
        self.qparams, self.weight, self.learned, self.power_of_two = qparams, weight, learned, power_of_two
        self.limits = limits_of(qparams, weight=weight)
        granularity = qparams.granularity
        if isinstance(granularity, q.PerGroup):
            raise q.Error("unsupported", "recipe", "groups of weights are not trained; take per-channel scales")
        self.axis = granularity.axis % len(shape) if isinstance(granularity, q.PerChannel) else None
        scale = torch.from_numpy(np.array(qparams.scale, np.float32))
        zero = torch.from_numpy(np.array(qparams.zero_point, np.int32))
        if self.axis is None:
            scale, zero = scale.reshape(()), zero.reshape(())
        self.initial_scale: Tensor
        self.zero_point: Tensor
        self.register_buffer("initial_scale", scale)
        self.register_buffer("zero_point", zero)
        self.log_ratio = nn.Parameter(torch.zeros_like(scale), requires_grad=learned)
        self._rank = len(shape)

    def extra_repr(self) -> str:
        return f"{self.qparams.dtype}, levels {self.limits[0]} ... {self.limits[1]}, axis={self.axis}"

    @property
    def scale(self) -> Tensor:
        """fp32, [] or [C]: what is deployed. Without gradient."""
        with torch.no_grad():
            ratio = torch.exp(self.log_ratio.float().clamp(-_MOST_LOG_RATIO, _MOST_LOG_RATIO))
            scale = (self.initial_scale.float() * ratio).clamp_(min=_LEAST_SCALE)
            if self.power_of_two:
                fraction, exponent = torch.frexp(scale)
                scale = torch.ldexp(torch.ones_like(scale), exponent - (fraction == 0.5).to(exponent.dtype))
            return scale

    def start(self, qparams: q.QParams) -> None:
        """Takes scales and zero points of the same type and shape, and forgets what was learned."""
        with torch.no_grad():
            self.initial_scale.copy_(torch.from_numpy(np.array(qparams.scale)).reshape(self.initial_scale.shape))
            self.zero_point.copy_(torch.from_numpy(np.array(qparams.zero_point)).reshape(self.zero_point.shape))
            self.log_ratio.zero_()

    def deployed(self) -> q.QParams:
        """The parameters as they are now."""
        return q.QParams(
            self.qparams.dtype,
            self.scale.cpu().numpy(),
            self.zero_point.cpu().numpy(),
            self.qparams.granularity,
            bits=self.qparams.bits,
        )

    def follow(self, weight: Tensor) -> None:
        """Where scales are not learned, those of weights follow the largest magnitudes."""
        if self.learned or not self.weight or self.zero_point.any():
            return
        with torch.no_grad():
            others = [i for i in range(weight.ndim) if i != self.axis]
            largest = weight.abs().amax(others) if self.axis is not None else weight.abs().amax()
            found = largest / self.limits[1]
            self.initial_scale.copy_(torch.where(found > 0, found, self.initial_scale))

    def _spread(self, tensor: Tensor) -> Tensor:
        if self.axis is None:
            return tensor
        return tensor.reshape([-1 if i == self.axis else 1 for i in range(self._rank)])

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.follow(x)
        count = x.numel() // (self.zero_point.numel() if self.weight else max(1, x.shape[0]))
        gradient_scale = 1 / math.sqrt(max(1, count * max(1, self.limits[1])))
        scale, low, high = self._spread(self.scale), self.limits[0], self.limits[1]
        if self._zero_points_equal():
            zero = int(self.zero_point.reshape(-1)[0])
            y: Tensor = _LearnedStep.apply(  # type: ignore[no-untyped-call]
                x, scale, self.log_ratio, float(low - zero), float(high - zero), gradient_scale
            )
            return y
        zeros = self._spread(self.zero_point).to(x.dtype)  # of asymmetric weights: each channel has limits of its own
        result: Tensor = _LearnedStep.apply(  # type: ignore[no-untyped-call]
            x, scale, self.log_ratio, low - zeros, high - zeros, gradient_scale
        )
        return result

    def _zero_points_equal(self) -> bool:
        return self.zero_point.numel() == 1 or bool((self.zero_point == self.zero_point[0]).all())
