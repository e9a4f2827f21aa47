// One run of a kernel of conv_q8.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "engine/plan.h"
#include "kernels/conv_q8/conv_q8.h"

namespace zeropoint::engine {

class IntegerConvStep : public Step {
 public:
  IntegerConvStep(const kernels::ConvKernel& kernel, const kernels::ConvShape& shape, std::shared_ptr<const void> packed,
                  std::vector<std::int32_t> comp, std::vector<float> scale, kernels::ConvArgs args)
      : kernel_(kernel),
        shape_(shape),
        packed_(std::move(packed)),
        comp_(std::move(comp)),
        scale_(std::move(scale)),
        args_(args) {
    args_.packed = packed_.get();
    args_.comp = comp_.data();
    args_.scale = scale_.data();
    info.kernel = kernel.name;
    info.integer = true;
  }
  std::span<const std::byte> weights() const override {
    return {static_cast<const std::byte*>(packed_.get()), kernel_.packed_bytes(shape_)};
  }
  void runs_before(std::span<const std::byte> next) override {
    args_.next = next.data();
    args_.next_bytes = static_cast<std::int64_t>(next.size());
  }
  // The sum of the result, as a, and of a value of the same shape, as b, which becomes the second input.
  bool can_add() const {
    return addable && !sum_ && kernel_.adds && args_.output == kernels::ConvOutput::u8 && shape_.dst_stride == shape_.o;
  }
  void add(const kernels::BinaryQ8& sum) { sum_ = sum; }
  bool overwrites(std::size_t input) const override { return sum_ && input == 1; }
  std::size_t scratch_bytes(int workers) const override { return kernel_.workspace_bytes(shape_, workers); }
  void run(const RunContext& context) const override {
    kernels::ConvArgs args = args_;
    args.src = reinterpret_cast<const std::uint8_t*>(context.values[inputs[0]]);
    args.dst = context.values[outputs[0]];
    if (sum_) {
      args.sum = &*sum_;
      args.residual = reinterpret_cast<const std::uint8_t*>(context.values[inputs[1]]);
    }
    args.workspace = context.scratch;
    kernel_.run(shape_, args, context.worker, context.workers);
  }

  bool addable = false;  // weights without zero points, no channel that is mended afterwards

 private:
  const kernels::ConvKernel& kernel_;
  kernels::ConvShape shape_;
  std::shared_ptr<const void> packed_;
  std::vector<std::int32_t> comp_;
  std::vector<float> scale_;
  kernels::ConvArgs args_;
  std::optional<kernels::BinaryQ8> sum_;
};

}  // namespace zeropoint::engine
