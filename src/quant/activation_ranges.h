// Ranges of activations, from what calibration saw of them. Each method is a pure function with a file of its own.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "zeropoint/ranges.h"
#include "zeropoint/statistics.h"

namespace zeropoint::quant {

// How an error e of a value reaches the outputs of the nodes that read it, by their weights w (of output o and input i):
// E|W e|^2 = independent * Var(e) + common * E(e)^2 with independent = sum w_oi^2 and common = sum_o (sum_i w_oi)^2. What
// rounding adds differs from element to element and mostly cancels out in sums; what clipping takes has one sign and adds up.
struct ErrorGain {
  double independent = 1, common = 1;
};

struct RangeQuery {
  const HistogramView& histogram;  // not empty
  double mean_min = 0, mean_max = 0;
  IntegerLimits limits;
  bool symmetric = false;
  bool power_of_two = false;                   // of the scale
  double parameter = 0;                        // of the method; 0 is its default
  std::span<const std::vector<float>> rows{};  // of logits; empty for other values
  ErrorGain gain{};
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

// Least cross entropy between the softmax of `rows` and that of their quantized form; without rows, range_mse.
Range range_cross_entropy(const RangeQuery& query);
double cross_entropy(std::span<const std::vector<float>> rows, Range range,
                     const RangeQuery& query);  // mean over rows, in nats
// Of the ranges that the other methods give, the one with the least predicted error at the outputs of the value's readers.
Range range_auto(const RangeQuery& query);
double predicted_error(const RangeQuery& query, Range range);  // by ErrorGain, mean over elements

// Sum over all values of the squared error of quantizing them to `limits` over `range`; `clipped` is the part that values
// outside the range add. Values within a bin count as spread evenly over it, and the integral over them is exact.
struct SquaredError {
  double total = 0, clipped = 0;
  double sum = 0;  // of the errors x - q(x) themselves
};
SquaredError squared_error(const HistogramView& histogram, Range range, IntegerLimits limits, bool symmetric,
                           bool power_of_two = false);

ActivationRange find_activation_range(std::string_view method);  // null when there is none of that name

// By the scheme's method. A value that was never seen (no finite elements) gets the range of only 0.
// `rows`: of logits, where there are any.
Range choose_range(const ValueStatistics& statistics, const Scheme& scheme, std::span<const std::vector<float>> rows = {},
                   const ErrorGain& gain = {});

}  // namespace zeropoint::quant
