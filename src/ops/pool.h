// The loops of pooling, shared with the quantized operators.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "ops/rules.h"
#include "ops/window.h"

namespace zeropoint::ops {

std::vector<TensorType> pool_shape(const ShapeArgs& args);                  // AveragePool: x [N,C,...]
std::vector<TensorType> global_pool_shape(const ShapeArgs& args);           // [N,C,1,...]
std::vector<WindowAxis> pool_axes(const Node& node, const Dims& x);         // three of them
std::vector<WindowAxis> global_pool_axes(const Node& node, const Dims& x);  // one window that covers the plane

// Window positions k in [first, end) of `axis` that lie in [0, size) when the window starts at `start`.
struct Reach {
  std::int64_t first, end;
  std::int64_t count() const { return std::max<std::int64_t>(0, end - first); }
};
inline Reach reach(const WindowAxis& axis, std::int64_t start, std::int64_t size) {
  const auto steps = [&](std::int64_t distance) { return distance <= 0 ? 0 : (distance + axis.dilation - 1) / axis.dilation; };
  return {steps(-start), std::min(axis.kernel, steps(size - start))};
}

// body(output index, plane's first input index, inputs of the window in row-major order relative to the plane, divisor) for
// each window; the divisor counts padding too when the attribute count_include_pad is set.
template <class Body>
void for_each_window(const std::vector<WindowAxis>& axes, std::int64_t planes, bool count_include_pad, Body&& body) {
  const WindowAxis &D = axes[0], &H = axes[1], &V = axes[2];
  std::vector<std::int64_t> inside;
  std::int64_t output = 0;
  // Window positions within the padded input: all but those behind its end.
  const auto padded = [](const WindowAxis& axis, std::int64_t start) {
    return reach(axis, start + axis.pad_begin, axis.pad_begin + axis.input + axis.pad_end).count();
  };
  for (std::int64_t plane = 0; plane < planes; ++plane)
    for (std::int64_t od = 0; od < D.output; ++od)
      for (std::int64_t oh = 0; oh < H.output; ++oh)
        for (std::int64_t ow = 0; ow < V.output; ++ow) {
          const std::int64_t d0 = od * D.stride - D.pad_begin, h0 = oh * H.stride - H.pad_begin,
                             w0 = ow * V.stride - V.pad_begin;
          const Reach d = reach(D, d0, D.input), h = reach(H, h0, H.input), w = reach(V, w0, V.input);
          inside.clear();
          for (std::int64_t kd = d.first; kd < d.end; ++kd)
            for (std::int64_t kh = h.first; kh < h.end; ++kh)
              for (std::int64_t kw = w.first; kw < w.end; ++kw)
                inside.push_back(((d0 + kd * D.dilation) * H.input + h0 + kh * H.dilation) * V.input + w0 + kw * V.dilation);
          const std::int64_t divisor =
              count_include_pad ? padded(D, d0) * padded(H, h0) * padded(V, w0) : static_cast<std::int64_t>(inside.size());
          body(output++, plane * D.input * H.input * V.input, inside, divisor);
        }
}

}  // namespace zeropoint::ops
