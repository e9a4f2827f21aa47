// A product whose scale or zero point is made at run time: what it knows of its channels, and the numbers that its kernel
// reads.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/plan.h"

namespace zeropoint::engine {

struct DynamicChannels {
  std::vector<float> w_scale;        // [n]; empty: sums are wanted
  std::vector<std::int32_t> w_sums;  // [n], of (w - its zero point)
  std::vector<float> bias;           // [n] or empty
  std::int32_t zero_point = 0;       // where it is constant
  bool row_scales = false;           // the scale at run time has a number for each row
};

// Inputs: values, scale (or none), zero point (or none), ... of the subclass, which runs the kernel.
template <class Kernel, class Shape, class Args>
class DynamicProductStep : public Step {
 public:
  DynamicProductStep(const Kernel& kernel, const Shape& shape, std::shared_ptr<const void> packed, DynamicChannels channels,
                     const Args& args)
      : kernel_(kernel), shape_(shape), packed_(std::move(packed)), channels_(std::move(channels)), args_(args) {
    args_.packed = packed_.get();
    args_.bias = channels_.bias.empty() ? nullptr : channels_.bias.data();
    info.kernel = kernel.name;
    info.integer = true;
  }
  std::size_t scratch_bytes(int workers) const override {
    return 2 * half_bytes() * static_cast<std::size_t>(workers) + kernel_.workspace_bytes(shape_, workers);
  }

 protected:
  std::int32_t zero_point(const RunContext& context) const {
    return inputs[2] == kNoValue ? channels_.zero_point : std::to_integer<std::int32_t>(*context.values[inputs[2]]);
  }
  // All but where values come from and go to. Each worker makes its own numbers in scratch memory.
  Args args(const RunContext& context) const {
    std::byte* own = context.scratch + 2 * half_bytes() * static_cast<std::size_t>(context.worker);
    auto* comp = reinterpret_cast<std::int32_t*>(own);
    auto* scale = reinterpret_cast<float*>(own + half_bytes());
    const auto* x_scale = inputs[1] == kNoValue ? nullptr : reinterpret_cast<const float*>(context.values[inputs[1]]);
    const std::int32_t zero = zero_point(context);
    for (std::size_t c = 0; c < channels_.w_sums.size(); ++c) comp[c] = -zero * channels_.w_sums[c];
    const float factor = x_scale == nullptr || channels_.row_scales ? 1.0F : *x_scale;
    for (std::size_t c = 0; c < channels_.w_scale.size(); ++c) scale[c] = factor * channels_.w_scale[c];
    Args result = args_;
    result.comp = comp;
    result.scale = channels_.w_scale.empty() ? nullptr : scale;
    result.row_scale = channels_.row_scales ? x_scale : nullptr;
    result.workspace = context.scratch + 2 * half_bytes() * static_cast<std::size_t>(context.workers);
    return result;
  }
  void run_kernel(const Args& args, const RunContext& context) const {
    kernel_.run(shape_, args, context.worker, context.workers);
  }

 private:
  // Kernels may read over the edge.
  std::size_t half_bytes() const {
    return (channels_.w_sums.size() * 4 + kSlackBytes - 1) / kSlackBytes * kSlackBytes + kSlackBytes;
  }

  const Kernel& kernel_;
  Shape shape_;
  std::shared_ptr<const void> packed_;
  DynamicChannels channels_;
  Args args_;
};

}  // namespace zeropoint::engine
