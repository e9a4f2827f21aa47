// Minimum-mean-squared-error clipping by line search: Y. Choukroun, E. Kravchik, F. Yang, P. Kisilev, "Low-bit Quantization of
// Neural Networks for Efficient Inference" (2019), section 3.1. Deviations: both ends shrink by one ratio; the search is a
// grid, as the error over real weights has several minima.
#include <algorithm>
#include <cstring>

#include "numerics/quantize.h"
#include "quant/constant_ranges.h"

namespace zeropoint::quant {
namespace {

constexpr int kMseClipSteps = 51;  // ratios 1.00, 0.99 ... 0.50: at 8 bits the optimum has never been seen below 0.5
constexpr float kMseClipEven = 0.5F;
// Below: by this factor, as long as what is clipped does not cost more than the best so far.
constexpr float kMseClipFactor = 0.96F, kMseClipSmallest = 1.0F / 4096;

double squared_error(std::span<const float> values, const ScaleZeroPoint& parameters, IntegerLimits limits) {
  double sum = 0;
  for (const float value : values) {
    const std::int32_t q = numerics::quantize(value, parameters.scale, parameters.zero_point, {limits.low, limits.high});
    const double error =
        static_cast<double>(value) - static_cast<double>(numerics::dequantize(q, parameters.scale, parameters.zero_point));
    sum += error * error;
  }
  return sum;
}

// The same nearly, four values at a time: a multiplication in place of the division, sums in fp32 over runs of kRun values.
double quick_squared_error(std::span<const float> values, const ScaleZeroPoint& parameters, IntegerLimits limits) {
  using Lanes = float __attribute__((vector_size(16)));
  constexpr std::size_t kLanes = 4, kRun = 1024;
  constexpr float kShift = 12582912.0F;  // 1.5 * 2^23: adding and taking it away rounds to whole numbers
  const float scale = parameters.scale, inverse = 1 / scale;
  const float low = static_cast<float>(limits.low - parameters.zero_point),
              high = static_cast<float>(limits.high - parameters.zero_point);
  const Lanes lows = {low, low, low, low}, highs = {high, high, high, high};
  double sum = 0;
  std::size_t i = 0;
  while (i + kLanes <= values.size()) {
    const std::size_t end = std::min(i + kRun, values.size() / kLanes * kLanes);
    Lanes run = {0, 0, 0, 0};
    for (; i < end; i += kLanes) {
      Lanes x;
      std::memcpy(&x, values.data() + i, sizeof(x));
      Lanes q = x * inverse;
      q = q > lows ? q : lows;
      q = q < highs ? q : highs;
      q = (q + kShift) - kShift;
      const Lanes error = x - q * scale;
      run += error * error;
    }
    sum += (static_cast<double>(run[0]) + static_cast<double>(run[1])) +
           (static_cast<double>(run[2]) + static_cast<double>(run[3]));
  }
  return sum + squared_error(values.subspan(i), parameters, limits);
}

// The part of the error that values beyond the outermost levels have.
double clipped_error(std::span<const float> values, const ScaleZeroPoint& parameters, IntegerLimits limits) {
  const float min = numerics::dequantize(limits.low, parameters.scale, parameters.zero_point),
              max = numerics::dequantize(limits.high, parameters.scale, parameters.zero_point);
  double sum = 0;
  for (const float value : values) {
    const float beyond = value > max ? value - max : value < min ? min - value : 0;
    sum += static_cast<double>(beyond) * static_cast<double>(beyond);
  }
  return sum;
}

}  // namespace

Range constant_range_mse(std::span<const float> values, const Levels& levels) {
  const IntegerLimits limits = levels.limits;
  const Range full = constant_range_min_max(values, levels);
  Range best = full;
  double least = quick_squared_error(values, levels.scale_of(full), limits);
  const auto try_ratio = [&](float ratio) {
    const Range clipped{full.min * ratio, full.max * ratio};
    const double error = quick_squared_error(values, levels.scale_of(clipped), limits);
    if (error < least) {
      least = error;
      best = clipped;
    }
  };
  for (int step = 1; step < kMseClipSteps; ++step)
    try_ratio(1.0F - (1.0F - kMseClipEven) * static_cast<float>(step) / static_cast<float>(kMseClipSteps - 1));
  const auto clipped = [&](float ratio) {
    return clipped_error(values, levels.scale_of({full.min * ratio, full.max * ratio}), limits);
  };
  for (float ratio = kMseClipEven * kMseClipFactor; ratio > kMseClipSmallest && clipped(ratio) < least; ratio *= kMseClipFactor)
    try_ratio(ratio);
  const auto exact = [&](Range range) { return squared_error(values, levels.scale_of(range), limits); };
  if (best != full && !(exact(best) < exact(full))) best = full;
  return best;
}

}  // namespace zeropoint::quant
