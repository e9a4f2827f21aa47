// The method by tensor: of the ranges that the others give, the one with the least predicted error at the outputs of the nodes
// that read the value. For a layer y = W x the error e of x makes E|W e|^2, and with errors that are independent between
// inputs but for their mean that is sum w^2 * Var(e) + sum_o (sum_i w_oi)^2 * E(e)^2 (ErrorGain): the first is the rule by
// which Y. Choukroun et al. (2019) minimise the error of the tensor alone, the second counts what clipping takes from all
// inputs alike (the biased error of M. Nagel et al., "Data-Free Quantization through Weight Equalization and Bias Correction",
// 2019, section 3.2). Var(e) and E(e) are integrals over the histogram. Logits go by cross entropy.
#include <limits>
#include <utility>

#include "quant/activation_ranges.h"

namespace zeropoint::quant {
namespace {

constexpr std::pair<ActivationRange, double> kCandidates[] = {
    // with its parameter
    {&range_mse, 0},           {&range_min_max, 0},          {&range_percentile, 99.999}, {&range_percentile, 99.99},
    {&range_percentile, 99.9}, {&range_averaged_min_max, 0},
};

}  // namespace

double predicted_error(const RangeQuery& query, Range range) {
  const SquaredError error = squared_error(query.histogram, range, query.limits, query.symmetric, query.power_of_two);
  const auto count = static_cast<double>(query.histogram.count());
  const double mean = error.sum / count;
  return query.gain.independent * (error.total / count - mean * mean) + query.gain.common * mean * mean;
}

Range range_auto(const RangeQuery& query) {
  if (!query.rows.empty()) return range_cross_entropy(query);
  Range best;
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [method, parameter] : kCandidates) {
    RangeQuery one = query;
    one.parameter = parameter;
    const Range range = method(one);
    const double error = predicted_error(query, range);
    if (error < least) {
      least = error;
      best = range;
    }
  }
  return best;
}

}  // namespace zeropoint::quant
