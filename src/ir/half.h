// f16 and bf16 bits <-> f32. Only for values that the narrow type holds (text of tensors); arithmetic has its own rounding.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace zeropoint {

inline float f16_to_f32(std::uint16_t half) {
  const std::uint32_t sign = (half & 0x8000U) << 16, exponent = (half >> 10) & 31U, mantissa = half & 0x3ffU;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000U | mantissa << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;  // subnormal: exact
  return sign ? -magnitude : magnitude;
}

// Cuts bits that f16 does not hold; values beyond its range become infinite.
inline std::uint16_t f32_to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000U, mantissa = bits & 0x7fffffU;
  const int exponent = static_cast<int>((bits >> 23) & 255U) - 127;
  if (exponent == 128) return static_cast<std::uint16_t>(sign | 0x7c00U | mantissa >> 13);
  if (exponent > 15) return static_cast<std::uint16_t>(sign | 0x7c00U);
  if (exponent >= -14)
    return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(exponent + 15) << 10 | mantissa >> 13);
  return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(std::fabs(value) * 0x1p24F));
}

inline float bf16_to_f32(std::uint16_t half) { return std::bit_cast<float>(std::uint32_t{half} << 16); }
inline std::uint16_t f32_to_bf16(float value) { return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16); }

}  // namespace zeropoint
