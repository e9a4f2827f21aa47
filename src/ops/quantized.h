// Scales and zero points as quantized operators take them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "numerics/quantize.h"
#include "ops/rules.h"

namespace zeropoint::ops {

// Which parameter an element of a tensor of `dims` uses: one for all, one an index along an axis, or one a block along it.
struct ParameterMap {
  std::int64_t length = 1, inner = 1;  // of the axis; elements after it
  std::int64_t block = 0, blocks = 1;  // block 0: no blocks
  bool single = true;

  std::int64_t operator[](std::int64_t element) const {
    if (single) return 0;
    const std::int64_t at = element / inner % length;
    if (block == 0) return at;
    return (element / (inner * length) * blocks + at / block) * inner + element % inner;
  }
};
// Throws kBadShape when `parameters` (the shape of the scale) does not fit.
ParameterMap parameter_map(const Node& node, const Shape& dims, const Shape& parameters, std::int64_t axis, std::int64_t block);

// Integers of at most 32 bits, 4-bit ones too, as s32; and back.
std::vector<std::int32_t> read_integers(const Node& node, const Tensor& tensor);
Tensor write_integers(std::span<const std::int32_t> values, DType dtype, const Dims& dims);

float scalar_scale(const Node& node, const Tensor& scale);             // one positive or other number; throws kBadShape
std::int32_t scalar_zero(const Node& node, const Tensor& zero_point);  // 0 where absent
// One, or one a channel (then `count` of them), spread to `count`.
std::vector<float> channel_scales(const Node& node, const Tensor& scale, std::int64_t count);
std::vector<std::int32_t> channel_zeros(const Node& node, const Tensor& zero_point, std::int64_t count);

// u8 over [min(0, x), max(0, x)], as DynamicQuantizeLinear chooses them.
struct DynamicQuantization {
  float scale;
  std::int32_t zero_point;
};
DynamicQuantization dynamic_quantization(std::span<const float> x);

// numerics::requantize for sums that may need 64 bits: rule (a) of docs/arithmetic.md knows no overflow.
inline std::int32_t requantize(std::int64_t sum, float scale, std::int32_t zero_point, numerics::Limits limits) {
  const float low = static_cast<float>(limits.low - zero_point), high = static_cast<float>(limits.high - zero_point);
  const float v = static_cast<float>(sum) * scale;
  return static_cast<std::int32_t>(numerics::round_half_even(v > low ? (v < high ? v : high) : low)) + zero_point;
}

inline numerics::Limits limits_of(DType dtype) {
  return {static_cast<std::int32_t>(lowest(dtype)), static_cast<std::int32_t>(highest(dtype))};
}

}  // namespace zeropoint::ops
