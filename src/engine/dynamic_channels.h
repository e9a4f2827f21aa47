// What a product whose scale or zero point is made at run time knows of its channels, and the numbers that its kernel reads.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/plan.h"

namespace zeropoint::engine {

struct DynamicChannels {
  std::vector<float> w_scale;        // [n]; empty: sums are wanted
  std::vector<std::int32_t> w_sums;  // [n], of (w - its zero point)
  std::vector<float> bias;           // [n] or empty
  std::int32_t zero_point = 0;       // where it is constant
  bool row_scales = false;           // the scale at run time has a number for each row

  struct Numbers {
    const std::int32_t* comp;  // -zero_point * w_sums
    const float* scale;        // of the channels, times the scale at run time where that is one number; or null
    const float* row_scale;    // or null
    std::int32_t zero_point;
    std::byte* workspace;  // of all workers, behind these numbers
  };
  std::size_t scratch_bytes(int workers) const { return 2 * half_bytes() * static_cast<std::size_t>(workers); }
  // In the worker's part of the scratch memory. Inputs of the step: values, scale (or none), zero point (or none), ...
  Numbers numbers(const RunContext& context, const Step& step) const {
    std::byte* own = context.scratch + 2 * half_bytes() * static_cast<std::size_t>(context.worker);
    auto* comp = reinterpret_cast<std::int32_t*>(own);
    auto* scale = reinterpret_cast<float*>(own + half_bytes());
    const auto* x_scale = step.inputs[1] == kNoValue ? nullptr : reinterpret_cast<const float*>(context.values[step.inputs[1]]);
    const std::int32_t zero =
        step.inputs[2] == kNoValue ? zero_point : std::to_integer<std::int32_t>(*context.values[step.inputs[2]]);
    for (std::size_t c = 0; c < w_sums.size(); ++c) comp[c] = -zero * w_sums[c];
    const float factor = x_scale == nullptr || row_scales ? 1.0F : *x_scale;
    for (std::size_t c = 0; c < w_scale.size(); ++c) scale[c] = factor * w_scale[c];
    return {.comp = comp,
            .scale = w_scale.empty() ? nullptr : scale,
            .row_scale = row_scales ? x_scale : nullptr,
            .zero_point = zero,
            .workspace = context.scratch + scratch_bytes(context.workers)};
  }

 private:
  // Kernels may read over the edge.
  std::size_t half_bytes() const { return (w_sums.size() * 4 + kSlackBytes - 1) / kSlackBytes * kSlackBytes + kSlackBytes; }
};

}  // namespace zeropoint::engine
