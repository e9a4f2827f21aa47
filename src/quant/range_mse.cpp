// Minimum-mean-squared-error clipping by line search: Y. Choukroun, E. Kravchik, F. Yang, P. Kisilev, "Low-bit Quantization of
// Neural Networks for Efficient Inference" (2019), section 3.1. Deviations: the error is integrated over a histogram whose bins
// have constant relative width, instead of summed over samples; the search is geometric, so that a clip level thousands of
// times below an outlier is found; for asymmetric ranges both ends are then refined by turns.
#include <algorithm>
#include <cmath>

#include "quant/activation_ranges.h"
#include "quant/search_range.h"

namespace zeropoint::quant {
namespace {

constexpr int kOctaves = 24;
constexpr std::int64_t kManyLevels = 16;  // in one bin of the histogram: beyond what 8 bits have

// Integral of (x - center)^2 over [a, b].
double integral(double a, double b, double center) {
  const double u = a - center, v = b - center;
  return (v - u) * (u * u + u * v + v * v) / 3;
}

}  // namespace

SquaredError squared_error(const HistogramView& histogram, Range range, IntegerLimits limits, bool symmetric,
                           bool power_of_two) {
  const ScaleZeroPoint chosen = choose_scale(range, limits, symmetric, power_of_two);
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
      error.sum += width > 0 ? count / width * (until - from) * ((from + until) / 2 - center) : count * (from - center);
      error.total += part;
      if (outside) error.clipped += part;
      from = until;
      // Whole levels within a bin, of which 16-bit scales have thousands, add one after the other the same.
      const auto last = static_cast<std::int64_t>(std::min(bin.high * inverse, static_cast<double>(highest)) - 0.5);
      if (level >= lowest && last - level >= kManyLevels) {
        const auto whole = static_cast<double>(last - 1 - level);
        error.total += count / width * whole * scale * scale * scale / 12;
        from = (static_cast<double>(last - 1) + 0.5) * scale;
      }
    } while (from < bin.high);
  }
  return error;
}

Range range_mse(const RangeQuery& query) {
  return search_range(query.histogram, query.symmetric, kOctaves, [&](Range range) {
    const SquaredError error = squared_error(query.histogram, range, query.limits, query.symmetric, query.power_of_two);
    return RangeCost{error.total, error.clipped};
  });
}

}  // namespace zeropoint::quant
