// Minimum-mean-squared-error clipping by line search: Y. Choukroun, E. Kravchik, F. Yang, P. Kisilev, "Low-bit Quantization of
// Neural Networks for Efficient Inference" (2019), section 3.1. Deviations: both ends shrink by one ratio; the search is a
// grid, as the error over real weights has several minima.
#include "numerics/quantize.h"
#include "quant/constant_ranges.h"

namespace zeropoint::quant {
namespace {

constexpr int kMseClipSteps = 51;  // ratios 1.00, 0.99 ... 0.50: at 8 bits the optimum has never been seen below 0.5
constexpr float kMseClipSmallest = 0.5F;

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

}  // namespace

Range constant_range_mse(std::span<const float> values, IntegerLimits limits, bool symmetric) {
  const Range full = constant_range_min_max(values, limits, symmetric);
  Range best = full;
  double least = squared_error(values, choose_scale(full, limits, symmetric), limits);
  for (int step = 1; step < kMseClipSteps; ++step) {
    const float ratio = 1.0F - (1.0F - kMseClipSmallest) * static_cast<float>(step) / static_cast<float>(kMseClipSteps - 1);
    const Range clipped{full.min * ratio, full.max * ratio};
    const double error = squared_error(values, choose_scale(clipped, limits, symmetric), limits);
    if (error < least) {
      least = error;
      best = clipped;
    }
  }
  return best;
}

}  // namespace zeropoint::quant
