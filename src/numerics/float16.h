// The 16-bit float formats: f16 (1-5-10, IEC 60559) and bf16 (1-8-7), to and from double. Portable bit arithmetic.
#pragma once

#include <bit>
#include <cstdint>

namespace zeropoint::numerics {

// Nearest value, ties to even, one rounding; overflow gives infinity, NaN the quiet NaN.
template <int ExponentBits, int MantissaBits>
std::uint16_t narrow_float(double x) {
  constexpr int kBias = (1 << (ExponentBits - 1)) - 1;
  constexpr std::uint64_t kInfinity = ((std::uint64_t{1} << ExponentBits) - 1) << MantissaBits;
  const auto bits = std::bit_cast<std::uint64_t>(x);
  const std::uint64_t sign = (bits >> 63) << 15;
  const std::uint64_t rest = bits & 0x7FFFFFFFFFFFFFFFU;
  if (rest > 0x7FF0000000000000U)
    return static_cast<std::uint16_t>(sign | kInfinity | (std::uint64_t{1} << (MantissaBits - 1)));
  const auto exponent = static_cast<int>(rest >> 52) - 1023 + kBias;
  if (exponent > (1 << ExponentBits) - 2) return static_cast<std::uint16_t>(sign | kInfinity);
  // The significand with its leading one, to be cut at `shift`; subnormal results lose more bits.
  const int shift = 52 - MantissaBits + (exponent < 1 ? 1 - exponent : 0);
  if (shift > 54) return static_cast<std::uint16_t>(sign);
  const std::uint64_t significand = (rest & 0x000FFFFFFFFFFFFFU) | 0x0010000000000000U;
  const std::uint64_t kept = significand >> shift, lost = significand & ((std::uint64_t{1} << shift) - 1);
  const std::uint64_t half = std::uint64_t{1} << (shift - 1);
  const std::uint64_t rounded = kept + (lost > half || (lost == half && (kept & 1) != 0) ? 1 : 0);
  // A carry moves into the exponent by itself; a normal number's leading one counts as exponent 1.
  const std::uint64_t base = exponent < 1 ? 0 : static_cast<std::uint64_t>(exponent - 1) << MantissaBits;
  return static_cast<std::uint16_t>(sign | (base + rounded));
}

inline std::uint16_t to_f16(double x) { return narrow_float<5, 10>(x); }
inline std::uint16_t to_bf16(double x) { return narrow_float<8, 7>(x); }

inline float from_bf16(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

inline float from_f16(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1FU, mantissa = bits & 0x3FFU;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000U | (mantissa << 13));
  if (exponent == 0) {
    const float size = static_cast<float>(mantissa) * 5.9604644775390625e-08F;  // 2^-24, exact
    return sign != 0 ? -size : size;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

}  // namespace zeropoint::numerics
