// The arithmetic of quantization, scalar and normative (docs/arithmetic.md). Every kernel equals these functions bit for bit.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace zeropoint::numerics {

// Nearest integer, ties to even, for |x| < 2^31 (others and NaN are the caller's to clamp first). Adding and taking away
// 1.5 * 2^23 rounds in the default mode; exact beyond 2^22 as x is then its own candidate.
inline float round_half_even(float x) {
  constexpr float kShift = 12582912.0F;
  if (!(x > -4194304.0F && x < 4194304.0F)) return std::nearbyintf(x);
  const float rounded = (x + kShift) - kShift;
  return rounded;
}

struct Limits {
  std::int32_t low, high;  // of the quantized type: 0 ... 255
};

// q = saturate(round_half_even(x / scale) + zero_point), a true division. NaN gives the lowest value.
inline std::int32_t quantize(float x, float scale, std::int32_t zero_point, Limits limits) {
  const float low = static_cast<float>(limits.low - zero_point), high = static_cast<float>(limits.high - zero_point);
  const float v = x / scale;
  const float clamped = v > low ? (v < high ? v : high) : low;  // NaN compares false: lowest
  return static_cast<std::int32_t>(round_half_even(clamped)) + zero_point;
}

inline float dequantize(std::int32_t q, float scale, std::int32_t zero_point) {
  return static_cast<float>(q - zero_point) * scale;
}

// The multiplier of a requantization: fp32, in exactly this order (equals ONNX Runtime's QLinearConv and QLinearMatMul).
inline float requantize_scale(float x_scale, float w_scale, float y_scale) { return (x_scale * w_scale) / y_scale; }

// s32 accumulator -> quantized: one conversion, one multiplication, no fma, then rounding, then the zero point.
inline std::int32_t requantize(std::int32_t accumulator, float scale, std::int32_t zero_point, Limits limits) {
  const float low = static_cast<float>(limits.low - zero_point), high = static_cast<float>(limits.high - zero_point);
  const float v = static_cast<float>(accumulator) * scale;
  const float clamped = v > low ? (v < high ? v : high) : low;
  return static_cast<std::int32_t>(round_half_even(clamped)) + zero_point;
}

}  // namespace zeropoint::numerics
