// The loops of convolution, shared by Conv, ConvInteger and QLinearConv.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "ops/rules.h"
#include "ops/window.h"

namespace zeropoint::ops {

// x: [N,C,...], w: [O,C/groups,...] -> [N,O,...]; axes are depth, height, width (ops/window.h as_three).
struct Convolution {
  std::int64_t N, C, O, groups;
  std::vector<WindowAxis> axes;
};
Convolution read_convolution(const Node& node, const Dims& x, const Dims& w);

// Shape rule and multiply-accumulates; input `w` holds the weights.
std::vector<TensorType> convolution_shape(const ShapeArgs& args, std::size_t w, DType result);
std::int64_t convolution_macs(std::span<const TensorType> inputs, std::span<const TensorType> outputs, std::size_t w);

// y[n,o,...] = sum over (c, kd, kh, kw), added in this order, of x_value(x) * w_value(w, o). Padding adds nothing.
template <class Sum, class X, class W, class XValue, class WValue>
void convolve(const Convolution& geometry, std::span<const X> x, std::span<const W> w, std::span<Sum> y, XValue x_value,
              WValue w_value) {
  const WindowAxis &D = geometry.axes[0], &H = geometry.axes[1], &V = geometry.axes[2];
  const std::int64_t group_inputs = geometry.C / geometry.groups, group_outputs = geometry.O / geometry.groups;
  const std::int64_t x_plane = D.input * H.input * V.input, y_plane = D.output * H.output * V.output;
  const std::int64_t w_plane = D.kernel * H.kernel * V.kernel;
  for (std::int64_t n = 0; n < geometry.N; ++n)
    for (std::int64_t o = 0; o < geometry.O; ++o) {
      Sum* const sums = y.data() + (n * geometry.O + o) * y_plane;
      std::fill(sums, sums + y_plane, Sum{});
      for (std::int64_t c = 0; c < group_inputs; ++c) {
        const X* const image = x.data() + (n * geometry.C + o / group_outputs * group_inputs + c) * x_plane;
        for (std::int64_t k = 0; k < w_plane; ++k) {
          const std::int64_t kd = k / (H.kernel * V.kernel), kh = k / V.kernel % H.kernel, kw = k % V.kernel;
          const Sum weight = w_value(w[(o * group_inputs + c) * w_plane + k], o);
          for (std::int64_t od = 0; od < D.output; ++od) {
            const std::int64_t id = od * D.stride + kd * D.dilation - D.pad_begin;
            if (id < 0 || id >= D.input) continue;
            for (std::int64_t oh = 0; oh < H.output; ++oh) {
              const std::int64_t ih = oh * H.stride + kh * H.dilation - H.pad_begin;
              if (ih < 0 || ih >= H.input) continue;
              const X* const row = image + (id * H.input + ih) * V.input;
              Sum* const out = sums + (od * H.output + oh) * V.output;
              const std::int64_t shift = kw * V.dilation - V.pad_begin;  // iw = ow * stride + shift, within [0, input)
              const std::int64_t first = shift >= 0 ? 0 : (-shift + V.stride - 1) / V.stride;
              const std::int64_t end = shift >= V.input ? 0 : std::min(V.output, (V.input - 1 - shift) / V.stride + 1);
              for (std::int64_t ow = first; ow < end; ++ow) out[ow] += x_value(row[ow * V.stride + shift]) * weight;
            }
          }
        }
      }
    }
}

}  // namespace zeropoint::ops
