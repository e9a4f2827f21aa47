// Copies between strided views: what transposes, slices and joins become when somebody needs the elements in a row.
#pragma once

#include <optional>
#include <vector>

#include "engine/lowering.h"
#include "kernels/layout/layout.h"

namespace zeropoint::engine {

class StridedCopyStep : public Step {
 public:
  // Copy i reads inputs[i] from src_offsets[i] on and writes the output from dst_offsets[i] on, both in bytes.
  StridedCopyStep(const kernels::LayoutKernels& kernels, std::vector<kernels::StridedCopy> copies,
                  std::vector<std::size_t> dst_offsets, std::vector<std::size_t> src_offsets)
      : functions_(kernels.functions),
        copies_(std::move(copies)),
        dst_offsets_(std::move(dst_offsets)),
        src_offsets_(std::move(src_offsets)) {
    info.kernel = kernels.name;
  }
  void run(const RunContext& context) const override {
    for (std::size_t i = 0; i < copies_.size(); ++i)
      functions_->strided_copy(copies_[i], context.values[inputs[i]] + src_offsets_[i],
                               context.values[outputs[0]] + dst_offsets_[i], context.worker, context.workers);
  }

 private:
  const kernels::LayoutFunctions* functions_;
  std::vector<kernels::StridedCopy> copies_;
  std::vector<std::size_t> dst_offsets_, src_offsets_;
};

// Axes of size 1 left out, neighbours that go on without a gap in both merged. At most kMaxRank axes may remain.
kernels::StridedCopy strided_copy(const Dims& dims, const Dims& src_strides, const Dims& dst_strides, int element_bytes);

// The view with other dimensions of the same elements in the same order; nullopt where strides cannot say it.
std::optional<View> restride(const View& view, const Dims& dims);

}  // namespace zeropoint::engine
