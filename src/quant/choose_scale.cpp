#include <algorithm>
#include <cfloat>
#include <cmath>
#include <string>

#include "numerics/quantize.h"
#include "zeropoint/error.h"
#include "zeropoint/ranges.h"

namespace zeropoint {

ScaleZeroPoint choose_scale(Range range, IntegerLimits limits, bool symmetric) {
  if (!std::isfinite(range.min) || !std::isfinite(range.max))
    throw Error(ErrorCode::kNonFinite, "",
                "a range of " + std::to_string(range.min) + " ... " + std::to_string(range.max) + " has no scale");
  const float min = std::min(range.min, 0.0F), max = std::max(range.max, 0.0F);
  if (min == 0.0F && max == 0.0F) return {};
  ScaleZeroPoint result;
  if (symmetric) {
    result.scale = std::max(std::max(-min, max) / static_cast<float>(limits.high), FLT_MIN);
    return result;
  }
  const float steps = static_cast<float>(limits.high - limits.low);
  float scale = (max - min) / steps;
  if (!std::isfinite(scale)) scale = max / steps - min / steps;  // max - min alone passed FLT_MAX
  result.scale = std::max(scale, FLT_MIN);
  const float above_low = -min / result.scale;  // 0 ... steps, up to rounding
  result.real_zero_point = static_cast<float>(limits.low) + above_low;
  result.zero_point = std::min(limits.low + static_cast<std::int32_t>(numerics::round_half_even(above_low)), limits.high);
  return result;
}

IntegerLimits limits_of(const Scheme& scheme) {
  const IntegerLimits full = limits_of(scheme.dtype);
  if (!scheme.symmetric) return full;
  if (full.low == 0)
    throw Error(ErrorCode::kBadArgument, "", "symmetric parameters need a signed type, not " + std::string(name(scheme.dtype)));
  return limits_of_bits(bits(scheme.dtype), true, true);
}

QParams choose_qparams(Range range, const Scheme& scheme) {
  const ScaleZeroPoint chosen = choose_scale(range, limits_of(scheme), scheme.symmetric);
  return {scheme.dtype, PerTensor{}, {chosen.scale}, {chosen.zero_point}};
}

}  // namespace zeropoint
