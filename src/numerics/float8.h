// The float formats of 8 and 4 bits, to and from double and float. Portable bit arithmetic.
//
// e4m3fn, e4m3fnuz, e5m2, e5m2fnuz: sign, exponent, mantissa; FN has no infinities, UZ no negative zero (its code is the NaN).
// e8m0: an exponent alone, 2^(code - 127), 0xFF is NaN. e2m1: the 4 bits of the microscaling formats, without NaN.
// Sources: ONNX's text of Cast; OCP Microscaling Formats 1.0; arXiv 2209.05433 and 2206.02915.
#pragma once

#include <bit>
#include <cstdint>

namespace zeropoint::numerics {

struct Float8Format {
  int exponent_bits, mantissa_bits, bias;
  std::uint8_t highest;   // code of the largest finite number
  std::uint8_t nan;       // without sign
  std::uint8_t infinity;  // 0: has none
  bool negative_zero;
};
inline constexpr Float8Format kFloat8E4M3FN = {4, 3, 7, 0x7E, 0x7F, 0, true};
inline constexpr Float8Format kFloat8E4M3FNUZ = {4, 3, 8, 0x7F, 0x80, 0, false};
inline constexpr Float8Format kFloat8E5M2 = {5, 2, 15, 0x7B, 0x7E, 0x7C, true};
inline constexpr Float8Format kFloat8E5M2FNUZ = {5, 2, 16, 0x7F, 0x80, 0, false};
inline constexpr Float8Format kFloat4E2M1 = {2, 1, 1, 0x7, 0x8, 0, true};  // NaN gives -0, as ml_dtypes does

inline float from_float8(std::uint8_t code, const Float8Format& format) {
  const int sign = 1 << (format.exponent_bits + format.mantissa_bits);
  const int rest = code & (sign - 1);
  const bool negative = (code & sign) != 0;
  const float nan = std::bit_cast<float>(0x7FC00000U | (negative && format.negative_zero ? 0x80000000U : 0U));
  if (negative && rest == 0 && !format.negative_zero) return nan;
  if (rest > format.highest) {
    if (rest != format.infinity || format.infinity == 0) return nan;
    return std::bit_cast<float>(negative ? 0xFF800000U : 0x7F800000U);
  }
  const int exponent = rest >> format.mantissa_bits, mantissa = rest & ((1 << format.mantissa_bits) - 1);
  const int significand = exponent == 0 ? mantissa : mantissa | (1 << format.mantissa_bits);
  const int power = (exponent == 0 ? 1 : exponent) - format.bias - format.mantissa_bits;
  const float size = static_cast<float>(significand) * std::bit_cast<float>(static_cast<std::uint32_t>(power + 127) << 23);
  return negative ? -size : size;
}

// Nearest value, ties to even, one rounding. What is larger than the largest number after rounding becomes that number when
// `saturate` (infinity too), else infinity or, where there is none, NaN. e2m1 always saturates.
inline std::uint8_t to_float8(double x, const Float8Format& format, bool saturate = true) {
  const auto bits = std::bit_cast<std::uint64_t>(x);
  const int mantissa_bits = format.mantissa_bits;
  const auto sign = static_cast<std::uint64_t>((bits >> 63) << (format.exponent_bits + mantissa_bits));
  const std::uint64_t rest = bits & 0x7FFFFFFFFFFFFFFFU;
  constexpr std::uint64_t kInfinity = 0x7FF0000000000000U;
  if (rest > kInfinity)
    return static_cast<std::uint8_t>(format.negative_zero && mantissa_bits > 1 ? sign | format.nan : format.nan);
  const auto too_large = [&] {
    if (saturate || mantissa_bits == 1) return static_cast<std::uint8_t>(sign | format.highest);
    if (format.infinity != 0) return static_cast<std::uint8_t>(sign | format.infinity);
    return static_cast<std::uint8_t>(format.negative_zero ? sign | format.nan : format.nan);
  };
  const auto exponent = static_cast<int>(rest >> 52) - 1023 + format.bias;
  if (rest == kInfinity || exponent >= 1 << (format.exponent_bits + 1)) return too_large();
  // The significand with its leading one, to be cut at `shift`; subnormal results lose more bits.
  const int shift = 52 - mantissa_bits + (exponent < 1 ? 1 - exponent : 0);
  std::uint64_t code = 0;
  if (shift <= 54) {
    const std::uint64_t significand = (rest & 0x000FFFFFFFFFFFFFU) | 0x0010000000000000U;
    const std::uint64_t kept = significand >> shift, lost = significand & ((std::uint64_t{1} << shift) - 1);
    const std::uint64_t half = std::uint64_t{1} << (shift - 1);
    // A carry moves into the exponent by itself; a normal number's leading one counts as exponent 1.
    const std::uint64_t base = exponent < 1 ? 0 : static_cast<std::uint64_t>(exponent - 1) << mantissa_bits;
    code = base + kept + (lost > half || (lost == half && (kept & 1) != 0) ? 1 : 0);
  }
  if (code > format.highest) return too_large();
  return static_cast<std::uint8_t>(code == 0 && !format.negative_zero ? 0 : sign | code);
}

enum class Float8Rounding { kUp, kDown, kNearest };  // magnitudes: away from zero, towards it, to the nearest with ties up

inline float from_e8m0(std::uint8_t code) {
  if (code == 0xFF) return std::bit_cast<float>(0x7FC00000U);
  return std::bit_cast<float>(code == 0 ? 0x00400000U : static_cast<std::uint32_t>(code) << 23);
}

// The sign is ignored: the format has none. What lies outside of 2^-127 ... 2^127 (zero, infinities) becomes the nearer of the
// two when `saturate`, else NaN.
inline std::uint8_t to_e8m0(double x, bool saturate = true, Float8Rounding rounding = Float8Rounding::kUp) {
  const std::uint64_t rest = std::bit_cast<std::uint64_t>(x) & 0x7FFFFFFFFFFFFFFFU;
  if (rest > 0x7FF0000000000000U) return 0xFF;
  const std::uint64_t fraction = rest & 0x000FFFFFFFFFFFFFU;
  auto exponent = static_cast<int>(rest >> 52) - 1023;
  if (rounding == Float8Rounding::kUp && fraction != 0) ++exponent;
  if (rounding == Float8Rounding::kNearest && fraction >= 0x0008000000000000U) ++exponent;
  if (exponent > 127) return saturate ? 0xFE : 0xFF;
  if (exponent < -127) return saturate ? 0x00 : 0xFF;
  return static_cast<std::uint8_t>(exponent + 127);
}

}  // namespace zeropoint::numerics
