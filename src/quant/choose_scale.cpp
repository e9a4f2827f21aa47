#include <algorithm>
#include <cfloat>
#include <cmath>
#include <string>

#include "numerics/quantize.h"
#include "quant/constant_ranges.h"
#include "zeropoint/error.h"
#include "zeropoint/ranges.h"

namespace zeropoint {

namespace quant {

float raised_to_power_of_two(float scale) {
  int exponent = 0;
  const float fraction = std::frexp(scale, &exponent);  // scale = fraction * 2^exponent, 0.5 <= fraction < 1
  return std::ldexp(1.0F, std::min(fraction == 0.5F ? exponent - 1 : exponent, FLT_MAX_EXP - 1));
}

}  // namespace quant

ScaleZeroPoint choose_scale(Range range, IntegerLimits limits, bool symmetric, bool power_of_two) {
  if (!std::isfinite(range.min) || !std::isfinite(range.max))
    throw Error(ErrorCode::kNonFinite, "",
                "a range of " + std::to_string(range.min) + " ... " + std::to_string(range.max) + " has no scale");
  const float min = std::min(range.min, 0.0F), max = std::max(range.max, 0.0F);
  if (min == 0.0F && max == 0.0F) return {};
  ScaleZeroPoint result;
  if (symmetric) {
    result.scale = std::max(std::max(-min, max) / static_cast<float>(limits.high), FLT_MIN);
    if (power_of_two) result.scale = quant::raised_to_power_of_two(result.scale);
    return result;
  }
  const float steps = static_cast<float>(limits.high - limits.low);
  float scale = (max - min) / steps;
  if (!std::isfinite(scale)) scale = max / steps - min / steps;  // max - min alone passed FLT_MAX
  result.scale = std::max(scale, FLT_MIN);
  if (power_of_two) result.scale = quant::raised_to_power_of_two(result.scale);
  const float above_low = -min / result.scale;  // 0 ... steps, up to rounding
  result.real_zero_point = static_cast<float>(limits.low) + above_low;
  result.zero_point = std::min(limits.low + static_cast<std::int32_t>(numerics::round_half_even(above_low)), limits.high);
  return result;
}

IntegerLimits limits_of(const Scheme& scheme) {
  const IntegerLimits of_type = limits_of(scheme.dtype);
  if (scheme.symmetric && of_type.low == 0)
    throw Error(ErrorCode::kBadArgument, "", "symmetric parameters need a signed type, not " + std::string(name(scheme.dtype)));
  if (scheme.bits > bits(scheme.dtype))
    throw Error(ErrorCode::kBadArgument, "",
                std::to_string(scheme.bits) + " bits don't fit into " + std::string(name(scheme.dtype)));
  if (scheme.bits == 0 && !scheme.symmetric) return of_type;
  return limits_of_bits(scheme.bits == 0 ? bits(scheme.dtype) : scheme.bits, of_type.low < 0, scheme.symmetric);
}

QParams choose_qparams(Range range, const Scheme& scheme) {
  const ScaleZeroPoint chosen = choose_scale(range, limits_of(scheme), scheme.symmetric, scheme.power_of_two);
  return {scheme.dtype, PerTensor{}, {chosen.scale}, {chosen.zero_point}, scheme.bits};
}

}  // namespace zeropoint
