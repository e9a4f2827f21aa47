#include <array>
#include <bit>
#include <cmath>

#include "kernels/elementwise_q8/elementwise_q8.h"

namespace zeropoint::kernels {
namespace {

// The division-free quotient of the fast kernels (Markstein): t = x * inverse, then one correction by the exact remainder.
float corrected_quotient(float x, float scale, float inverse) {
  const float t = x * inverse;
  return std::fma(std::fma(-t, scale, x), inverse, t);
}

float step(float x, int ulps) {  // x != 0
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) + static_cast<std::uint32_t>(ulps));
}

// corrected_quotient is within one ulp of RN(x / scale), so the two round to different integers only where x / scale is within
// a few ulp of a tie, half way between two integers. Those x are few: try them all.
bool rounds_as_division(float scale, float inverse, std::int32_t lowest, std::int32_t highest) {
  constexpr int kUlps = 8;
  constexpr float kSafe = 0x1p60F;  // nothing over- or underflows between kSafe and 1 / kSafe
  if (!(scale > 1 / kSafe && scale < kSafe)) return false;
  for (std::int32_t q = lowest; q < highest; ++q) {
    const float tie = (static_cast<float>(q) + 0.5F) * scale;
    for (int ulps = -kUlps; ulps <= kUlps; ++ulps) {
      const float x = step(tie, ulps);
      if (std::nearbyint(x / scale) != std::nearbyint(corrected_quotient(x, scale, inverse))) return false;
    }
  }
  return true;
}

// All results of an addition, [qa][qb].
std::array<std::uint8_t, 65536> sums(const BinaryQ8& p) {
  std::array<float, 256> a, b;
  for (std::int32_t q = 0; q < 256; ++q) {
    a[static_cast<std::size_t>(q)] = static_cast<float>(q - p.a.zero_point) * p.a.scale;
    b[static_cast<std::size_t>(q)] = static_cast<float>(q - p.b.zero_point) * p.b.scale;
  }
  std::array<std::uint8_t, 65536> result;
  for (std::size_t i = 0; i < result.size(); ++i)
    result[i] =
        static_cast<std::uint8_t>(numerics::quantize(a[i / 256] + b[i % 256], p.y.scale, p.y.zero_point, {p.y.low, p.y.high}));
  return result;
}

bool equals(const BinaryQ8& p, const std::array<std::uint8_t, 65536>& wanted) {
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const auto a = static_cast<float>(static_cast<std::int32_t>(i / 256) - p.a.zero_point);
    const auto b = static_cast<float>(static_cast<std::int32_t>(i % 256) - p.b.zero_point);
    const float v = std::nearbyint(std::fma(a, p.a_factor, b * p.b_factor)) + static_cast<float>(p.y.zero_point);
    const auto low = static_cast<float>(p.y.low), high = static_cast<float>(p.y.high);
    if (static_cast<float>(wanted[i]) != (v > low ? (v < high ? v : high) : low)) return false;
  }
  return true;
}

}  // namespace

// The quotients of the scales are a few roundings away from the definition; where some pair falls on the other side of a tie,
// neighbouring floats are tried.
BinaryQ8 add_params(const DequantizeParams& a, const DequantizeParams& b, const QuantizeParams& y) {
  BinaryQ8 params{.a = a, .b = b, .y = y};
  const float a_factor = a.scale / y.scale, b_factor = b.scale / y.scale;
  constexpr float kMost = 0x1p16F;  // sums must stay far from 2^31
  if (!(a_factor > 1 / kMost && a_factor < kMost && b_factor > 1 / kMost && b_factor < kMost)) return params;
  const auto wanted = sums(params);
  for (const int a_ulps : {0, 1, -1, 2, -2})
    for (const int b_ulps : {0, 1, -1, 2, -2}) {
      params.a_factor = step(a_factor, a_ulps), params.b_factor = step(b_factor, b_ulps);
      params.short_sum = equals(params, wanted);
      if (params.short_sum) return params;
    }
  return params;
}

QuantizeParams quantize_params(float scale, std::int32_t zero_point, numerics::Limits limits) {
  QuantizeParams params{.scale = scale, .zero_point = zero_point, .low = limits.low, .high = limits.high, .inverse = 1 / scale};
  if (limits.high - limits.low <= 255)
    params.exact_inverse = rounds_as_division(scale, params.inverse, limits.low - zero_point, limits.high - zero_point);
  return params;
}

QuantizeParams dynamic_quantize_params(float low, float high) {
  low = low < 0 ? low : 0;
  high = high > 0 ? high : 0;
  const float scale = low == high ? 1.0F : (high - low) / 255.0F;
  const float zero_point = 0.0F - low / scale;
  const float clamped = zero_point > 0 ? (zero_point < 255 ? zero_point : 255.0F) : 0.0F;
  // Called in every run of the network: no proof of the inverse, the kernels divide.
  return {.scale = scale,
          .zero_point = static_cast<std::int32_t>(numerics::round_half_even(clamped)),
          .low = 0,
          .high = 255,
          .inverse = 1 / scale};
}

void requantize_table(const DequantizeParams& x, const QuantizeParams& y, std::uint8_t table[256]) {
  for (std::int32_t q = 0; q < 256; ++q)
    table[q] = static_cast<std::uint8_t>(
        numerics::quantize(numerics::dequantize(q, x.scale, x.zero_point), y.scale, y.zero_point, {y.low, y.high}));
}

}  // namespace zeropoint::kernels
