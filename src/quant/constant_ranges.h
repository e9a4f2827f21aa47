// Ranges of constants (weights) from all their values, as against activations, of which only a histogram is kept.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "zeropoint/ranges.h"

namespace zeropoint::quant {

// The integers that values become, and how their scale is chosen from a range.
struct Levels {
  IntegerLimits limits;
  bool symmetric = false, power_of_two = false;
  ScaleZeroPoint scale_of(Range range) const { return choose_scale(range, limits, symmetric, power_of_two); }
};
inline Levels levels_of(const Scheme& scheme) { return {limits_of(scheme), scheme.symmetric, scheme.power_of_two}; }

float raised_to_power_of_two(float scale);  // the least power of two that is at least `scale`

using ConstantRange = Range (*)(std::span<const float> values, const Levels& levels);

// [min, max] of the values and 0.
Range constant_range_min_max(std::span<const float> values, const Levels& levels);

// The part of [min, max] whose quantization leaves the least sum of squared errors over the values, found by trying
// kMseClipSteps ratios from 1 down. Never worse than min_max by that sum.
Range constant_range_mse(std::span<const float> values, const Levels& levels);

ConstantRange find_constant_range(std::string_view method);  // null when there is none of that name

// The values of x that share parameter p, for each p, in the order of memory.
std::vector<std::vector<float>> split_by_parameter(const Tensor& x, const Granularity& granularity);

}  // namespace zeropoint::quant
