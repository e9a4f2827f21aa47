// Ranges of activations, from what calibration saw of them. Each method is a pure function with a file of its own.
#pragma once

#include <string_view>

#include "zeropoint/ranges.h"
#include "zeropoint/statistics.h"

namespace zeropoint::quant {

struct RangeQuery {
  const HistogramView& histogram;  // not empty
  double mean_min = 0, mean_max = 0;
  IntegerLimits limits;
  bool symmetric = false;
  double parameter = 0;  // of the method; 0 is its default
};
// All give a part of [histogram.min(), histogram.max()].
using ActivationRange = Range (*)(const RangeQuery&);

// Everything that was seen.
Range range_min_max(const RangeQuery& query);
// From the average over samples of each sample's minimum to that of its maximum.
Range range_averaged_min_max(const RangeQuery& query);
// Keeps `parameter` percent of the values (default 99.99): symmetric, those of least magnitude; else cuts half of the rest at
// either end.
Range range_percentile(const RangeQuery& query);
// Least mean squared error of quantizing the values; never worse than min_max by that measure.
Range range_mse(const RangeQuery& query);
// Least Kullback-Leibler divergence between the histogram and its quantized form.
Range range_kl_divergence(const RangeQuery& query);

// Sum over all values of the squared error of quantizing them to `limits` over `range`; `clipped` is the part that values
// outside the range add. Values within a bin count as spread evenly over it, and the integral over them is exact.
struct SquaredError {
  double total = 0, clipped = 0;
};
SquaredError squared_error(const HistogramView& histogram, Range range, IntegerLimits limits, bool symmetric);

ActivationRange find_activation_range(std::string_view method);  // null when there is none of that name

// By the scheme's method. A value that was never seen (no finite elements) gets the range of only 0.
Range choose_range(const ValueStatistics& statistics, const Scheme& scheme);

}  // namespace zeropoint::quant
