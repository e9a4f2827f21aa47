// Packs weights for our own entries and calls the instruction set's functions.
#include "kernels/conv_f32/blocked.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/aligned_buffer.h"
#include "kernels/block_arithmetic.h"
#include "kernels/conv_f32/entries.h"

namespace zeropoint::kernels {
namespace {

class Blocked final : public ConvF32 {
 public:
  Blocked(const char* name, const ConvF32Functions& functions, const ConvF32Shape& s, const ConvF32Epilogue& epilogue,
          const float* weights, const float* bias)
      : depthwise_(is_depthwise(s)), name_(std::string(name) + (depthwise_ ? " depthwise" : "")), functions_(functions) {
    const std::int64_t taps = s.kernel_h * s.kernel_w, inputs = s.ic / s.groups, outputs = s.oc / s.groups;
    const std::int64_t lanes = functions.lanes, padded = round_up(depthwise_ ? s.oc : outputs, lanes);
    const std::int64_t groups = depthwise_ ? 1 : s.groups, zeros = depthwise_ ? padded : std::max(inputs, lanes);
    const std::int64_t weight_count = groups * taps * inputs * padded, bias_count = groups * padded;
    const std::size_t bytes = static_cast<std::size_t>(weight_count + bias_count + zeros) * sizeof(float);
    memory_ = allocate_aligned(bytes);
    std::memset(memory_.get(), 0, bytes);
    float* const packed = reinterpret_cast<float*>(memory_.get());
    float* const packed_bias = packed + weight_count;
    conv_ = {s, epilogue, packed, packed_bias, packed_bias + bias_count};

    for (std::int64_t o = 0; o < s.oc; ++o)
      packed_bias[depthwise_ ? o : o / outputs * padded + o % outputs] = bias == nullptr ? kNoBias : bias[o];
    if (depthwise_) {
      for (std::int64_t tap = 0; tap < taps; ++tap)
        for (std::int64_t c = 0; c < s.oc; ++c) packed[tap * padded + c] = weights[c * taps + tap];
      return;
    }
    for (std::int64_t o = 0; o < s.oc; ++o) {
      const std::int64_t group = o / outputs, within = o % outputs, block_size = lanes * functions.block;
      const std::int64_t block_start = within / block_size * block_size, width = std::min(block_size, padded - block_start);
      float* block = packed + (group * padded + block_start) * taps * inputs + within % block_size;
      for (std::int64_t tap = 0; tap < taps; ++tap)
        for (std::int64_t i = 0; i < inputs; ++i) block[(tap * inputs + i) * width] = weights[(o * inputs + i) * taps + tap];
    }
  }

  std::string_view name() const noexcept override { return name_; }
  std::size_t scratch_bytes() const noexcept override { return 0; }
  void run(const float* src, const float* residual, float* dst, void*, int worker, int workers) const noexcept override {
    (depthwise_ ? functions_.depthwise : functions_.dense)(conv_, src, residual, dst, worker, workers);
  }

 private:
  bool depthwise_;
  std::string name_;
  const ConvF32Functions& functions_;
  AlignedBuffer memory_;
  BlockedConvF32 conv_{};
};

}  // namespace

bool is_depthwise(const ConvF32Shape& shape) {
  return shape.groups == shape.ic && shape.groups == shape.oc && shape.groups > 1;
}

std::unique_ptr<ConvF32> create_conv_f32_blocked(const char* name, const ConvF32Functions& functions, const ConvF32Shape& shape,
                                                 const ConvF32Epilogue& epilogue, const float* weights, const float* bias) {
  return std::make_unique<Blocked>(name, functions, shape, epilogue, weights, bias);
}

}  // namespace zeropoint::kernels
