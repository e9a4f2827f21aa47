// Minimum-mean-squared-error clipping by line search: Y. Choukroun, E. Kravchik, F. Yang, P. Kisilev, "Low-bit Quantization of
// Neural Networks for Efficient Inference" (2019), section 3.1. Deviations: the error is integrated over a histogram whose bins
// have constant relative width, instead of summed over samples; the search is geometric, so that a clip level thousands of
// times below an outlier is found; for asymmetric ranges both ends are then refined by turns.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "quant/activation_ranges.h"

namespace zeropoint::quant {
namespace {

constexpr int kStepsPerOctave = 8;  // of the first search over |x| <= M * 2^(-k/8)
constexpr int kOctaves = 24;
constexpr int kRefineReach = 8;  // steps of 2^(1/64) to either side in the second: +- one step of the first
constexpr int kRefineRounds = 2;

// 2^(k/64) for k = -512 ... 0 would need exp2, which differs between C libraries; square roots are exact.
double power_of_two_64ths(int k) {
  double root = 2, result = 1;
  const int octaves = k >= 0 ? k / 64 : -((-k + 63) / 64), rest = k - 64 * octaves;
  for (int bit = 32; bit > 0; bit /= 2) {
    root = std::sqrt(root);
    if (rest & bit) result *= root;
  }
  return std::ldexp(result, octaves);
}

// Integral of (x - center)^2 over [a, b].
double integral(double a, double b, double center) {
  const double u = a - center, v = b - center;
  return (v - u) * (u * u + u * v + v * v) / 3;
}

}  // namespace

SquaredError squared_error(const HistogramView& histogram, Range range, IntegerLimits limits, bool symmetric) {
  const ScaleZeroPoint chosen = choose_scale(range, limits, symmetric);
  const double scale = static_cast<double>(chosen.scale), inverse = 1 / scale;
  const std::int64_t lowest = limits.low - chosen.zero_point, highest = limits.high - chosen.zero_point;
  const double lowest_real = static_cast<double>(lowest) * scale, highest_real = static_cast<double>(highest) * scale;
  SquaredError error;
  for (const HistogramBin& bin : histogram.bins()) {
    const double width = bin.high - bin.low, count = static_cast<double>(bin.count);
    // Ends of the part that falls to each level: (k - 1/2) * scale ... (k + 1/2) * scale, open at the ends of the range.
    double from = bin.low;
    do {
      const double position = std::clamp(from * inverse, static_cast<double>(lowest), static_cast<double>(highest));
      auto level = static_cast<std::int64_t>(position + (position < 0 ? -0.5 : 0.5));
      double until = level == highest ? bin.high : std::min((static_cast<double>(level) + 0.5) * scale, bin.high);
      if (until <= from && width > 0) {  // `from` is itself the boundary between two levels
        ++level;
        until = level >= highest ? bin.high : std::min((static_cast<double>(level) + 0.5) * scale, bin.high);
      }
      const double center = static_cast<double>(level) * scale;
      const bool outside = until < lowest_real || from > highest_real;
      const double part = width > 0 ? count / width * integral(from, until, center) : count * (from - center) * (from - center);
      error.total += part;
      if (outside) error.clipped += part;
      from = until;
    } while (from < bin.high);
  }
  return error;
}

Range range_mse(const RangeQuery& query) {
  const HistogramView& histogram = query.histogram;
  const double min = std::min(histogram.min(), 0.0), max = std::max(histogram.max(), 0.0);
  const double most = std::max(-min, max);
  const auto range_of = [&](double below, double above) {
    return Range{static_cast<float>(std::max(min, -below)), static_cast<float>(std::min(max, above))};
  };
  double least = std::numeric_limits<double>::infinity();
  std::array<double, 2> ends = {most, most};  // magnitudes of the lower and the upper end
  const auto try_ends = [&](std::array<double, 2> tried) {
    const SquaredError error = squared_error(histogram, range_of(tried[0], tried[1]), query.limits, query.symmetric);
    if (error.total < least) {
      least = error.total;
      ends = tried;
    }
    return error;
  };
  for (int k = 0; k <= kOctaves * kStepsPerOctave; ++k) {
    const double level = most * power_of_two_64ths(-k * 64 / kStepsPerOctave);
    if (try_ends({level, level}).clipped > least) break;  // grows as the level falls: nothing below can be better
  }
  ends = {std::min(ends[0], -min), std::min(ends[1], max)};
  for (int round = 0; round < kRefineRounds; ++round)
    for (const std::size_t end : {std::size_t{0}, std::size_t{1}}) {
      const std::array<double, 2> start = ends;
      const double limit = end == 0 ? -min : max;
      if (start[end] == 0) continue;
      for (int k = -kRefineReach; k <= kRefineReach; ++k) {
        std::array<double, 2> tried = start;
        tried[end] = std::min(start[end] * power_of_two_64ths(k), limit);
        if (query.symmetric) tried = {tried[end], tried[end]};
        if (k != 0) try_ends(tried);
      }
    }
  return range_of(ends[0], ends[1]);
}

}  // namespace zeropoint::quant
