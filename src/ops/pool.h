// The loops of pooling, shared with the quantized operators.
#pragma once

#include <cstdint>

#include "ops/rules.h"
#include "ops/window.h"

namespace zeropoint::ops {

std::vector<TensorType> pool_shape(const ShapeArgs& args);                  // AveragePool: x [N,C,...]
std::vector<TensorType> global_pool_shape(const ShapeArgs& args);           // [N,C,1,...]
std::vector<WindowAxis> pool_axes(const Node& node, const Dims& x);         // three of them
std::vector<WindowAxis> global_pool_axes(const Node& node, const Dims& x);  // one window that covers the plane

// body(output index, plane's first input index, inputs of the window in row-major order relative to the plane, divisor) for
// each window; the divisor counts padding too when the attribute count_include_pad is set.
template <class Body>
void for_each_window(const std::vector<WindowAxis>& axes, std::int64_t planes, bool count_include_pad, Body&& body) {
  const WindowAxis &D = axes[0], &H = axes[1], &V = axes[2];
  std::vector<std::int64_t> inside;
  std::int64_t output = 0;
  const auto padded = [](const WindowAxis& axis, std::int64_t start) {  // elements within the padded input
    std::int64_t count = 0;
    for (std::int64_t k = 0; k < axis.kernel; ++k) count += start + k * axis.dilation < axis.input + axis.pad_end ? 1 : 0;
    return count;
  };
  for (std::int64_t plane = 0; plane < planes; ++plane)
    for (std::int64_t od = 0; od < D.output; ++od)
      for (std::int64_t oh = 0; oh < H.output; ++oh)
        for (std::int64_t ow = 0; ow < V.output; ++ow) {
          const std::int64_t d0 = od * D.stride - D.pad_begin, h0 = oh * H.stride - H.pad_begin,
                             w0 = ow * V.stride - V.pad_begin;
          inside.clear();
          for (std::int64_t d = d0; d < d0 + D.kernel * D.dilation; d += D.dilation)
            for (std::int64_t h = h0; h < h0 + H.kernel * H.dilation; h += H.dilation)
              for (std::int64_t w = w0; w < w0 + V.kernel * V.dilation; w += V.dilation)
                if (d >= 0 && d < D.input && h >= 0 && h < H.input && w >= 0 && w < V.input)
                  inside.push_back((d * H.input + h) * V.input + w);
          const auto divisor =
              count_include_pad ? padded(D, d0) * padded(H, h0) * padded(V, w0) : static_cast<std::int64_t>(inside.size());
          body(output++, plane * D.input * H.input * V.input, inside, divisor);
        }
}

}  // namespace zeropoint::ops
